#version 460
#extension GL_GOOGLE_include_directive : require
// y = w · v / √(mean(v²) + ε) with v = x · silu(gate), or the norm of x gated afterwards; a workgroup for each group of each row.
#include "common.glsl"
#include "math.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const bool NORM_BEFORE_GATE = false;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats gate;
    Floats weight;
    Floats y;
    uint parts; // rows · groups
    uint groups;
    uint width; // elements of a group
    float epsilon;
} push;

void main() {
    uint part = groupNumber(), from = part * push.width, column = part % push.groups * push.width;
    if (part >= push.parts)
        return;
    float sum = 0;
    for (uint i = gl_LocalInvocationID.x; i < push.width; i += WORKGROUP) {
        float x = push.x.at[from + i], gated = x * silu(push.gate.at[from + i]), v = NORM_BEFORE_GATE ? x : gated;
        sum = fma(v, v, sum);
        // Each invocation reads back only what it wrote.
        push.y.at[from + i] = gated * push.weight.at[column + i];
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(sum) / float(push.width) + push.epsilon);
    for (uint i = gl_LocalInvocationID.x; i < push.width; i += WORKGROUP)
        push.y.at[from + i] *= scale;
}
