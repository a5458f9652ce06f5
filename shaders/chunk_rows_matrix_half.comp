#version 460
#extension GL_GOOGLE_include_directive : require
// The same on matrix units, with operands of float16.
#define MATRIX_UNITS
#define HALF
#include "chunk_rows.glsl"
