// y[s] = table[indices[s]], rows of `width` elements; a row that does not exist is zeros. Four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

layout(push_constant, scalar) uniform Push {
    Words table;
    Words indices;
    WordVectors y;
    uint count; // of y
    uint width;
    uint rows;
} push;

uint element(uint e) {
    uint row = push.indices.at[e / push.width];
    return row < push.rows ? push.table.at[row * push.width + e % push.width] : 0;
}

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count && push.width % 4 == 0) {
        uint row = push.indices.at[first / push.width];
        push.y.at[i] = row < push.rows ? WordVectors(push.table).at[(row * push.width + first % push.width) / 4] : uvec4(0);
    } else {
        for (uint e = first; e < min(first + 4, push.count); e++)
            Words(push.y).at[e] = element(e);
    }
}
