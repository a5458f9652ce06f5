#version 460
#extension GL_GOOGLE_include_directive : require
// ⟨x, y⟩ of states, a workgroup for each, in a fixed order.
#include "common.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint X = F32;
layout(constant_id = 2) const uint Y = F32;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    Floats result;
    uint size; // elements of a state
    uint count;
} push;

shared float partial[256];

void main() {
    if (groupNumber() >= push.count)
        return;
    uint lane = gl_LocalInvocationID.x, from = groupNumber() * push.size;
    vec4 sums = vec4(0);
    for (uint i = 4 * lane; i < push.size; i += 4 * 256)
        sums = fma(readFour(push.x, from + i, int(push.size - i), X), readFour(push.y, from + i, int(push.size - i), Y), sums);
    partial[lane] = dot(sums, vec4(1));
    for (uint stride = 128; stride > 0; stride /= 2) {
        barrier();
        if (lane < stride)
            partial[lane] += partial[lane + stride];
    }
    if (lane == 0)
        push.result.at[groupNumber()] = partial[0];
}
