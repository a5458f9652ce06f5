#version 460
#extension GL_GOOGLE_include_directive : require
// C = A · B for large matrices whose rows are multiples of four elements: a workgroup computes a BM × BN tile, an invocation TM × TN of it, from slices of
// BK along the inner axis that are kept in shared memory twice over, so that one is filled while the other is read and each needs one barrier.
// The loop has no branch: the prefetch behind the end reads the last slice again, and tiles that would reach over an edge are moved back inside the matrix,
// where neighbours compute the same values. What is left of the inner axis comes after the loop, filled up with zeros.
#include "common.glsl"
#include "addend.glsl"

layout(constant_id = 0) const uint WORKGROUP = 128;
layout(constant_id = 1) const uint BM = 64;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint TM = 8;
layout(constant_id = 4) const uint TN = 8;
layout(constant_id = 5) const uint LANES_X = 8;  // of each 32 invocations, how many lie side by side along a row of C
layout(constant_id = 6) const uint GROUPS_X = 2; // how many such groups of 32 do
layout(constant_id = 7) const bool TRANSPOSE_A = false;
layout(constant_id = 8) const bool TRANSPOSE_B = false;
// The row lengths of A and B where a product is worth a pipeline of its own, or 0: with constants the addresses of a slice are immediate offsets. Mostly they are
// those of weights, so a model has few.
layout(constant_id = 9) const uint PITCH_A = 0;
layout(constant_id = 10) const uint PITCH_B = 0;
layout(constant_id = 11) const uint ADDEND = NOTHING; // D in C = A · B + D, as C or a row
layout(constant_id = 12) const bool IS_ROW = false;

layout(push_constant, scalar) uniform Push {
    Vectors a;
    Vectors b;
    Vectors c; // [splits, batches, m, n]
    Vectors d;
    uint m;
    uint n;
    uint k;
    uint tilesM;
    uint tilesN;
    uint batches;
    uint splits;
    uint splitLength; // a multiple of BK
    uint batchA;      // elements from one matrix to the next; 0 where all batches share one
    uint batchB;
    uint pitchA; // row lengths as they lie in memory
    uint pitchB;
} push;

const uint BK = 8;
// Rows of tiles that are walked together, for the sake of the second-level cache.
const uint RASTER = 8;
// One vector of padding: what the four rows of a transposed vector write falls on different banks.
const uint ROW_A = BM / 4 + 1, ROW_B = BN / 4 + 1;
// How many invocations load one row of a slice as it lies in memory, and how many vectors each invocation loads.
const uint ACROSS_A = TRANSPOSE_A ? BM / 4 : BK / 4, ACROSS_B = TRANSPOSE_B ? BK / 4 : BN / 4;
const uint VECTORS_A = BM * BK / 4 / WORKGROUP, VECTORS_B = BN * BK / 4 / WORKGROUP;
const uint SPREAD_X = GROUPS_X * LANES_X, SPREAD_Y = WORKGROUP / SPREAD_X;

uint pitchA() { return PITCH_A != 0 ? PITCH_A : push.pitchA; }

uint pitchB() { return PITCH_B != 0 ? PITCH_B : push.pitchB; }

shared vec4 tileA[2 * BK * ROW_A];
shared vec4 tileB[2 * BK * ROW_B];

vec4 nextA[VECTORS_A], nextB[VECTORS_B];
float sums[TM][TN];

void load(uint64_t a, uint64_t b, uint k) {
    Vectors fromA = Vectors(a + uint64_t(k) * (TRANSPOSE_A ? pitchA() * 4 : 4));
    Vectors fromB = Vectors(b + uint64_t(k) * (TRANSPOSE_B ? 4 : pitchB() * 4));
    [[unroll]] for (uint i = 0; i < VECTORS_A; i++)
        nextA[i] = fromA.at[i * (WORKGROUP / ACROSS_A) * (pitchA() / 4)];
    [[unroll]] for (uint i = 0; i < VECTORS_B; i++)
        nextB[i] = fromB.at[i * (WORKGROUP / ACROSS_B) * (pitchB() / 4)];
}

// The same where the slice may reach behind the end.
void loadRest(uint64_t a, uint64_t b, uint k, uint end) {
    Vectors fromA = Vectors(a + uint64_t(k) * (TRANSPOSE_A ? pitchA() * 4 : 4));
    Vectors fromB = Vectors(b + uint64_t(k) * (TRANSPOSE_B ? 4 : pitchB() * 4));
    uint id = gl_LocalInvocationID.x;
    [[unroll]] for (uint i = 0; i < VECTORS_A; i++) {
        uint inner = k + (TRANSPOSE_A ? id / ACROSS_A + i * (WORKGROUP / ACROSS_A) : id % ACROSS_A * 4);
        nextA[i] = vec4(0);
        if (inner < end)
            nextA[i] = fromA.at[i * (WORKGROUP / ACROSS_A) * (pitchA() / 4)];
    }
    [[unroll]] for (uint i = 0; i < VECTORS_B; i++) {
        uint inner = k + (TRANSPOSE_B ? id % ACROSS_B * 4 : id / ACROSS_B + i * (WORKGROUP / ACROSS_B));
        nextB[i] = vec4(0);
        if (inner < end)
            nextB[i] = fromB.at[i * (WORKGROUP / ACROSS_B) * (pitchB() / 4)];
    }
}

