#version 460
#extension GL_GOOGLE_include_directive : require
// y = w · x / √(mean(x²) + ε): a workgroup for each row.
#include "common.glsl"
#include "workgroup.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats y;
    uint rows;
    uint columns;
    float epsilon;
} push;

void main() {
    uint row = groupNumber(), from = row * push.columns;
    if (row >= push.rows)
        return;
    float sum = 0;
    for (uint i = gl_LocalInvocationID.x; i < push.columns; i += WORKGROUP) {
        float x = push.x.at[from + i];
        sum = fma(x, x, sum);
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(sum) / float(push.columns) + push.epsilon);
    for (uint i = gl_LocalInvocationID.x; i < push.columns; i += WORKGROUP)
        push.y.at[from + i] = push.x.at[from + i] * scale * push.weight.at[i];
}
