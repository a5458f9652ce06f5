// y_m = exp(a_m) · C_m h + Σ_{s ≤ m} (C_m·B_s) exp(a_m − a_s) · dt_s x_s + D · x_m. A workgroup makes 64 positions of 64 channels of a head: first C hᵀ, scaled
// by row in registers; on top of it the product over the positions of the chunk, whose left operand is made while it is loaded.
#include "tile.glsl"
#include "scan.glsl"
#include "decay.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats c;
    Floats state;
    Floats skip;
    Floats high;
    Floats low;
    Floats carried;
    Integers starts;
    Floats products; // [s, m]
    Floats y;
    uint options;
    EXTENTS
} push;

uint top; // the tile's place in [positions, P]
uint start;
uint tileS;
vec4 highM, lowM; // of the four positions that the invocation loads
ivec4 startM;

void loadCarried(uint k) {
    uint n = k + quadOf();
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint m = top + lineOf(i), p = start + lineOf(i);
        nextLeft[i] = moved(push.c, B_AT(m) + n, left(m < positions, push.states, n), ACTIVATIONS);
        nextRight[i] = moved(push.state, STATE_AT + p * push.states + n, left(p < push.width, push.states, n), STATES);
    }
}

void loadInside(uint k) {
    uint m = top + fastOf(), p = start + fastOf();
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint line = k + slowOf(i), s = tileS * TILE + line;
        bool inside = line < TILE && s < positions;
        vec4 row = vec4(0);
        if (inside) {
            float highS = push.high.at[DECAY_AT(s)], lowS = push.low.at[DECAY_AT(s)];
            vec4 product = Vectors(uint64_t(push.products)).at[(PAIR_AT(top / TILE, tileS) + line * TILE + fastOf()) / 4];
            [[unroll]] for (uint z = 0; z < 4; z++)
                row[z] = s <= m + z && int(s) >= startM[z] ? product[z] * decayBetween(highM[z], lowM[z], highS, lowS) : 0;
            row *= push.dt.at[DT_AT(s)];
        }
        nextLeft[i] = operand(row);
        nextRight[i] = moved(push.x, X_AT(s) + p, left(inside, push.width, p), ACTIVATIONS);
    }
}

void main() {
    uint number = groupNumber();
    if (number >= push.count)
        return;
    uint tilesP = (push.width + TILE - 1) / TILE;
    start = number % tilesP * TILE;
    number /= tilesP;
    head = number % push.heads;
    group = head / (push.heads / push.groups);
    number /= push.heads;
    // The last tiles have the most to do.
    top = (push.tiles - 1 - number % push.tiles) * TILE;
    LOCATE(number / push.tiles)
    if (top >= positions)
        return;

    clearSums();
    PRODUCT(push.states, loadCarried, ALONG, ALONG)
    finishSums();
    [[unroll]] for (uint i = 0; i < 8; i++)
        sums[i] *= push.carried.at[DECAY_AT(top + rowOf(i))];

    startM = ivec4(-1);
    [[unroll]] for (uint z = 0; z < 4; z++) {
        highM[z] = push.high.at[DECAY_AT(top + fastOf() + z)];
        lowM[z] = push.low.at[DECAY_AT(top + fastOf() + z)];
        if (HAS_SEQUENCE)
            startM[z] = push.starts.at[part * push.tiles * 64 + top + fastOf() + z];
    }
    for (tileS = 0; tileS <= top / TILE; tileS++) {
        PRODUCT(min(TILE, positions - tileS * TILE), loadInside, ACROSS, ACROSS)
    }
    finishSums();

    uint p = start + column();
    vec4 skip = SKIPS == 2 ? quad(push.skip, head * push.width + p, left(true, push.width, p)) : vec4(SKIPS == 1 ? push.skip.at[head] : 0);
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint m = top + rowOf(i);
        int count = left(m < positions, push.width, p);
        if (SKIPS != 0)
            sums[i] = fma(skip, activations(push.x, X_AT(m) + p, count), sums[i]);
        storeActivations(push.y, X_AT(m) + p, count, sums[i]);
    }
}
