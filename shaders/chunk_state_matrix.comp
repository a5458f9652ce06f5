#version 460
#extension GL_GOOGLE_include_directive : require
// The same on matrix units.
#define MATRIX_UNITS
#include "chunk_state.glsl"
