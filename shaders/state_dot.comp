#version 460
#extension GL_GOOGLE_include_directive : require
// ⟨x, y⟩ of states, a workgroup for each, in a fixed order.
#include "common.glsl"

layout(constant_id = 1) const uint QUADS = 0;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    Floats result;
    uint size; // of a state, in elements or quads
    uint count;
} push;

shared float partial[256];

void main() {
    if (groupNumber() >= push.count)
        return;
    uint lane = gl_LocalInvocationID.x, from = groupNumber() * push.size;
    vec4 sums = vec4(0);
    for (uint i = from + lane; i < from + push.size; i += 256) {
        if (QUADS != 0)
            sums = fma(Vectors(uint64_t(push.x)).at[i], Vectors(uint64_t(push.y)).at[i], sums);
        else
            sums.x = fma(push.x.at[i], push.y.at[i], sums.x);
    }
    partial[lane] = dot(sums, vec4(1));
    for (uint stride = 128; stride > 0; stride /= 2) {
        barrier();
        if (lane < stride)
            partial[lane] += partial[lane + stride];
    }
    if (lane == 0)
        push.result.at[groupNumber()] = partial[0];
}
