#version 460
#extension GL_GOOGLE_include_directive : require
// What a device can multiply and add in float32 at best: 32 sums an invocation that depend on themselves only, in registers. VulkanCeilings counts 64 operations a turn.
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Vectors x; // one for each invocation
    Vectors y;
    uint turns;
} push;

void main() {
    uint id = invocationNumber();
    vec4 x = push.x.at[id], sums[8];
    [[unroll]] for (uint i = 0; i < 8; i++)
        sums[i] = x * float(i);
    for (uint turn = 0; turn < push.turns; turn++)
        [[unroll]] for (uint i = 0; i < 8; i++)
            sums[i] = fma(sums[i], x, x);
    vec4 sum = vec4(0);
    [[unroll]] for (uint i = 0; i < 8; i++)
        sum += sums[i];
    push.y.at[id] = sum;
}
