#version 460
#extension GL_GOOGLE_include_directive : require
// h_{c+1} = γ_c · h_c + S_c through all chunks; or, BACKWARD, dS_c = dh_{c+1} and dh_c = γ_c · dh_{c+1} + (the gradient of h_c) from the last to the first.
// An invocation walks four neighbouring elements of the state of a head, in float32.
// Forward: start is the initial state, steps S, walked the states, end the final state. Backward: start is the final gradient, steps those of the states,
// walked dS, end that of the initial state. Without a start, zero; HAS_END says whether the end is written.
#include "common.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint BACKWARD = 0;
layout(constant_id = 2) const uint HAS_START = 0;
layout(constant_id = 3) const uint HAS_END = 0;
layout(constant_id = 4) const uint STEPS = F32;
layout(constant_id = 5) const uint WALKED = F32;

layout(push_constant, scalar) uniform Push {
    Floats steps;
    Floats retention;
    Floats start;
    Floats walked;
    Floats end;
    uint chunks;
    uint heads;
    uint size;  // elements of a head's state
    uint count; // of invocations
} push;

const uint ENDS = STEPS == RAGGED || WALKED == RAGGED ? RAGGED : F32;

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    uint quads = (push.size + 3) / 4, element = i % quads * 4, head = i / quads % push.heads, batch = i / quads / push.heads, own = i / quads * push.size + element;
    int count = int(push.size - element);
    vec4 h = HAS_START != 0 ? readFour(push.start, own, count, ENDS) : vec4(0);
    uint at = (batch * push.chunks + (BACKWARD != 0 ? push.chunks - 1 : 0)) * push.heads + head, stride = BACKWARD != 0 ? -push.heads : push.heads;
    vec4 next = push.chunks > 0 ? readFour(push.steps, at * push.size + element, count, STEPS) : vec4(0);
    for (uint step = 0; step < push.chunks; step++) {
        vec4 added = next;
        // Asked for before the write, which the compiler must take for one to the same place.
        if (step + 1 < push.chunks)
            next = readFour(push.steps, (at + stride) * push.size + element, count, STEPS);
        writeFour(push.walked, at * push.size + element, count, WALKED, h);
        h = fma(vec4(push.retention.at[at]), h, added);
        at += stride;
    }
    if (HAS_END != 0)
        writeFour(push.end, own, count, ENDS, h);
}
