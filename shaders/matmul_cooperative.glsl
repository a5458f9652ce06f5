// C = A · B + D on matrix units: 16-bit operands, sums in float32. A workgroup computes a BM × BN tile, each of its subgroups WM × WN of it as matrices of SIDE × SIDE, from slices
// of BK along the inner axis. A slice passes through shared memory while the next one is on its way from memory to registers; there is one buffer, small enough for
// several workgroups on a multiprocessor, which hide each other's barriers. The loop has no branch: the prefetch behind the end reads the last slice again.
// Tiles that would reach over an edge are moved back inside the matrix, where neighbours compute the same values.
// Where the inner axis is no multiple of BK, the last slice is moved back inside too and comes first, with zeros for what it has in common with the one before.
// With PARTS 2 each operand comes as a rounded part and a rest, and the product is the sum of three: what float32 holds, at a third of the speed.
// With IN_TURN a workgroup makes the parts of a tile along the inner axis one after the other, and adds each to what it has written of those before; no two tiles may overlap then.
// With STREAM the slices of all tiles stand in one row, of which each workgroup takes as many as every other: it may begin and end inside a tile, and writes tiles as they are for
// matmul_sum_streams, which adds up what several workgroups have of one.
// ELEMENT is the type of the operands, ROUNDED(v) two numbers of it in a word.
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#include "common.glsl"
#include "addend.glsl"
#include "raster.glsl"

layout(constant_id = 0) const uint WORKGROUP = 128;
layout(constant_id = 1) const uint SUBGROUP = 32;
layout(constant_id = 2) const uint BM = 128;
layout(constant_id = 3) const uint BN = 128;
layout(constant_id = 4) const uint BK = 32;
layout(constant_id = 5) const uint WM = 64;
layout(constant_id = 6) const uint WN = 64;
layout(constant_id = 7) const bool TRANSPOSE_A = false;
layout(constant_id = 8) const bool TRANSPOSE_B = false;
layout(constant_id = 9) const uint PITCH_A = 128; // row lengths as they lie in memory, multiples of 8
layout(constant_id = 10) const uint PITCH_B = 128;
layout(constant_id = 11) const uint PARTS = 1;
layout(constant_id = 12) const uint RESULT = F32; // or the type of the operands
layout(constant_id = 13) const uint SIDE = 16;    // of the matrices that a subgroup multiplies at once
layout(constant_id = 14) const uint ADDEND = NOTHING; // D as C, or a row that is added to each of C's
layout(constant_id = 15) const bool IS_ROW = false;
layout(constant_id = 16) const bool IN_TURN = false; // where RESULT is F32 and nothing is added
layout(constant_id = 17) const bool STREAM = false;  // the same

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Packed { uvec4 at[]; }; // eight elements each
layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer Results { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Packed a;
    Packed b;
    Floats c; // [splits, batches, m, n]; with STREAM [pieces, BM, BN]
    Floats d;
    uint m;
    uint n;
    uint k; // a multiple of 8
    uint tilesM;
    uint tilesN;
    uint batches;
    uint splits;
    uint splitLength; // a multiple of BK; with STREAM slices of a workgroup
    uint batchA;      // elements from one matrix to the next; 0 where all batches share one
    uint batchB;
    uint restA; // elements from the rounded parts to the rests
    uint restB;
} push;

// A slice as it lies in memory: how many lines, and how long each is, in packs of eight. One pack of padding spreads the lines over the banks.
const uint LINES_A = TRANSPOSE_A ? BK : BM, PACKS_A = (TRANSPOSE_A ? BM : BK) / 8, ROW_A = PACKS_A + 1;
const uint LINES_B = TRANSPOSE_B ? BN : BK, PACKS_B = (TRANSPOSE_B ? BK : BN) / 8, ROW_B = PACKS_B + 1;
const uint LOADS_A = LINES_A * PACKS_A / WORKGROUP, LOADS_B = LINES_B * PACKS_B / WORKGROUP;
const uint STEP_A = WORKGROUP / PACKS_A, STEP_B = WORKGROUP / PACKS_B; // lines that one load of all invocations covers
const uint SIZE_A = LINES_A * ROW_A, SIZE_B = LINES_B * ROW_B;
const uint ROWS = WM / SIDE, COLUMNS = WN / SIDE;

// SIDE rows of a subgroup's results on their way to memory, where they are not what the matrices hold: in packs of four floats, one more in a row to spread it over the banks.
const uint ROW_C = WN / 4 + 1, SIZE_STAGED = WORKGROUP / SUBGROUP * SIDE * ROW_C;
const uint SIZE_C = RESULT == F32 ? (ADDEND == NOTHING ? 0 : SIZE_STAGED) : SIZE_STAGED;
const uint SIZE_TILES = PARTS * (SIZE_A + SIZE_B), AT_B = PARTS * SIZE_A;

shared uvec4 slices[SIZE_TILES > SIZE_C ? SIZE_TILES : SIZE_C];

