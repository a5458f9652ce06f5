// A matrix of weights in any type, read 16 bytes at a time: 4 numbers of float32, 8 of 16 bits, 16 of 8 bits or 32 of 4 bits. The including kernel has included words.glsl.
#include "narrow.glsl"

const uint Q8_0 = 4, Q4_0 = 5;

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Packs { uvec4 at[]; };

#define PACK_LENGTH(type) ((type) == F32 ? 4 : (type) == Q8_0 ? 16 : (type) == Q4_0 ? 32 : 8)

// 1024 more than each of the four bytes, of which the mask leaves so many bits.
vec4 halves(uint word, uint mask) {
    vec2 even = unpackHalf2x16(word & mask | 0x64006400u), odd = unpackHalf2x16(word >> 8 & mask | 0x64006400u);
    return vec4(even.x, odd.x, even.y, odd.y);
}

// Numbers 4i … 4i + 3 of a pack; those of quantised types without their scale.
vec4 numbers(uint type, uvec4 pack, uint i) {
    if (type == F32)
        return uintBitsToFloat(pack);
    // Integers below 1024 are the last bits of the half-precision numbers from 1024 on: two are widened at a time, without conversions, which are slow.
    if (type == Q8_0)
        return halves(pack[i] ^ 0x80808080u, 0x00FF00FFu) - 1152;
    if (type == Q4_0)
        return halves(pack[i % 4] >> (i < 4 ? 0 : 4), 0x000F000Fu) - 1032;
    return vec4(widenPair(type, pack[2 * i]), widenPair(type, pack[2 * i + 1]));
}

// The scale of a pack's block in a matrix of so many packs, whose integers come first.
float packScale(uint type, Packs matrix, uint64_t packs, uint64_t pack) {
    if (type != Q8_0 && type != Q4_0)
        return 1;
    uint64_t block = type == Q8_0 ? pack / 2 : pack;
    uint word = Words(uint64_t(matrix) + 16 * packs).at[uint(block / 2)];
    return widen(F16, uint(block) % 2 == 0 ? word & 0xFFFFu : word >> 16);
}
