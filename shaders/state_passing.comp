#version 460
#extension GL_GOOGLE_include_directive : require
// h_{c+1} = γ_c · h_c + S_c through all chunks; or, BACKWARD, dS_c = dh_{c+1} and dh_c = γ_c · dh_{c+1} + (the gradient of h_c) from the last to the first.
// An invocation walks four neighbouring elements of the state of a head, in float32, with what some chunks ahead will add on its way: one sequence has too few elements to hide a wait for every chunk.
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

const uint AHEAD = 8;
const uint ENDS = STEPS == RAGGED || WALKED == RAGGED ? RAGGED : F32;

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    uint quads = (push.size + 3) / 4, element = i % quads * 4, head = i / quads % push.heads, batch = i / quads / push.heads, own = i / quads * push.size + element;
    int count = int(push.size - element);
    vec4 h = HAS_START != 0 ? readFour(push.start, own, count, ENDS) : vec4(0);
    uint first = (batch * push.chunks + (BACKWARD != 0 ? push.chunks - 1 : 0)) * push.heads + head, stride = BACKWARD != 0 ? -push.heads : push.heads;
    vec4 next[AHEAD];
    float nextRetention[AHEAD];
    for (uint from = 0; from < push.chunks + AHEAD; from += AHEAD) {
        vec4 added[AHEAD] = next;
        float retention[AHEAD] = nextRetention;
        // Asked for before the writes, which the compiler must take for some to the same place; past the end the last once more.
        if (from < push.chunks) {
            [[unroll]] for (uint i = 0; i < AHEAD; i++) {
                uint at = first + min(from + i, push.chunks - 1) * stride;
                next[i] = readFour(push.steps, at * push.size + element, count, STEPS);
                nextRetention[i] = push.retention.at[at];
            }
        }
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            uint step = from - AHEAD + i;
            if (from > 0 && step < push.chunks) {
                writeFour(push.walked, (first + step * stride) * push.size + element, count, WALKED, h);
                h = fma(vec4(retention[i]), h, added[i]);
            }
        }
    }
    if (HAS_END != 0)
        writeFour(push.end, own, count, ENDS, h);
}
