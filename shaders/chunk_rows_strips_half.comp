#version 460
#extension GL_GOOGLE_include_directive : require
// Operands of float16.
#define HALF
#include "chunk_rows_strips.glsl"
