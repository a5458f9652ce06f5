#version 460
#extension GL_GOOGLE_include_directive : require
// The sum of products that were each made over a part of the inner axis, in the order of the parts.
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Floats parts; // [splits, count]
    Floats c;
    uint count;
    uint splits;
} push;

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    float sum = 0;
    for (uint split = 0; split < push.splits; split++)
        sum += push.parts.at[split * push.count + i];
    push.c.at[i] = sum;
}
