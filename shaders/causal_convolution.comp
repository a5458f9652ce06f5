#version 460
#extension GL_GOOGLE_include_directive : require
#include "causal_convolution_positions.glsl"
