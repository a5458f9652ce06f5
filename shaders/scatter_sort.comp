// Sorts the positions of each block of indices by row, stably, as pairs (row, position): a position's place is the number of those in front of it.
// Indices that are no row count as the row behind the last, which nobody reads.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "scatter.glsl"

layout(push_constant, scalar) uniform Push {
    Words indices;
    Pairs sorted;
    uint count;
    uint rows;
} push;

void main() {
    uint i = invocationNumber(), start = i / BLOCK * BLOCK;
    if (i >= push.count)
        return;
    uint row = min(push.indices.at[i], push.rows), place = start;
    for (uint j = start; j < min(push.count, start + BLOCK); j++) {
        uint other = min(push.indices.at[j], push.rows);
        place += other < row || (other == row && j < i) ? 1 : 0;
    }
    push.sorted.at[place] = uvec2(row, i);
}
