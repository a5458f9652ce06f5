#version 460
#extension GL_GOOGLE_include_directive : require
// Operands of bfloat16.
#include "chunk_state_strips.glsl"
