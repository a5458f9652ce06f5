#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// C = A · Bᵀ for a few rows of A, as in decoding, where reading B [N, K] is what takes the time: a subgroup for each row of B, four 16-byte loads in flight.
#include "common.glsl"

layout(constant_id = 1) const uint ROWS = 1;

layout(push_constant, scalar) uniform Push {
    Vectors a; // [batches, ROWS, k]
    Vectors b; // [batches, n, k]
    Floats c;
    uint n;
    uint vectors; // k / 4
    uint batches;
    uint batchA; // vectors from one matrix to the next; 0 where all batches share one
    uint batchB;
} push;

const uint FLIGHT = 4;

void main() {
    uint step = gl_NumWorkGroups.x * gl_NumWorkGroups.y * gl_NumSubgroups;
    for (uint i = groupNumber() * gl_NumSubgroups + gl_SubgroupID; i < push.n * push.batches; i += step) {
        uint batch = i / push.n, column = i % push.n, fromA = batch * push.batchA, fromB = batch * push.batchB + column * push.vectors;
        float sums[ROWS];
        [[unroll]] for (uint row = 0; row < ROWS; row++)
            sums[row] = 0;
        for (uint v = gl_SubgroupInvocationID; v < push.vectors; v += FLIGHT * gl_SubgroupSize) {
            vec4 b[FLIGHT];
            [[unroll]] for (uint f = 0; f < FLIGHT; f++)
                b[f] = push.b.at[fromB + min(v + f * gl_SubgroupSize, push.vectors - 1)];
            [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
                uint at = min(v + f * gl_SubgroupSize, push.vectors - 1);
                bool inside = v + f * gl_SubgroupSize < push.vectors;
                [[unroll]] for (uint row = 0; row < ROWS; row++) {
                    float product = dot(push.a.at[fromA + row * push.vectors + at], b[f]);
                    sums[row] += inside ? product : 0;
                }
            }
        }
        [[unroll]] for (uint row = 0; row < ROWS; row++) {
            float sum = subgroupAdd(sums[row]);
            if (subgroupElect())
                push.c.at[(batch * ROWS + row) * push.n + column] = sum;
        }
    }
}
