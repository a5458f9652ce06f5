#version 460
#extension GL_GOOGLE_include_directive : require
// to_j = Σ_i from[i · rowStep + j · columnStep], in a fixed order. LANES invocations share a column; of a workgroup's 256 the neighbours take neighbouring columns.
#include "common.glsl"

layout(constant_id = 1) const uint LANES = 1;

layout(push_constant, scalar) uniform Push {
    Floats from;
    Floats to;
    uint rows;
    uint columns;
    uint rowStep;
    uint columnStep;
} push;

shared float partial[256];

void main() {
    uint perGroup = 256 / LANES, lane = gl_LocalInvocationID.x / perGroup, column = groupNumber() * perGroup + gl_LocalInvocationID.x % perGroup;
    bool there = column < push.columns;
    float sum = 0;
    for (uint i = lane; there && i < push.rows; i += LANES)
        sum += push.from.at[i * push.rowStep + column * push.columnStep];
    if (LANES > 1) {
        partial[gl_LocalInvocationID.x] = sum;
        barrier();
        sum = 0;
        for (uint i = 0; lane == 0 && i < LANES; i++)
            sum += partial[i * perGroup + gl_LocalInvocationID.x];
    }
    if (there && lane == 0)
        push.to.at[column] = sum;
}
