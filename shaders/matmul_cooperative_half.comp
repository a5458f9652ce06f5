#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
// Operands of float16.
#define ELEMENT float16_t
#define ROUNDED(v) packFloat2x16(f16vec2(v))
#include "matmul_cooperative.glsl"
