#version 460
#extension GL_GOOGLE_include_directive : require
#include "unary.glsl"
#include "math.glsl"

float apply(float x) { return isNotANumber(x) ? x : clamp(x, push.a, push.b); }
