#version 460
#extension GL_GOOGLE_include_directive : require
#include "binary.glsl"

float apply(float x, float y) { return x + y; }
