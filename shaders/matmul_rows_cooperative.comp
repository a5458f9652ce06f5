#version 460
#extension GL_GOOGLE_include_directive : require
// C = A · Bᵀ for some tens of rows of float32 and B [N, K] in any type, on matrix units, as in decoding many sequences; with NORM it is norm(A) · Bᵀ + residual, as in matmul_few_rows.
// Numbers are sums of two of bfloat16, but B's that are of bfloat16 anyway: products are exact to 2⁻¹⁶, sums in float32. With PARTS 1 they are rounded to one. A workgroup computes TM × TN of C; a slice of BK along the inner axis passes through
// shared memory while the next is on its way; subgroups are so many for WM × WN of the tile, each taking its part of the slice, as are not needed for other places.
#include "matrix.glsl"
#include "words.glsl"
#include "weights.glsl"
#include "bfloat16.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256;
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint TM = 64;
layout(constant_id = 3) const uint TN = 32;
layout(constant_id = 4) const uint BK = 128;
layout(constant_id = 5) const uint WM = 32;
layout(constant_id = 6) const uint WN = 32;
layout(constant_id = 7) const uint TYPE = BF16;
layout(constant_id = 8) const uint K = 768;
layout(constant_id = 9) const uint NORM = 0;
layout(constant_id = 10) const uint RESIDUAL = 0;
layout(constant_id = 11) const uint AHEAD = 1; // slices of B under way at once
layout(constant_id = 12) const uint PARTS = 2;
layout(constant_id = 13) const uint AHEAD_A = 1; // slices of A under way at once

layout(push_constant, scalar) uniform Push {
    Vectors a;    // [m, K]
    Vectors norm; // [K]
    Packs b;      // [n, K]
    Floats residual;
    Floats c; // [m, n]
    uint m;
    uint n;
    uint tilesM;
    uint groups;
    float epsilon;
} push;

const uint SIDE = 16, PACK = PACK_LENGTH(TYPE), CHUNKS = PACK / 4, PLANES = TYPE == BF16 ? 1 : PARTS;
const uint QUADS = BK / 4, LINES = WORKGROUP / QUADS, LOADS_A = TM / LINES, PACKS = BK / PACK, ALL_B = TN * PACKS, LOADS_B = (ALL_B + WORKGROUP - 1) / WORKGROUP;
const uint SLICES = (K + BK - 1) / BK;
// In fours of bfloat16, with 16 bytes behind each row to spread rows over the banks.
const uint ROW = QUADS + 2, SIZE_A = TM * ROW, SIZE_B = TN * ROW, AT_B = PARTS * SIZE_A;
const uint GROUPS = (TM / WM) * (TN / WN), SUBGROUPS = WORKGROUP / SUBGROUP, SHARES = SUBGROUPS / GROUPS, SHARE = BK / SHARES;
// In pairs of float32.
const uint ROW_C = TN / 2 + 2, SIZE_C = TM * ROW_C, SIZE_TILES = AT_B + PLANES * SIZE_B;
// Neighbours of a subgroup that load one line of A, and how many subgroups load it.
const uint BESIDE = QUADS < SUBGROUP ? QUADS : SUBGROUP, PIECES = QUADS / BESIDE;

shared uvec2 slices[SIZE_TILES > SHARES * SIZE_C ? SIZE_TILES : SHARES * SIZE_C];
shared float squaresOf[TM * PIECES];

// What is under way, so many slices that memory is kept busy.
vec4 nextA[AHEAD_A * LOADS_A], norms[AHEAD_A];
uvec4 nextB[AHEAD * LOADS_B];
float scales[AHEAD * LOADS_B];

// Both parts rounded to the nearest. With the first cut off products were off by 1.3e-5.
void put(uint at, uint plane, vec4 value) {
    vec4 first = roundedToBfloat16(value);
    slices[at] = upperHalves(floatBitsToUint(first));
    if (PARTS == 2)
        slices[at + plane] = upperHalves(floatBitsToUint(value - first) + 0x8000u);
}

void loadA(uint m0, uint slice) {
    uint line = gl_LocalInvocationID.x / QUADS, inLine = slice * QUADS + gl_LocalInvocationID.x % QUADS;
    [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
        vec4 value = push.a.at[min(m0 + line + i * LINES, push.m - 1) * (K / 4) + min(inLine, K / 4 - 1)];
        nextA[slice % AHEAD_A * LOADS_A + i] = K % BK == 0 || inLine < K / 4 ? value : vec4(0);
    }
    norms[slice % AHEAD_A] = NORM != 0 ? push.norm.at[min(inLine, K / 4 - 1)] : vec4(1);
}

void loadB(uint n0, uint slice) {
    [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
        uint e = gl_LocalInvocationID.x + i * WORKGROUP, to = slice % AHEAD * LOADS_B + i;
        uint64_t pack = uint64_t(min(n0 + e / PACKS, push.n - 1)) * (K / PACK) + min(slice * PACKS + e % PACKS, K / PACK - 1);
        nextB[to] = push.b.at[uint(pack)];
        scales[to] = packScale(TYPE, push.b, uint64_t(push.n) * (K / PACK), pack);
    }
}

