#version 460
#extension GL_GOOGLE_include_directive : require
#include "binary.glsl"
#include "math.glsl"

float apply(float dy, float x) { return dy * siluDerivative(x); }
