// For kernels that only move elements: 32-bit words, whatever they mean.
#include "common.glsl"

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer WordVectors { uvec4 at[]; };
