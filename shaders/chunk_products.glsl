// C_m·B_s for the positions s ≤ m of a chunk, for every group. A workgroup makes one pair of tiles, [m, s], or [s, m] where TRANSPOSED.
#include "tile.glsl"
#include "scan.glsl"

layout(constant_id = 2) const uint TRANSPOSED = 0;

layout(push_constant, scalar) uniform Push {
    Floats b;
    Floats c;
    Floats products;
    EXTENTS
} push;

uint tileM;
uint tileS;

void load(uint k) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint m = tileM * TILE + lineOf(i), s = tileS * TILE + lineOf(i), n = k + quadOf();
        OPERAND c = moved(push.c, B_AT(m) + n, left(m < positions, push.states, n), ACTIVATIONS);
        OPERAND b = moved(push.b, B_AT(s) + n, left(s < positions, push.states, n), ACTIVATIONS);
        nextLeft[i] = TRANSPOSED != 0 ? b : c;
        nextRight[i] = TRANSPOSED != 0 ? c : b;
    }
}

void main() {
    uint number = groupNumber();
    if (number >= push.count)
        return;
    tileS = number % PAIRS;
    for (tileM = 0; tileS > tileM; tileM++)
        tileS -= tileM + 1;
    group = number / PAIRS % push.groups;
    LOCATE(number / PAIRS / push.groups)

    clearSums();
    PRODUCT(push.states, load, ALONG, ALONG)
    finishSums();
    [[unroll]] for (uint i = 0; i < 8; i++)
        Vectors(uint64_t(push.products)).at[(PAIR_AT(tileM, tileS) + rowOf(i) * TILE + column()) / 4] = sums[i];
}
