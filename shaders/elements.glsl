// Four neighbouring elements of a tensor, of float32 or of 16 bits. They are one load where rows are whole quads; RAGGED rows, always of float32, are read one by one.
#include "narrow.glsl"

const uint RAGGED = 4;

layout(buffer_reference, scalar, buffer_reference_align = 8) buffer HalfQuads { uvec2 at[]; };

// Elements index … index + 3, a multiple of four but for RAGGED; zeros from count on.
vec4 readFour(Floats from, uint index, int count, const uint type) {
    if (type == F32)
        return Vectors(uint64_t(from)).at[index >> 2];
    if (type != RAGGED) {
        uvec2 words = HalfQuads(uint64_t(from)).at[index >> 2];
        return vec4(widenPair(type, words.x), widenPair(type, words.y));
    }
    vec4 values = vec4(0);
    [[unroll]] for (int z = 0; z < 4; z++)
        if (z < count)
            values[z] = from.at[index + z];
    return values;
}

float readOne(Floats from, uint index, const uint type) {
    if (type == F32 || type == RAGGED)
        return from.at[index];
    return widen(type, floatBitsToUint(from.at[index / 2]) >> 16 * (index % 2) & 0xFFFFu);
}

void writeFour(Floats to, uint index, int count, const uint type, vec4 values) {
    if (type == F32) {
        Vectors(uint64_t(to)).at[index >> 2] = values;
    } else if (type != RAGGED) {
        HalfQuads(uint64_t(to)).at[index >> 2] = uvec2(narrowPair(type, values.xy), narrowPair(type, values.zw));
    } else {
        [[unroll]] for (int z = 0; z < 4; z++)
            if (z < count)
                to.at[index + z] = values[z];
    }
}