uvec4 nextA[PARTS * LOADS_A], nextB[PARTS * LOADS_B];

#define LEFT coopmat<ELEMENT, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseA>
#define RIGHT coopmat<ELEMENT, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseAccumulator>

// Which line an invocation loads first. Where four or two packs make a line, consecutive invocations take lines apart, so that the writes of a quarter of a
// subgroup fall on different banks.
uint lineOf(uint id, const uint packs) {
    uint lane = id & 31u, part = id >> 5;
    if (packs == 4)
        return part * 8 + ((lane >> 3) & 3u) + ((lane >> 2) & 1u) * 4;
    if (packs == 2)
        return part * 16 + ((lane >> 4) & 1u) * 8 + ((lane >> 3) & 1u) + 2 * ((lane >> 1) & 3u);
    return id / packs;
}

void load(uint64_t a, uint64_t b, uint k) {
    uint64_t fromA = a + 2 * uint64_t(k) * (TRANSPOSE_A ? PITCH_A : 1), fromB = b + 2 * uint64_t(k) * (TRANSPOSE_B ? 1 : PITCH_B);
    [[unroll]] for (uint p = 0; p < PARTS; p++) {
        Packed from = Packed(fromA + 2 * uint64_t(p) * push.restA);
        [[unroll]] for (uint i = 0; i < LOADS_A; i++)
            nextA[p * LOADS_A + i] = from.at[i * STEP_A * (PITCH_A / 8)];
    }
    [[unroll]] for (uint p = 0; p < PARTS; p++) {
        Packed from = Packed(fromB + 2 * uint64_t(p) * push.restB);
        [[unroll]] for (uint i = 0; i < LOADS_B; i++)
            nextB[p * LOADS_B + i] = from.at[i * STEP_B * (PITCH_B / 8)];
    }
}

void store(uint placeA, uint placeB) {
    [[unroll]] for (uint p = 0; p < PARTS; p++)
        [[unroll]] for (uint i = 0; i < LOADS_A; i++)
            slices[p * SIZE_A + placeA + i * STEP_A * ROW_A] = nextA[p * LOADS_A + i];
    [[unroll]] for (uint p = 0; p < PARTS; p++)
        [[unroll]] for (uint i = 0; i < LOADS_B; i++)
            slices[AT_B + p * SIZE_B + placeB + i * STEP_B * ROW_B] = nextB[p * LOADS_B + i];
}


