// Rounding to the nearest bfloat16 by Veltkamp's way of leaving 8 bits: no branches, and NaN stays one; what exceeds 2^111 becomes one. By fma, in two steps, drivers take it for nothing.
vec4 roundedToBfloat16(vec4 value) {
    precise vec4 shifted = value * 65537.0;
    precise vec4 rounded = shifted - (shifted - value);
    return rounded;
}

// The upper halves of the bits of four numbers of float32.
uvec2 upperHalves(uvec4 bits) { return uvec2(bits.x >> 16 | (bits.y & 0xFFFF0000u), bits.z >> 16 | (bits.w & 0xFFFF0000u)); }
