#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_bfloat16 : require
// Operands of bfloat16.
#define ELEMENT bfloat16_t
#define ROUNDED(v) narrowPair(BF16, v)
#include "matmul_cooperative.glsl"
