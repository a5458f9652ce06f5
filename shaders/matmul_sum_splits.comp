#version 460
#extension GL_GOOGLE_include_directive : require
// The sum of products that were each made over a part of the inner axis, in the order of the parts; four elements for each invocation.
#include "common.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint PARTS = F32;
layout(constant_id = 2) const uint RESULT = F32;

layout(push_constant, scalar) uniform Push {
    Floats parts; // [splits, count]
    Floats c;
    uint count;
    uint splits;
} push;

void main() {
    uint first = 4 * invocationNumber();
    if (first >= push.count)
        return;
    int count = int(push.count - first);
    vec4 sum = vec4(0);
    for (uint split = 0; split < push.splits; split++)
        sum += readFour(push.parts, split * push.count + first, count, PARTS);
    writeFour(push.c, first, count, RESULT, sum);
}
