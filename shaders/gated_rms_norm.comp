#version 460
#extension GL_GOOGLE_include_directive : require
// y = w · v / √(mean(v²) + ε) with v = x · silu(gate), or the norm of x gated afterwards; a workgroup for each group of each row, four elements for each invocation at a time.
#include "common.glsl"
#include "elements.glsl"
#include "gates.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const bool NORM_BEFORE_GATE = false;
layout(constant_id = 2) const uint X = F32;
layout(constant_id = 3) const uint GATE = F32;
layout(constant_id = 4) const uint WEIGHT = F32;
layout(constant_id = 5) const uint Y = F32;

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
    uint part = groupNumber(), from = part * push.width, column = part % push.groups * push.width, start = 4 * gl_LocalInvocationID.x;
    if (part >= push.parts)
        return;
    float sum = 0;
    for (uint i = start; i < push.width; i += 4 * WORKGROUP) {
        int count = int(push.width - i);
        vec4 v = readFour(push.x, from + i, count, X);
        if (!NORM_BEFORE_GATE)
            v *= silu(readFour(push.gate, from + i, count, GATE), Y);
        sum += dot(v, v);
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(sum) / float(push.width) + push.epsilon);
    for (uint i = start; i < push.width; i += 4 * WORKGROUP) {
        int count = int(push.width - i);
        vec4 gated = readFour(push.x, from + i, count, X) * silu(readFour(push.gate, from + i, count, GATE), Y);
        writeFour(push.y, from + i, count, Y, gated * readFour(push.weight, column + i, count, WEIGHT) * scale);
    }
}
