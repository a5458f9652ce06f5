#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// y = W (w · v / √(mean(v²) + ε)) + residual for a few rows, v = x or x · silu(gate), as in decoding, where reading W [N, K] is what takes the time: a subgroup for each
// row of W, four 16-byte loads in flight. The norm divides the whole row, so it is applied to the product; every subgroup sums its squares itself.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint GATED = 0;
layout(constant_id = 3) const uint RESIDUAL = 0;

layout(push_constant, scalar) uniform Push {
    Vectors x; // [ROWS, k]
    Vectors gate;
    Vectors norm;
    Vectors weight;
    Floats residual;
    Floats y;
    uint n;
    uint vectors; // k / 4
    float epsilon;
} push;

const uint FLIGHT = 4;

void main() {
    uint column = groupNumber() * gl_NumSubgroups + gl_SubgroupID;
    if (column >= push.n)
        return;
    float sums[ROWS], squares[ROWS];
    [[unroll]] for (uint row = 0; row < ROWS; row++)
        sums[row] = squares[row] = 0;
    for (uint v = gl_SubgroupInvocationID; v < push.vectors; v += FLIGHT * gl_SubgroupSize) {
        vec4 weight[FLIGHT];
        [[unroll]] for (uint f = 0; f < FLIGHT; f++)
            weight[f] = push.weight.at[column * push.vectors + min(v + f * gl_SubgroupSize, push.vectors - 1)];
        [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
            uint at = min(v + f * gl_SubgroupSize, push.vectors - 1);
            bool inside = v + f * gl_SubgroupSize < push.vectors;
            vec4 scaled = push.norm.at[at] * weight[f];
            [[unroll]] for (uint row = 0; row < ROWS; row++) {
                vec4 value = push.x.at[row * push.vectors + at];
                if (GATED != 0) {
                    vec4 gate = push.gate.at[row * push.vectors + at];
                    value *= vec4(silu(gate.x), silu(gate.y), silu(gate.z), silu(gate.w));
                }
                sums[row] += inside ? dot(value, scaled) : 0;
                squares[row] += inside ? dot(value, value) : 0;
            }
        }
    }
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        float sum = subgroupAdd(sums[row]), square = subgroupAdd(squares[row]);
        if (subgroupElect()) {
            uint at = row * push.n + column;
            float result = sum / sqrt(square / float(4 * push.vectors) + push.epsilon);
            push.y.at[at] = RESIDUAL != 0 ? result + push.residual.at[at] : result;
        }
    }
}
