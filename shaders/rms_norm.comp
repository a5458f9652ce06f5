#version 460
#extension GL_GOOGLE_include_directive : require
// y = w · x / √(mean(x²) + ε): a workgroup for each row, four elements for each invocation at a time.
#include "common.glsl"
#include "elements.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint X = F32;
layout(constant_id = 2) const uint WEIGHT = F32;
layout(constant_id = 3) const uint Y = F32;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats y;
    uint rows;
    uint columns;
    float epsilon;
} push;

void main() {
    uint row = groupNumber(), from = row * push.columns, start = 4 * gl_LocalInvocationID.x;
    if (row >= push.rows)
        return;
    float sum = 0;
    for (uint i = start; i < push.columns; i += 4 * WORKGROUP) {
        vec4 x = readFour(push.x, from + i, int(push.columns - i), X);
        sum += dot(x, x);
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(sum) / float(push.columns) + push.epsilon);
    for (uint i = start; i < push.columns; i += 4 * WORKGROUP) {
        int count = int(push.columns - i);
        writeFour(push.y, from + i, count, Y, readFour(push.x, from + i, count, X) * scale * readFour(push.weight, i, count, WEIGHT));
    }
}
