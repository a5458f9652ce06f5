#version 460
#pragma use_vulkan_memory_model
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_bfloat16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
// C = A · B on matrix units, of operands in the order of matmul_fragments.comp; where they come as rounded numbers and rests, PARTS 2, the sum of three products: what float32 holds.
// A workgroup computes a BM × BN tile, each of its subgroups WM × WN of it. Every operand comes from memory, or the first-level cache, straight to where it is multiplied, and no
// barrier holds a subgroup up. Two blocks along the inner axis are under way at once.
#include "common.glsl"
#include "narrow.glsl"

layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint WM = 64;
layout(constant_id = 4) const uint WN = 32;
layout(constant_id = 5) const uint BLOCKS = 4; // along the inner axis, a multiple of 2
layout(constant_id = 6) const uint PARTS = 2;
layout(constant_id = 7) const uint RESULT = F32; // or BF16

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Packed { uvec4 at[]; };

layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer Results { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Packed a;
    Packed b;
    Floats c; // [splits, batches, m, n]
    uint m;
    uint n;
    uint outerA; // blocks along the outer axes, at least those of a tile
    uint outerB;
    uint tilesM;
    uint tilesN;
    uint batches;
    uint splits;
    uint splitBlocks; // a multiple of 2
    uint batchA;      // blocks from one matrix to the next; 0 where all batches share one
    uint batchB;
    uint restA; // blocks from the rounded numbers to the rests
    uint restB;
} push;

const uint SIDE = 16, RASTER = 8, ROWS = WM / SIDE, COLUMNS = WN / SIDE, STAGES = 2, BYTES = 512, ROW_C = WN / 4 + 1;

// Sixteen rows of each subgroup's results on their way to memory: in packs of four floats, one more in a row to spread it over the banks.
shared uvec4 results[BM / WM * (BN / WN) * SIDE * ROW_C];

#define LEFT coopmat<bfloat16_t, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseA>
#define RIGHT coopmat<bfloat16_t, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeSubgroup, SIDE, SIDE, gl_MatrixUseAccumulator>
#define PUT(m, e, word) \
    { \
        m[e] = uintBitsToBFloat16EXT(uint16_t(word)); \
        m[e + 1] = uintBitsToBFloat16EXT(uint16_t(word >> 16)); \
    }
#define FILL(m, words) PUT(m, 0, words.x) PUT(m, 2, words.y) PUT(m, 4, words.z) PUT(m, 6, words.w)

uvec4 nextA[STAGES][PARTS][ROWS], nextB[STAGES][PARTS][COLUMNS];

void load(const uint stage, uint64_t a, uint64_t b, uint k) {
    [[unroll]] for (uint p = 0; p < PARTS; p++) {
        Packed from = Packed(a + uint64_t(p) * push.restA * BYTES + BYTES * k);
        [[unroll]] for (uint i = 0; i < ROWS; i++)
            nextA[stage][p][i] = from.at[i * BLOCKS * 32];
    }
    [[unroll]] for (uint p = 0; p < PARTS; p++) {
        Packed from = Packed(b + uint64_t(p) * push.restB * BYTES + BYTES * k);
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            nextB[stage][p][j] = from.at[j * BLOCKS * 32];
    }
}

void main() {
    uint tiles = push.tilesM * push.tilesN, group = groupNumber();
    if (group >= tiles * push.batches * push.splits)
        return;
    uint tile = group % tiles, plane = group / tiles, batch = plane % push.batches, split = plane / push.batches;
    uint band = tile / (RASTER * push.tilesN), firstRow = band * RASTER, rows = min(push.tilesM - firstRow, RASTER), inBand = tile % (RASTER * push.tilesN);
    uint warp = gl_SubgroupID, lane = gl_SubgroupInvocationID;
    // Tiles that would reach behind the last blocks are moved back, where neighbours compute the same values.
    uint row = min((firstRow + inBand % rows) * BM, push.outerA * SIDE - BM) + warp % (BM / WM) * WM;
    uint column = min(inBand / rows * BN, push.outerB * SIDE - BN) + warp / (BM / WM) * WN;
    uint start = split * push.splitBlocks, end = min(BLOCKS, start + push.splitBlocks);
    uint64_t a = uint64_t(push.a) + (uint64_t(batch) * push.batchA + uint64_t(row / SIDE) * BLOCKS) * BYTES + lane * 16;
    uint64_t b = uint64_t(push.b) + (uint64_t(batch) * push.batchB + uint64_t(column / SIDE) * BLOCKS) * BYTES + lane * 16;

    SUM sums[ROWS][COLUMNS];
    [[unroll]] for (uint i = 0; i < ROWS; i++)
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            sums[i][j] = SUM(0.0);
    [[unroll]] for (uint stage = 0; stage < STAGES; stage++)
        load(stage, a, b, start + stage);
    for (uint k = start; k < end; k += STAGES) {
        [[unroll]] for (uint stage = 0; stage < STAGES; stage++) {
            LEFT left[PARTS][ROWS];
            RIGHT right[PARTS][COLUMNS];
            [[unroll]] for (uint p = 0; p < PARTS; p++) {
                [[unroll]] for (uint i = 0; i < ROWS; i++) {
                    FILL(left[p][i], nextA[stage][p][i])
                }
                [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                    FILL(right[p][j], nextB[stage][p][j])
                }
            }
            // The small products first.
            [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
                if (PARTS == 2) {
                    [[unroll]] for (uint i = 0; i < ROWS; i++)
                        sums[i][j] = coopMatMulAdd(left[PARTS - 1][i], right[0][j], sums[i][j]);
                    [[unroll]] for (uint i = 0; i < ROWS; i++)
                        sums[i][j] = coopMatMulAdd(left[0][i], right[PARTS - 1][j], sums[i][j]);
                }
                [[unroll]] for (uint i = 0; i < ROWS; i++)
                    sums[i][j] = coopMatMulAdd(left[0][i], right[0][j], sums[i][j]);
            }
            load(stage, a, b, min(k + STAGES + stage, end - 1));
        }
    }

    // Sixteen rows at a time pass through shared memory, where edges are cut off and numbers rounded; the conversion of matrices would truncate.
    uint64_t c = uint64_t(push.c) + (RESULT == F32 ? 4 : 2) * uint64_t(plane) * push.m * push.n;
    uint place = warp * SIDE * ROW_C;
    [[unroll]] for (uint i = 0; i < ROWS; i++) {
        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
            coopMatStore(sums[i][j], results, place + j * SIDE / 4, ROW_C, gl_CooperativeMatrixLayoutRowMajor);
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
        const uint length = RESULT == F32 ? 4 : 8, packs = WN / length;
        [[unroll]] for (uint e = 0; e < SIDE * packs; e += 32) {
            uint line = (e + lane) / packs, pack = (e + lane) % packs, y = row + i * SIDE + line, x = column + pack * length;
            if (y < push.m && x < push.n) {
                uint64_t to = uint64_t(y) * push.n + x;
                if (RESULT == F32) {
                    Results(c + 4 * to).at[0] = results[place + line * ROW_C + pack];
                } else {
                    vec4 low = uintBitsToFloat(results[place + line * ROW_C + pack * 2]), high = uintBitsToFloat(results[place + line * ROW_C + pack * 2 + 1]);
                    Results(c + 2 * to).at[0] = uvec4(narrowPair(RESULT, low.xy), narrowPair(RESULT, low.zw), narrowPair(RESULT, high.xy), narrowPair(RESULT, high.zw));
                }
            }
        }
        controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease);
    }
}
