// Four elements as they lie in memory, those of 16 bits in the first two words: held so, they take half the registers. The including kernel has included elements.glsl.

uvec4 readRaw(Floats from, uint index, int count, const uint type) {
    if (type == F32 || type == RAGGED)
        return floatBitsToUint(readFour(from, index, count, type));
    return uvec4(HalfQuads(uint64_t(from)).at[index >> 2], 0, 0);
}

vec4 widenFour(uvec4 raw, const uint type) {
    if (type == F32 || type == RAGGED)
        return uintBitsToFloat(raw);
    return vec4(widenPair(type, raw.x), widenPair(type, raw.y));
}

// 16 bytes, which are eight elements of 16 bits: PACK is 8 where rows are whole packs of those, and 4 otherwise.
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Packs { uvec4 at[]; };

uvec4 readPack(Floats from, uint index, int count, const uint type, const uint pack) {
    if (pack == 8)
        return Packs(uint64_t(from)).at[index >> 3];
    return readRaw(from, index, count, type);
}

// Elements 4 · part and the three behind it.
vec4 fourOf(uvec4 pack, uint part, const uint type) { return widenFour(part == 0 ? pack : pack.zwxy, type); }
