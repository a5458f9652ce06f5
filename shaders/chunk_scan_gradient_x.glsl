// With V_s = Σ_{m ≥ s} (C_m·B_s) exp(a_m − a_s) · g_m, g the gradient of the outputs, for every head: dx_s = dt_s · V_s + D · g_s, direct_s = V_s·x_s, and over the tile
// Σ g_s ∘ x_s for D, to [B, chunks, tiles, H, P]. A workgroup makes 64 positions of a head, 64 channels at a time.
#include "tile.glsl"
#include "scan.glsl"
#include "decay.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats skip;
    Floats g;
    Floats high;
    Floats low;
    Integers starts;
    Floats products; // [m, s]
    Floats dx;
    Floats direct;
    Floats dskip;
    uint options;
    EXTENTS
} push;

uint top;
uint start;
uint tileM;
vec4 highS, lowS; // of the four positions that the invocation loads

void load(uint k) {
    uint s = top + fastOf(), p = start + fastOf();
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint line = k + slowOf(i), m = tileM * TILE + line;
        vec4 row = vec4(0);
        bool inside = line < TILE && m < positions;
        if (inside) {
            float highM = push.high.at[DECAY_AT(m)], lowM = push.low.at[DECAY_AT(m)];
            int first = HAS_SEQUENCE ? push.starts.at[part * push.tiles * 64 + m] : -1;
            vec4 product = Vectors(uint64_t(push.products)).at[(PAIR_AT(tileM, top / TILE) + line * TILE + fastOf()) / 4];
            [[unroll]] for (uint z = 0; z < 4; z++)
                row[z] = s + z <= m && int(s + z) >= first ? product[z] * decayBetween(highM, lowM, highS[z], lowS[z]) : 0;
        }
        nextLeft[i] = operand(row);
        nextRight[i] = moved(push.g, X_AT(m) + p, left(inside, push.width, p), ACTIVATIONS);
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
    uint tile = number;
    LOCATE(number / push.tiles)
    if (top >= positions) {
        if (SKIPS != 0)
            for (uint p = invocation(); p < push.width; p += gl_WorkGroupSize.x)
                push.dskip.at[(tile * push.heads + head) * push.width + p] = 0;
        return;
    }

    [[unroll]] for (uint z = 0; z < 4; z++) {
        highS[z] = push.high.at[DECAY_AT(top + fastOf() + z)];
        lowS[z] = push.low.at[DECAY_AT(top + fastOf() + z)];
    }
    float dots[8];
    [[unroll]] for (uint i = 0; i < 8; i++)
        dots[i] = 0;
    for (start = 0; start < push.width; start += TILE) {
        clearSums();
        for (tileM = top / TILE; tileM * TILE < positions; tileM++) {
            PRODUCT(min(TILE, positions - tileM * TILE), load, ACROSS, ACROSS)
        }
        finishSums();
        uint p = start + column();
        vec4 skip = SKIPS == 2 ? quad(push.skip, head * push.width + p, left(true, push.width, p)) : vec4(SKIPS == 1 ? push.skip.at[head] : 0);
        vec4 channels = vec4(0);
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uint s = top + rowOf(i);
            int count = left(s < positions, push.width, p);
            vec4 x = activations(push.x, X_AT(s) + p, count), value = (s < positions ? push.dt.at[DT_AT(s)] : 0) * sums[i];
            dots[i] += dot(sums[i], x);
            if (SKIPS != 0) {
                vec4 g = activations(push.g, X_AT(s) + p, count);
                value = fma(skip, g, value);
                channels = fma(g, x, channels);
            }
            storeActivations(push.dx, X_AT(s) + p, count, value);
        }
        if (SKIPS != 0) {
            float channel = sumColumns(channels);
            if (invocation() < TILE && start + invocation() < push.width)
                push.dskip.at[(tile * push.heads + head) * push.width + start + invocation()] = channel;
        }
    }
    float sum = sumRows(dots);
    if (invocation() < TILE)
        push.direct.at[DECAY_AT(top + invocation())] = sum;
}
