#version 460
#extension GL_GOOGLE_include_directive : require
#include "unary.glsl"

float apply(float x) { return 1.0 / sqrt(x); }
