// With U = B·dSᵀ, for every head: dx_s = stepped_s · U_s, or ADDS_X so much more, and direct_s = weight_s · U_s·x_s. A workgroup makes 64 positions of a head, 64 channels at a time.
#include "tile.glsl"
#include "scan.glsl"

layout(constant_id = 2) const bool ADDS_X = false;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats b;
    Floats weight;
    Floats stepped; // weight · dt
    Floats dstate;
    Floats dx;
    Floats direct;
    EXTENTS
} push;

uint top;
uint start;

void load(uint k) {
    uint n = k + quadOf();
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint s = top + lineOf(i), p = start + lineOf(i);
        nextLeft[i] = moved(push.b, B_AT(s) + n, left(s < positions, push.states, n), ACTIVATIONS);
        nextRight[i] = moved(push.dstate, STATE_AT + p * push.states + n, left(p < push.width, push.states, n), DSTATES);
    }
}

void main() {
    uint number = groupNumber();
    if (number >= push.count)
        return;
    head = number % push.heads;
    group = head / (push.heads / push.groups);
    number /= push.heads;
    top = number % push.tiles * TILE;
    LOCATE(number / push.tiles)
    if (top >= positions)
        return;

    float dots[8];
    [[unroll]] for (uint i = 0; i < 8; i++)
        dots[i] = 0;
    for (start = 0; start < push.width; start += TILE) {
        clearSums();
        PRODUCT(push.states, load, ALONG, ALONG)
        finishSums();
        uint p = start + column();
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uint s = top + rowOf(i);
            int count = left(s < positions, push.width, p);
            dots[i] += dot(sums[i], activations(push.x, X_AT(s) + p, count));
            storeActivations(push.dx, X_AT(s) + p, count, push.stepped.at[DECAY_AT(s)] * sums[i] + (ADDS_X ? activations(push.dx, X_AT(s) + p, count) : vec4(0)));
        }
    }
    float sum = sumRows(dots);
    if (invocation() < TILE)
        push.direct.at[DECAY_AT(top + invocation())] = push.weight.at[DECAY_AT(top + invocation())] * sum;
}
