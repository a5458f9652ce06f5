#version 460
#extension GL_GOOGLE_include_directive : require
#include "chunk_state_gradient.glsl"
