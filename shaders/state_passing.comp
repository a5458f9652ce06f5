#version 460
#extension GL_GOOGLE_include_directive : require
// h_{c+1} = γ_c · h_c + S_c through all chunks; or, BACKWARD, dS_c = dh_{c+1} and dh_c = γ_c · dh_{c+1} + (the gradient of h_c) from the last to the first.
// An invocation walks one element, or QUADS four neighbouring ones, of the state of a head.
// Forward: start is the initial state, steps S, walked the states, end the final state. Backward: start is the final gradient, steps those of the states,
// walked dS, end that of the initial state. Without a start, zero; HAS_END says whether the end is written.
#include "common.glsl"

layout(constant_id = 1) const uint QUADS = 0;
layout(constant_id = 2) const uint BACKWARD = 0;
layout(constant_id = 3) const uint HAS_START = 0;
layout(constant_id = 4) const uint HAS_END = 0;

layout(push_constant, scalar) uniform Push {
    Floats steps;
    Floats retention;
    Floats start;
    Floats walked;
    Floats end;
    uint chunks;
    uint heads;
    uint size;  // of a head's state, in elements or quads
    uint count; // of all states
} push;

vec4 read(Floats from, uint i) { return QUADS != 0 ? Vectors(uint64_t(from)).at[i] : vec4(from.at[i], 0, 0, 0); }

void write(Floats to, uint i, vec4 value) {
    if (QUADS != 0)
        Vectors(uint64_t(to)).at[i] = value;
    else
        to.at[i] = value.x;
}

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    uint element = i % push.size, head = i / push.size % push.heads, batch = i / push.size / push.heads;
    vec4 h = HAS_START != 0 ? read(push.start, i) : vec4(0);
    uint at = (batch * push.chunks + (BACKWARD != 0 ? push.chunks - 1 : 0)) * push.heads + head, stride = BACKWARD != 0 ? -push.heads : push.heads;
    vec4 next = push.chunks > 0 ? read(push.steps, at * push.size + element) : vec4(0);
    for (uint step = 0; step < push.chunks; step++) {
        vec4 added = next;
        // Asked for before the write, which the compiler must take for one to the same place.
        if (step + 1 < push.chunks)
            next = read(push.steps, (at + stride) * push.size + element);
        write(push.walked, at * push.size + element, h);
        h = fma(vec4(push.retention.at[at]), h, added);
        at += stride;
    }
    if (HAS_END != 0)
        write(push.end, i, h);
}
