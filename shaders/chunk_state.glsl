// S = Σ weight_s · x_s ⊗ B_s over the positions of a chunk, for every head. A workgroup makes 64 by 64 of a [P, N]. Both operands are read along their rows.
#include "tile.glsl"
#include "scan.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats b;
    Floats state;
    EXTENTS
} push;

uint top; // the tile's place in [P, N]
uint start;

void load(uint k) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint s = k + slowOf(i);
        bool inside = s < positions;
        nextLeft[i] = operand((inside ? push.weight.at[DECAY_AT(s)] : 0) * activations(push.x, X_AT(s) + top + fastOf(), left(inside, push.width, top + fastOf())));
        nextRight[i] = moved(push.b, B_AT(s) + start + fastOf(), left(inside, push.states, start + fastOf()), ACTIVATIONS);
    }
}

void main() {
    uint number = groupNumber();
    if (number >= push.count)
        return;
    uint tilesN = (push.states + TILE - 1) / TILE, tilesP = (push.width + TILE - 1) / TILE;
    start = number % tilesN * TILE;
    number /= tilesN;
    top = number % tilesP * TILE;
    number /= tilesP;
    head = number % push.heads;
    group = head / (push.heads / push.groups);
    LOCATE(number / push.heads)

    clearSums();
    PRODUCT(positions, load, ACROSS, ACROSS)
    finishSums();
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint p = top + rowOf(i), n = start + column();
        storeQuad(push.state, STATE_AT + p * push.states + n, left(p < push.width, push.states, n), sums[i]);
    }
}
