#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// C = A · Bᵀ for a few rows of A, as in decoding, where reading B [N, K] is what takes the time, in float32 or in fewer bits: a subgroup for COLUMNS rows of B and all of A,
// some 16-byte loads in flight.
#include "words.glsl"
#include "weights.glsl"

layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint COLUMNS = 1;
layout(constant_id = 3) const uint TYPE = F32;
layout(constant_id = 4) const uint FLIGHT = 1; // loads of a row under way at once

layout(push_constant, scalar) uniform Push {
    Vectors a; // [batches, ROWS, k]
    Packs b;   // [batches, n, k]
    Floats c;
    uint n;
    uint packs; // of a row of B
    uint batches;
    uint batchA; // vectors of A, and packs of B, from one matrix to the next; 0 where all batches share one
    uint batchB;
} push;

const uint CHUNKS = PACK_LENGTH(TYPE) / 4;

void main() {
    uint step = gl_NumWorkGroups.x * gl_NumWorkGroups.y * gl_NumSubgroups, columnGroups = (push.n + COLUMNS - 1) / COLUMNS;
    uint pitch = push.packs * CHUNKS;
    for (uint i = groupNumber() * gl_NumSubgroups + gl_SubgroupID; i < columnGroups * push.batches; i += step) {
        uint column = i % columnGroups * COLUMNS, batch = i / columnGroups;
        float sums[ROWS * COLUMNS];
        [[unroll]] for (uint s = 0; s < ROWS * COLUMNS; s++)
            sums[s] = 0;
        for (uint v = gl_SubgroupInvocationID; v < push.packs; v += FLIGHT * gl_SubgroupSize) {
            uvec4 packs[FLIGHT * COLUMNS];
            float scales[FLIGHT * COLUMNS];
            [[unroll]] for (uint f = 0; f < FLIGHT * COLUMNS; f++) {
                uint64_t pack = uint64_t(min(column + f % COLUMNS, push.n - 1)) * push.packs + min(v + f / COLUMNS * gl_SubgroupSize, push.packs - 1);
                packs[f] = push.b.at[uint(batch * push.batchB + pack)];
                scales[f] = packScale(TYPE, push.b, uint64_t(push.n) * push.packs, pack);
            }
            [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
                // Past the end the last pack counts nothing: loads behind a branch would wait for each other.
                uint at = min(v + f * gl_SubgroupSize, push.packs - 1);
                float there = v + f * gl_SubgroupSize < push.packs ? 1 : 0;
                [[unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++) {
                    vec4 b[COLUMNS];
                    [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                        b[j] = there * scales[f * COLUMNS + j] * numbers(TYPE, packs[f * COLUMNS + j], chunk);
                    [[unroll]] for (uint row = 0; row < ROWS; row++) {
                        vec4 a = push.a.at[batch * push.batchA + row * pitch + at * CHUNKS + chunk];
                        [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                            sums[row * COLUMNS + j] += dot(a, b[j]);
                    }
                }
            }
        }
        [[unroll]] for (uint s = 0; s < ROWS * COLUMNS; s++) {
            float sum = subgroupAdd(sums[s]);
            uint row = s / COLUMNS, j = column + s % COLUMNS;
            if (subgroupElect() && j < push.n)
                push.c.at[(batch * ROWS + row) * push.n + j] = sum;
        }
    }
}
