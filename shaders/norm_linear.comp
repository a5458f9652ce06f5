#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// y = W (w · v / √(mean(v²) + ε)) + residual for a few rows, v = x or x · silu(gate), as in decoding, where reading W [N, K] is what takes the time, in float32 or in fewer bits:
// a subgroup for COLUMNS rows of W, some 16-byte loads in flight. The norm divides the whole row, so it is applied to the product; every subgroup sums its squares itself.
#include "words.glsl"
#include "math.glsl"
#include "weights.glsl"

layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint GATED = 0;
layout(constant_id = 3) const uint RESIDUAL = 0;
layout(constant_id = 4) const uint COLUMNS = 1;
layout(constant_id = 5) const uint TYPE = F32;
layout(constant_id = 6) const uint FLIGHT = 1; // loads of a row under way at once

layout(push_constant, scalar) uniform Push {
    Vectors x; // [ROWS, k]
    Vectors gate;
    Vectors norm;
    Packs weight;
    Floats residual;
    Floats y;
    uint n;
    uint packs; // of a row of W
    float epsilon;
} push;

const uint CHUNKS = PACK_LENGTH(TYPE) / 4;

void main() {
    uint column = (groupNumber() * gl_NumSubgroups + gl_SubgroupID) * COLUMNS, pitch = push.packs * CHUNKS;
    if (column >= push.n)
        return;
    float sums[ROWS * COLUMNS], squares[ROWS];
    [[unroll]] for (uint s = 0; s < ROWS * COLUMNS; s++)
        sums[s] = 0;
    [[unroll]] for (uint row = 0; row < ROWS; row++)
        squares[row] = 0;
    for (uint v = gl_SubgroupInvocationID; v < push.packs; v += FLIGHT * gl_SubgroupSize) {
        uvec4 packs[FLIGHT * COLUMNS];
        float scales[FLIGHT * COLUMNS];
        [[unroll]] for (uint f = 0; f < FLIGHT * COLUMNS; f++) {
            uint64_t pack = uint64_t(min(column + f % COLUMNS, push.n - 1)) * push.packs + min(v + f / COLUMNS * gl_SubgroupSize, push.packs - 1);
            packs[f] = push.weight.at[uint(pack)];
            scales[f] = packScale(TYPE, push.weight, uint64_t(push.n) * push.packs, pack);
        }
        [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
            // Past the end the last pack counts nothing: loads behind a branch would wait for each other.
            uint at = min(v + f * gl_SubgroupSize, push.packs - 1);
            float there = v + f * gl_SubgroupSize < push.packs ? 1 : 0;
            [[unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++) {
                uint k = at * CHUNKS + chunk;
                vec4 norm = push.norm.at[k], weight[COLUMNS];
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    weight[j] = scales[f * COLUMNS + j] * norm * numbers(TYPE, packs[f * COLUMNS + j], chunk);
                [[unroll]] for (uint row = 0; row < ROWS; row++) {
                    vec4 value = there * push.x.at[row * pitch + k];
                    if (GATED != 0) {
                        vec4 gate = push.gate.at[row * pitch + k];
                        value *= vec4(silu(gate.x), silu(gate.y), silu(gate.z), silu(gate.w));
                    }
                    squares[row] += dot(value, value);
                    [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                        sums[row * COLUMNS + j] += dot(value, weight[j]);
                }
            }
        }
    }
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        float scale = 1 / sqrt(subgroupAdd(squares[row]) / float(4 * pitch) + push.epsilon);
        [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
            float sum = subgroupAdd(sums[row * COLUMNS + j]);
            if (subgroupElect() && column + j < push.n) {
                uint at = row * push.n + column + j;
                push.y.at[at] = RESIDUAL != 0 ? sum * scale + push.residual.at[at] : sum * scale;
            }
        }
    }
}
