#version 460
#extension GL_GOOGLE_include_directive : require
// h′ = exp(dt·A) · h + dt · x ⊗ B, y = C h′ + D · x. LANES invocations share a row of a state, which they read and write once, each element where it was, so that h′ may
// be h itself. QUADS: the states are whole quads.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 1) const uint QUADS = 0;
layout(constant_id = 2) const uint LANES = 1;
layout(constant_id = 3) const uint SKIPS = 0; // 0: no D, 1: one for each head, 2: one for each channel

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats a;
    Floats b;
    Floats c;
    Floats state;
    Floats skip;
    Floats y;
    Floats next;
    uint heads;
    uint width;
    uint groups;
    uint states; // elements or quads of a row
    uint count;  // rows
} push;

shared float partial[256];

void main() {
    uint rows = gl_WorkGroupSize.x / LANES, lane = gl_LocalInvocationID.x % LANES, row = groupNumber() * rows + gl_LocalInvocationID.x / LANES;
    bool there = row < push.count;
    float sum = 0, x = 0;
    uint p = row % push.width, head = row / push.width % push.heads;
    if (there) {
        uint batch = row / push.width / push.heads, of = (batch * push.groups + head / (push.heads / push.groups)) * push.states;
        float dt = push.dt.at[row / push.width], decay = accurateExp(dt * push.a.at[head]);
        x = push.x.at[row];
        vec4 sums = vec4(0);
        for (uint n = lane; n < push.states; n += LANES) {
            if (QUADS != 0) {
                vec4 h = Vectors(uint64_t(push.state)).at[row * push.states + n];
                h = fma(vec4(decay), h, dt * x * Vectors(uint64_t(push.b)).at[of + n]);
                Vectors(uint64_t(push.next)).at[row * push.states + n] = h;
                sums = fma(h, Vectors(uint64_t(push.c)).at[of + n], sums);
            } else {
                float h = fma(decay, push.state.at[row * push.states + n], dt * x * push.b.at[of + n]);
                push.next.at[row * push.states + n] = h;
                sums.x = fma(h, push.c.at[of + n], sums.x);
            }
        }
        sum = dot(sums, vec4(1));
    }
    if (LANES > 1) {
        partial[gl_LocalInvocationID.x] = sum;
        for (uint stride = LANES / 2; stride > 0; stride /= 2) {
            barrier();
            if (lane < stride)
                partial[gl_LocalInvocationID.x] += partial[gl_LocalInvocationID.x + stride];
        }
        sum = partial[gl_LocalInvocationID.x];
    }
    if (there && lane == 0) {
        if (SKIPS != 0)
            sum = fma(push.skip.at[SKIPS == 2 ? head * push.width + p : head], x, sum);
        push.y.at[row] = sum;
    }
}