void main() {
    if (groupNumber() >= push.groups)
        return;
    uint m0 = groupNumber() % push.tilesM * TM, n0 = groupNumber() / push.tilesM * TN, me = gl_LocalInvocationID.x, quad = me % QUADS, line = me / QUADS;
    uint share = gl_SubgroupID % SHARES, place = gl_SubgroupID / SHARES, row = place % (TM / WM) * WM, column = place / (TM / WM) * WN;
    SUMS_BLOCK sums[WM / SIDE][WN / SIDE];
    [[unroll]] for (uint i = 0; i < WM / SIDE; i++)
        [[unroll]] for (uint j = 0; j < WN / SIDE; j++)
            sums[i][j] = SUMS_BLOCK(0.0);
    float squares[LOADS_A];
    [[unroll]] for (uint i = 0; i < LOADS_A; i++)
        squares[i] = 0;

    [[unroll]] for (uint s = 0; s < AHEAD; s++)
        loadB(n0, s);
    [[unroll]] for (uint s = 0; s < AHEAD_A; s++)
        loadA(m0, s);
    [[unroll]] for (uint s = 0; s < SLICES; s++) {
        barrier();
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
            vec4 value = nextA[s % AHEAD_A * LOADS_A + i];
            squares[i] += dot(value, value);
            put((line + i * LINES) * ROW + quad, SIZE_A, value * norms[s % AHEAD_A]);
        }
        [[unroll]] for (uint i = 0; i < LOADS_B; i++) {
            uint e = me + i * WORKGROUP, at = AT_B + e / PACKS * ROW + e % PACKS * CHUNKS;
            if (ALL_B % WORKGROUP == 0 || e < ALL_B) {
                uvec4 pack = nextB[s % AHEAD * LOADS_B + i];
                if (TYPE == BF16) {
                    slices[at] = pack.xy;
                    slices[at + 1] = pack.zw;
                } else {
                    [[unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++)
                        put(at + chunk, SIZE_B, scales[s % AHEAD * LOADS_B + i] * numbers(TYPE, pack, chunk));
                }
            }
        }
        barrier();
        if (s + AHEAD_A < SLICES)
            loadA(m0, s + AHEAD_A);
        if (s + AHEAD < SLICES)
            loadB(n0, s + AHEAD);
        [[unroll]] for (uint inner = 0; inner < SHARE; inner += SIDE) {
            uint at = (share * SHARE + inner) / 4;
            LEFT_BLOCK left[PARTS][WM / SIDE];
            [[unroll]] for (uint p = 0; p < PARTS; p++)
                [[unroll]] for (uint i = 0; i < WM / SIDE; i++)
                    coopMatLoad(left[p][i], slices, p * SIZE_A + (row + i * SIDE) * ROW + at, ROW, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint j = 0; j < WN / SIDE; j++) {
                RIGHT_BLOCK right[PLANES];
                [[unroll]] for (uint p = 0; p < PLANES; p++)
                    coopMatLoad(right[p], slices, AT_B + p * SIZE_B + (column + j * SIDE) * ROW + at, ROW, gl_CooperativeMatrixLayoutColumnMajor);
                [[unroll]] for (uint i = 0; i < WM / SIDE; i++) {
                    // The small products first.
                    if (PARTS == 2)
                        sums[i][j] = coopMatMulAdd(left[PARTS - 1][i], right[0], sums[i][j]);
                    if (PLANES == 2)
                        sums[i][j] = coopMatMulAdd(left[0][i], right[PLANES - 1], sums[i][j]);
                    sums[i][j] = coopMatMulAdd(left[0][i], right[0], sums[i][j]);
                }
            }
        }
    }

    barrier();
    [[unroll]] for (uint i = 0; i < WM / SIDE; i++)
        [[unroll]] for (uint j = 0; j < WN / SIDE; j++)
            coopMatStore(sums[i][j], slices, share * SIZE_C + (row + i * SIDE) * ROW_C + (column + j * SIDE) / 2, ROW_C, gl_CooperativeMatrixLayoutRowMajor);
    if (NORM != 0) {
        [[unroll]] for (uint i = 0; i < LOADS_A; i++) {
            float sum = squares[i];
            [[unroll]] for (uint stride = BESIDE / 2; stride > 0; stride /= 2)
                sum += subgroupShuffleXor(sum, stride);
            if (gl_SubgroupInvocationID % BESIDE == 0)
                squaresOf[(line + i * LINES) * PIECES + quad / BESIDE] = sum;
        }
    }
    barrier();
    for (uint e = me; e < TM * TN / 2; e += WORKGROUP) {
        uint i = e / (TN / 2), pair = e % (TN / 2), atRow = m0 + i, atColumn = n0 + 2 * pair;
        vec2 sum = vec2(0);
        [[unroll]] for (uint s = 0; s < SHARES; s++)
            sum += uintBitsToFloat(slices[s * SIZE_C + i * ROW_C + pair]);
        if (NORM != 0) {
            float square = 0;
            [[unroll]] for (uint p = 0; p < PIECES; p++)
                square += squaresOf[i * PIECES + p];
            sum *= 1 / sqrt(square / float(K) + push.epsilon);
        }
        [[unroll]] for (uint j = 0; j < 2; j++) {
            if (atRow < push.m && atColumn + j < push.n) {
                uint at = atRow * push.n + atColumn + j;
                push.c.at[at] = RESIDUAL != 0 ? sum[j] + push.residual.at[at] : sum[j];
            }
        }
    }
}
