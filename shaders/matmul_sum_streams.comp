#version 460
#extension GL_GOOGLE_include_directive : require
// The sum of a product's tiles that several workgroups each made over a part of the inner axis (matmul_cooperative with STREAM), in the order of the parts, and of what is added to it; four
// elements for each invocation. A workgroup took groupSlices of the tiles' slices, which stand in one row, slices of each; every workgroup and every tile begins a new piece.
#include "common.glsl"
#include "addend.glsl"
#include "raster.glsl"

layout(constant_id = 1) const uint RESULT = F32;
layout(constant_id = 2) const uint ADDEND = NOTHING; // as the result, or a row
layout(constant_id = 3) const bool IS_ROW = false;
layout(constant_id = 4) const uint BM = 128;
layout(constant_id = 5) const uint BN = 128;

layout(push_constant, scalar) uniform Push {
    Vectors pieces; // [groups + tiles, BM, BN]
    Floats c;       // [m, n]
    Floats d;
    uint m;
    uint n; // a multiple of 4
    uint tilesM;
    uint tilesN;
    uint slices;
    uint groupSlices;
} push;

void main() {
    uint first = 4 * invocationNumber();
    if (first >= push.m * push.n)
        return;
    uint row = first / push.n, column = first % push.n, tileM = row / BM, tileN = column / BN, tile = tileAt(tileM, tileN, push.tilesM, push.tilesN);
    uint inTile = (row - min(tileM * BM, push.m - BM)) * BN + column - min(tileN * BN, push.n - BN);
    vec4 sum = vec4(0);
    for (uint group = tile * push.slices / push.groupSlices; group <= ((tile + 1) * push.slices - 1) / push.groupSlices; group++)
        sum += push.pieces.at[((group + tile) * (BM * BN) + inTile) / 4];
    if (ADDEND != NOTHING)
        sum += readFour(push.d, IS_ROW ? column : first, 4, ADDEND);
    writeFour(push.c, first, 4, RESULT, sum);
}
