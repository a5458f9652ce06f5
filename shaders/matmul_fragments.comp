#version 460
#pragma use_vulkan_memory_model
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_EXT_bfloat16 : require
#extension GL_EXT_shader_explicit_arithmetic_types_int16 : require
// A matrix in the order in which a subgroup of 32 holds operands of matrix units: block by block of 16 × 16, sixteen bytes for each invocation, so that a later kernel loads an operand
// with one instruction and needs no shared memory. One of float32 becomes two of bfloat16, the rounded numbers and what rounding took away; one of bfloat16 stays one. A workgroup
// takes a tile of 64 × 64; what lies outside the matrix is zero.
#include "common.glsl"
#include "rounding.glsl"

layout(constant_id = 1) const bool INNER_FIRST = false; // stored [inner, outer], as a transposed left operand is
layout(constant_id = 2) const bool IS_RIGHT = false;
layout(constant_id = 3) const bool WHOLE = false; // rows are multiples of eight elements; those of bfloat16 always are
layout(constant_id = 4) const uint PARTS = 2;       // of float32; 1 for bfloat16

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Packs { uvec4 at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer Packed { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Floats x; // [batches, rows, columns]
    Packed y; // [PARTS, batches, outer blocks, inner blocks, 32]
    uint rows;
    uint columns;
    uint tilesOuter;
    uint tilesInner;
    uint batches;
} push;

const uint TILE = 64, PACKS = TILE / 8, ROW = PACKS + 1, PART = TILE * ROW;

shared uvec4 tile[PARTS * PART];

#define LEFT coopmat<bfloat16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseA>
#define RIGHT coopmat<bfloat16_t, gl_ScopeSubgroup, 16, 16, gl_MatrixUseB>
#define WORD(m, e) (uint(bfloat16BitsToUintEXT(m[e])) | uint(bfloat16BitsToUintEXT(m[e + 1])) << 16)
#define WORDS(m) uvec4(WORD(m, 0), WORD(m, 2), WORD(m, 4), WORD(m, 6))

void main() {
    uint group = groupNumber(), tiles = push.tilesOuter * push.tilesInner;
    if (group >= tiles * push.batches)
        return;
    uint batch = group / tiles, outer = group % tiles / push.tilesInner, inner = group % push.tilesInner, id = gl_LocalInvocationID.x;
    uint row0 = (INNER_FIRST ? inner : outer) * TILE, column0 = (INNER_FIRST ? outer : inner) * TILE;
    [[unroll]] for (uint i = 0; i < TILE * PACKS; i += 128) {
        uint line = (id + i) / PACKS, pack = id % PACKS, row = row0 + line, column = column0 + pack * 8;
        if (PARTS == 1) {
            uvec4 words = uvec4(0);
            if (row < push.rows && column < push.columns)
                words = Packs(uint64_t(push.x) + 2 * ((uint64_t(batch) * push.rows + row) * push.columns + column)).at[0];
            tile[line * ROW + pack] = words;
            continue;
        }
        float x[8];
        [[unroll]] for (uint e = 0; e < 8; e++)
            x[e] = 0.0;
        if (row < push.rows) {
            uint64_t from = (uint64_t(batch) * push.rows + row) * push.columns + column;
            if (WHOLE) {
                if (column < push.columns) {
                    Vectors quads = Vectors(uint64_t(push.x) + 4 * from);
                    vec4 low = quads.at[0], high = quads.at[1];
                    [[unroll]] for (uint e = 0; e < 4; e++) {
                        x[e] = low[e];
                        x[e + 4] = high[e];
                    }
                }
            } else {
                Floats elements = Floats(uint64_t(push.x) + 4 * from);
                [[unroll]] for (uint e = 0; e < 8; e++)
                    if (column + e < push.columns)
                        x[e] = elements.at[e];
            }
        }
        tile[line * ROW + pack] = uvec4(pair(x[0], x[1]), pair(x[2], x[3]), pair(x[4], x[5]), pair(x[6], x[7]));
        tile[(PARTS - 1) * PART + line * ROW + pack] = uvec4(pair(rest(x[0]), rest(x[1])), pair(rest(x[2]), rest(x[3])), pair(rest(x[4]), rest(x[5])), pair(rest(x[6]), rest(x[7])));
    }
    barrier();
    // A subgroup takes sixteen rows of the operand's outer axis.
    uint block = gl_SubgroupID, lane = gl_SubgroupInvocationID;
    [[unroll]] for (uint p = 0; p < PARTS; p++) {
        uint64_t at = ((uint64_t(p) * push.batches + batch) * push.tilesOuter * 4 + outer * 4 + block) * push.tilesInner * 4 + inner * 4;
        Packed to = Packed(uint64_t(push.y) + 512 * at);
        [[unroll]] for (uint k = 0; k < 4; k++) {
            uint from = p * PART + (INNER_FIRST ? k * 16 * ROW + block * 2 : block * 16 * ROW + k * 2);
            if (IS_RIGHT) {
                RIGHT m;
                if (INNER_FIRST)
                    coopMatLoad(m, tile, from, ROW, gl_CooperativeMatrixLayoutRowMajor);
                else
                    coopMatLoad(m, tile, from, ROW, gl_CooperativeMatrixLayoutColumnMajor);
                to.at[k * 32 + lane] = WORDS(m);
            } else {
                LEFT m;
                if (INNER_FIRST)
                    coopMatLoad(m, tile, from, ROW, gl_CooperativeMatrixLayoutColumnMajor);
                else
                    coopMatLoad(m, tile, from, ROW, gl_CooperativeMatrixLayoutRowMajor);
                to.at[k * 32 + lane] = WORDS(m);
            }
        }
    }
}