// The tile at m0, n0 of a plane from start to end of the inner axis, into the matrix or piece at 'to'; where parts are made in turn, later ones are added to what is there.
void multiply(uint m0, uint n0, uint plane, uint start, uint end, uint64_t to, bool isLater) {
    uint batch = plane % push.batches;
    uint id = gl_LocalInvocationID.x;
    uint lineA = lineOf(id, PACKS_A), packA = id % PACKS_A, lineB = lineOf(id, PACKS_B), packB = id % PACKS_B;
    uint64_t a = uint64_t(push.a) + 2 * (uint64_t(batch) * push.batchA + (TRANSPOSE_A ? lineA * PITCH_A + m0 : (m0 + lineA) * PITCH_A) + packA * 8);
    uint64_t b = uint64_t(push.b) + 2 * (uint64_t(batch) * push.batchB + (TRANSPOSE_B ? (n0 + lineB) * PITCH_B : lineB * PITCH_B + n0) + packB * 8);
    uint placeA = lineA * ROW_A + packA, placeB = lineB * ROW_B + packB;
    uint row = gl_SubgroupID % (BM / WM) * WM, column = gl_SubgroupID / (BM / WM) * WN;

    SUM sums[ROWS][COLUMNS];
    [[unroll]] for (uint i = 0; i < ROWS; i++)
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            sums[i][j] = SUM(0.0);

    uint rest = (end - start) % BK, next = rest == 0 ? start : end - BK;
    load(a, b, next);
    if (rest != 0) {
        [[unroll]] for (uint i = 0; i < PARTS * LOADS_A; i++)
            if ((TRANSPOSE_A ? lineA + i % LOADS_A * STEP_A : packA * 8) < BK - rest)
                nextA[i] = uvec4(0);
    }
    next = rest == 0 ? start + BK : start;
    for (uint k = start; k < end; k += BK) {
        barrier();
        store(placeA, placeB);
        barrier();
        load(a, b, min(next, end - BK));
        next += BK;
        [[unroll]] for (uint inner = 0; inner < BK; inner += SIDE) {
            LEFT left[PARTS][ROWS];
            [[unroll]] for (uint p = 0; p < PARTS; p++)
                [[unroll]] for (uint i = 0; i < ROWS; i++) {
                    if (TRANSPOSE_A)
                        coopMatLoad(left[p][i], slices, p * SIZE_A + inner * ROW_A + (row + i * SIDE) / 8, ROW_A, gl_CooperativeMatrixLayoutColumnMajor);
                    else
                        coopMatLoad(left[p][i], slices, p * SIZE_A + (row + i * SIDE) * ROW_A + inner / 8, ROW_A, gl_CooperativeMatrixLayoutRowMajor);
                }
            [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                RIGHT right[PARTS];
                [[unroll]] for (uint p = 0; p < PARTS; p++) {
                    if (TRANSPOSE_B)
                        coopMatLoad(right[p], slices, AT_B + p * SIZE_B + (column + j * SIDE) * ROW_B + inner / 8, ROW_B, gl_CooperativeMatrixLayoutColumnMajor);
                    else
                        coopMatLoad(right[p], slices, AT_B + p * SIZE_B + inner * ROW_B + (column + j * SIDE) / 8, ROW_B, gl_CooperativeMatrixLayoutRowMajor);
                }
                [[unroll]] for (uint i = 0; i < ROWS; i++) {
                    // The small products first.
                    if (PARTS == 2) {
                        sums[i][j] = coopMatMulAdd(left[PARTS - 1][i], right[0], sums[i][j]);
                        sums[i][j] = coopMatMulAdd(left[0][i], right[PARTS - 1], sums[i][j]);
                    }
                    sums[i][j] = coopMatMulAdd(left[0][i], right[0], sums[i][j]);
                }
            }
        }
    }

    if (RESULT == F32 && ADDEND == NOTHING) {
        Floats c = Floats(to);
        uint pitch = STREAM ? BN : push.n, place = (STREAM ? 0 : m0 * push.n + n0) + row * pitch + column;
        [[unroll]] for (uint i = 0; i < ROWS; i++) {
            [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                if (IN_TURN && isLater) {
                    SUM before;
                    coopMatLoad(before, c.at, place + i * SIDE * pitch + j * SIDE, pitch, gl_CooperativeMatrixLayoutRowMajor);
                    sums[i][j] += before;
                }
                coopMatStore(sums[i][j], c.at, place + i * SIDE * pitch + j * SIDE, pitch, gl_CooperativeMatrixLayoutRowMajor);
            }
        }
        return;
    }
    // The conversion of matrices would truncate.
    Results c = Results(to);
    Floats d = Floats(uint64_t(push.d) + (IS_ROW ? 0 : (ADDEND == F32 ? 4 : 2) * uint64_t(plane) * push.m * push.n));
    uint from = gl_SubgroupID * SIDE * ROW_C;
    barrier();
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            coopMatStore(sums[i][j], slices, from + j * SIDE / 4, ROW_C, gl_CooperativeMatrixLayoutRowMajor);
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
        [[unroll]] for (uint e = gl_SubgroupInvocationID; e < SIDE * WN / 8; e += SUBGROUP) {
            uint line = e / (WN / 8), pack = e % (WN / 8);
            vec4 low = uintBitsToFloat(slices[from + line * ROW_C + pack * 2]), high = uintBitsToFloat(slices[from + line * ROW_C + pack * 2 + 1]);
            uint place = n0 + column + pack * 8, to = (m0 + row + i * SIDE + line) * push.n + place;
            if (ADDEND != NOTHING) {
                low += readFour(d, IS_ROW ? place : to, 4, ADDEND);
                high += readFour(d, (IS_ROW ? place : to) + 4, 4, ADDEND);
            }
            if (RESULT == F32) {
                c.at[to / 4] = floatBitsToUint(low);
                c.at[to / 4 + 1] = floatBitsToUint(high);
            } else {
                c.at[to / 8] = uvec4(ROUNDED(low.xy), ROUNDED(low.zw), ROUNDED(high.xy), ROUNDED(high.zw));
            }
        }
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
    }
}

void main() {
    uint tiles = push.tilesM * push.tilesN, group = groupNumber(), plane = group / tiles, tile = group % tiles, split = plane / push.batches, count = IN_TURN ? push.splits : 1;
    uint slices = push.k / BK, first = group * push.splitLength, behind = min(first + push.splitLength, tiles * slices);
    if (STREAM) {
        if (first >= behind)
            return;
        tile = first / slices;
        count = (behind - 1) / slices - tile + 1;
    } else if (plane >= push.batches * (IN_TURN ? 1 : push.splits)) {
        return;
    }
    for (uint i = 0; i < count; i++) {
        uvec2 place = min(tileOf(tile, push.tilesM, push.tilesN) * uvec2(BM, BN), uvec2(push.m - BM, push.n - BN));
        uint start = (IN_TURN ? i : split) * push.splitLength, end = min(push.k, start + push.splitLength);
        uint64_t to = uint64_t(push.c) + (RESULT == F32 ? 4 : 2) * uint64_t(plane) * push.m * push.n;
        if (STREAM) {
            start = (max(first, tile * slices) - tile * slices) * BK;
            end = min(slices, behind - tile * slices) * BK;
            to = uint64_t(push.c) + 4 * uint64_t(group + tile) * (BM * BN);
            plane = 0;
            tile++;
        }
        multiply(place.x, place.y, plane, start, end, to, i > 0);
        if (IN_TURN)
            controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsBuffer, gl_SemanticsAcquireRelease);
    }
}
