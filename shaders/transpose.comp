// y[…, line, …, column] = x[…, column, …, line]: the axis that is consecutive in x is not so in y. A workgroup of 32 × 8 copies a tile of 32 lines and 32 columns
// through shared memory, so that both sides are accessed in whole cache lines.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

const uint TILE = 32;

layout(push_constant, scalar) uniform Push {
    Words x;
    Words y;
    uint groups;
    uint lines;
    uint columns;
    uint lineStride;   // of a line in y; in x it is 1
    uint columnStride; // of a column in x; in y it is 1
    uint rank;         // of the other axes
    uint extents[6];
    uint sourceStrides[6];
    uint targetStrides[6];
} push;

// One word wider than the tile, so that a column's elements lie in different banks.
shared uint tile[TILE][TILE + 1];

void main() {
    uint group = groupNumber();
    if (group >= push.groups)
        return;
    uint lineTiles = (push.lines + TILE - 1) / TILE, columnTiles = (push.columns + TILE - 1) / TILE;
    uint line = group % lineTiles * TILE, column = group / lineTiles % columnTiles * TILE, rest = group / lineTiles / columnTiles;
    uint source = 0, target = 0;
    for (uint axis = 0; axis < push.rank; axis++) {
        source += rest % push.extents[axis] * push.sourceStrides[axis];
        target += rest % push.extents[axis] * push.targetStrides[axis];
        rest /= push.extents[axis];
    }
    uint low = gl_LocalInvocationID.x % TILE, high = gl_LocalInvocationID.x / TILE, step = gl_WorkGroupSize.x / TILE;
    for (uint c = high; c < TILE; c += step) {
        if (line + low < push.lines && column + c < push.columns)
            tile[c][low] = push.x.at[source + (column + c) * push.columnStride + line + low];
    }
    barrier();
    for (uint l = high; l < TILE; l += step) {
        if (line + l < push.lines && column + low < push.columns)
            push.y.at[target + (line + l) * push.lineStride + column + low] = tile[low][l];
    }
}
