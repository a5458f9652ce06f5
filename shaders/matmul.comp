#version 460
#extension GL_GOOGLE_include_directive : require
// C = A · B for matrices of any shape: a workgroup of 16 × 16 invocations computes a square tile, from slices of the inner axis that are kept in shared memory;
// what lies outside a matrix counts as zero. The next slice is read from memory while the current one is multiplied.
#include "common.glsl"
#include "addend.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256; // no other number
layout(constant_id = 1) const uint TILE = 64;       // a multiple of 16
layout(constant_id = 2) const bool TRANSPOSE_A = false;
layout(constant_id = 3) const bool TRANSPOSE_B = false;
layout(constant_id = 4) const uint ADDEND = NOTHING; // D in C = A · B + D, as C or a row
layout(constant_id = 5) const bool IS_ROW = false;

layout(push_constant, scalar) uniform Push {
    Floats a;
    Floats b;
    Floats c; // [splits, batches, m, n]
    Floats d;
    uint m;
    uint n;
    uint k;
    uint tilesM;
    uint tilesN;
    uint batches;
    uint splits;
    uint splitLength;
    uint batchA; // elements from one matrix to the next; 0 where all batches share one
    uint batchB;
} push;

const uint BK = 16, SIDE = 16, EACH = TILE / SIDE, LOADS = TILE * BK / WORKGROUP, ROW = TILE + 1;

shared float tileA[BK * ROW];
shared float tileB[BK * ROW];

// Element number i of a slice: the axis that is contiguous in memory runs fastest. (along the outer axis, along the inner one)
uvec2 place(uint i, bool innerFirst) { return innerFirst ? uvec2(i / BK, i % BK) : uvec2(i % TILE, i / TILE); }

void main() {
    uint tiles = push.tilesM * push.tilesN, group = groupNumber();
    if (group >= tiles * push.batches * push.splits)
        return;
    uint tile = group % tiles, plane = group / tiles, batch = plane % push.batches, split = plane / push.batches;
    uint m0 = tile / push.tilesN * TILE, n0 = tile % push.tilesN * TILE;
    uint start = split * push.splitLength, end = min(push.k, start + push.splitLength);
    uint id = gl_LocalInvocationID.x, x = id % SIDE, y = id / SIDE, fromA = batch * push.batchA, fromB = batch * push.batchB;

    float nextA[LOADS], nextB[LOADS], sums[EACH][EACH];
    [[unroll]] for (uint i = 0; i < EACH; i++)
        [[unroll]] for (uint j = 0; j < EACH; j++)
            sums[i][j] = 0;

    for (uint k = start; k < end + BK; k += BK) {
        // Multiplies what the last turn read, after the reads of this one have begun.
        [[unroll]] for (uint i = 0; i < LOADS; i++) {
            uvec2 at = place(id + i * WORKGROUP, !TRANSPOSE_A) + uvec2(m0, k);
            float value = 0;
            if (at.x < push.m && at.y < end)
                value = push.a.at[fromA + (TRANSPOSE_A ? at.y * push.m + at.x : at.x * push.k + at.y)];
            nextA[i] = value;
            at = place(id + i * WORKGROUP, TRANSPOSE_B) + uvec2(n0, k);
            value = 0;
            if (at.x < push.n && at.y < end)
                value = push.b.at[fromB + (TRANSPOSE_B ? at.x * push.k + at.y : at.y * push.n + at.x)];
            nextB[i] = value;
        }
        if (k > start) {
            [[unroll]] for (uint inner = 0; inner < BK; inner++) {
                float a[EACH], b[EACH];
                [[unroll]] for (uint i = 0; i < EACH; i++)
                    a[i] = tileA[inner * ROW + y + i * SIDE];
                [[unroll]] for (uint j = 0; j < EACH; j++)
                    b[j] = tileB[inner * ROW + x + j * SIDE];
                [[unroll]] for (uint i = 0; i < EACH; i++)
                    [[unroll]] for (uint j = 0; j < EACH; j++)
                        sums[i][j] = fma(a[i], b[j], sums[i][j]);
            }
        }
        barrier();
        [[unroll]] for (uint i = 0; i < LOADS; i++) {
            uvec2 at = place(id + i * WORKGROUP, !TRANSPOSE_A);
            tileA[at.y * ROW + at.x] = nextA[i];
            at = place(id + i * WORKGROUP, TRANSPOSE_B);
            tileB[at.y * ROW + at.x] = nextB[i];
        }
        barrier();
    }

    [[unroll]] for (uint i = 0; i < EACH; i++) {
        uint row = m0 + y + i * SIDE;
        [[unroll]] for (uint j = 0; j < EACH; j++) {
            uint column = n0 + x + j * SIDE;
            if (row < push.m && column < push.n) {
                uint to = (plane * push.m + row) * push.n + column;
                push.c.at[to] = ADDEND == NOTHING ? sums[i][j] : sums[i][j] + push.d.at[IS_ROW ? column : to];
            }
        }
    }
}