// Both tiles lie in shared memory with the inner axis outermost.
void store(const uint half_) {
    uint id = gl_LocalInvocationID.x;
    [[unroll]] for (uint i = 0; i < VECTORS_A; i++) {
        uint row = id / ACROSS_A + i * (WORKGROUP / ACROSS_A), column = id % ACROSS_A;
        if (TRANSPOSE_A) {
            tileA[(half_ * BK + row) * ROW_A + column] = nextA[i];
        } else {
            [[unroll]] for (uint z = 0; z < 4; z++)
                tileA[(half_ * BK + column * 4 + z) * ROW_A + row / 4][row % 4] = nextA[i][z];
        }
    }
    [[unroll]] for (uint i = 0; i < VECTORS_B; i++) {
        uint row = id / ACROSS_B + i * (WORKGROUP / ACROSS_B), column = id % ACROSS_B;
        if (TRANSPOSE_B) {
            [[unroll]] for (uint z = 0; z < 4; z++)
                tileB[(half_ * BK + column * 4 + z) * ROW_B + row / 4][row % 4] = nextB[i][z];
        } else {
            tileB[(half_ * BK + row) * ROW_B + column] = nextB[i];
        }
    }
}

void multiply(const uint half_, uint x, uint y) {
    [[unroll]] for (uint k = 0; k < BK; k++) {
        vec4 a[TM / 4], b[TN / 4];
        [[unroll]] for (uint i = 0; i < TM / 4; i++)
            a[i] = tileA[(half_ * BK + k) * ROW_A + y + i * SPREAD_Y];
        [[unroll]] for (uint j = 0; j < TN / 4; j++)
            b[j] = tileB[(half_ * BK + k) * ROW_B + x + j * SPREAD_X];
        [[unroll]] for (uint i = 0; i < TM; i++)
            [[unroll]] for (uint j = 0; j < TN; j++)
                sums[i][j] = fma(a[i / 4][i % 4], b[j / 4][j % 4], sums[i][j]);
    }
}

void main() {
    uint tiles = push.tilesM * push.tilesN, group = groupNumber();
    if (group >= tiles * push.batches * push.splits)
        return;
    uint tile = group % tiles, plane = group / tiles, batch = plane % push.batches, split = plane / push.batches;
    uint band = tile / (RASTER * push.tilesN), firstRow = band * RASTER, rows = min(push.tilesM - firstRow, RASTER), inBand = tile % (RASTER * push.tilesN);
    uint m0 = min((firstRow + inBand % rows) * BM, push.m - BM), n0 = min(inBand / rows * BN, push.n - BN);
    uint start = split * push.splitLength, end = min(push.k, start + push.splitLength);

    uint id = gl_LocalInvocationID.x, lane = id % 32, part = id / 32;
    uint x = part % GROUPS_X * LANES_X + lane % LANES_X, y = part / GROUPS_X * (32 / LANES_X) + lane / LANES_X;
    uint rowA = id / ACROSS_A, columnA = id % ACROSS_A * 4, rowB = id / ACROSS_B, columnB = id % ACROSS_B * 4;
    uint64_t a = uint64_t(push.a) + 4 * (uint64_t(batch) * push.batchA + (TRANSPOSE_A ? rowA * pitchA() + m0 + columnA : (m0 + rowA) * pitchA() + columnA));
    uint64_t b = uint64_t(push.b) + 4 * (uint64_t(batch) * push.batchB + (TRANSPOSE_B ? (n0 + rowB) * pitchB() + columnB : rowB * pitchB() + n0 + columnB));

    [[unroll]] for (uint i = 0; i < TM; i++)
        [[unroll]] for (uint j = 0; j < TN; j++)
            sums[i][j] = 0;

    uint pairsEnd = start + (end - start) / (2 * BK) * (2 * BK);
    if (pairsEnd > start) {
        uint last = pairsEnd - BK;
        load(a, b, start);
        store(0);
        barrier();
        for (uint k = start; k < pairsEnd; k += 2 * BK) {
            load(a, b, k + BK);
            multiply(0, x, y);
            store(1);
            barrier();
            load(a, b, min(k + 2 * BK, last));
            multiply(1, x, y);
            store(0);
            barrier();
        }
    }
    for (uint k = pairsEnd; k < end; k += BK) {
        loadRest(a, b, k, end);
        store(0);
        barrier();
        multiply(0, x, y);
        barrier();
    }

    uint64_t matrix = 4 * uint64_t(plane) * push.m * push.n;
    Vectors c = Vectors(uint64_t(push.c) + matrix), d = Vectors(uint64_t(push.d) + (IS_ROW ? 0 : matrix));
    [[unroll]] for (uint i = 0; i < TM; i++) {
        uint row = m0 + (y + i / 4 * SPREAD_Y) * 4 + i % 4;
        [[unroll]] for (uint j = 0; j < TN; j += 4) {
            uint column = n0 + (x + j / 4 * SPREAD_X) * 4, to = (row * push.n + column) / 4;
            vec4 sum = vec4(sums[i][j], sums[i][j + 1], sums[i][j + 2], sums[i][j + 3]);
            c.at[to] = ADDEND == NOTHING ? sum : sum + d.at[IS_ROW ? column / 4 : to];
        }
    }
}
