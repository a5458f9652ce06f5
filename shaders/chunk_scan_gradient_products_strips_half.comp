#version 460
#extension GL_GOOGLE_include_directive : require
// Operands of float16.
#define HALF
#include "chunk_scan_gradient_products_strips.glsl"
