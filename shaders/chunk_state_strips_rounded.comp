#version 460
#extension GL_GOOGLE_include_directive : require
// Operands and results of bfloat16.
#define ROUNDS
#include "chunk_state_strips.glsl"
