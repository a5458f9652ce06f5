#version 460
#extension GL_GOOGLE_include_directive : require
// The sum of products that were each made over a part of the inner axis, in the order of the parts, and of what is added to it; four elements for each invocation.
#include "common.glsl"
#include "addend.glsl"

layout(constant_id = 1) const uint PARTS = F32;
layout(constant_id = 2) const uint RESULT = F32;
layout(constant_id = 3) const uint ADDEND = NOTHING; // as the result, or a row
layout(constant_id = 4) const bool IS_ROW = false;

layout(push_constant, scalar) uniform Push {
    Floats parts; // [splits, count]
    Floats c;
    Floats d;
    uint count;
    uint splits;
    uint columns;
} push;

void main() {
    uint first = 4 * invocationNumber();
    if (first >= push.count)
        return;
    int count = int(push.count - first);
    vec4 sum = vec4(0);
    for (uint split = 0; split < push.splits; split++)
        sum += readFour(push.parts, split * push.count + first, count, PARTS);
    if (ADDEND != NOTHING) {
        [[unroll]] for (int z = 0; z < 4; z++)
            if (z < count)
                sum[z] += readOne(push.d, IS_ROW ? (first + z) % push.columns : first + z, ADDEND);
    }
    writeFour(push.c, first, count, RESULT, sum);
}
