#version 460
#extension GL_GOOGLE_include_directive : require
#include "unary.glsl"
#include "math.glsl"

float apply(float x) { return tanh_(x); }
