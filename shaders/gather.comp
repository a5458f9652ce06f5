// y[s] = table[indices[s]], rows of `width` elements of 32 bits, or of 16; a row that does not exist is zeros. Four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

layout(constant_id = 1) const uint HALVES = 0;

layout(push_constant, scalar) uniform Push {
    Words table;
    Words indices;
    WordVectors y;
    uint count; // of y
    uint width;
    uint rows;
} push;

uint element(uint e) {
    uint row = push.indices.at[e / push.width], from = row * push.width + e % push.width;
    if (row >= push.rows)
        return 0;
    return HALVES != 0 ? push.table.at[from / 2] >> 16 * (from % 2) & 0xFFFFu : push.table.at[from];
}

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (HALVES != 0) {
        for (uint e = first; e < min(first + 4, push.count); e += 2)
            Words(push.y).at[e / 2] = element(e) | (e + 1 < push.count ? element(e + 1) << 16 : 0);
    } else if (first + 4 <= push.count && push.width % 4 == 0) {
        uint row = push.indices.at[first / push.width];
        push.y.at[i] = row < push.rows ? WordVectors(push.table).at[(row * push.width + first % push.width) / 4] : uvec4(0);
    } else {
        for (uint e = first; e < min(first + 4, push.count); e++)
            Words(push.y).at[e] = element(e);
    }
}
