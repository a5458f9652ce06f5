// Gradients of B and C: Σ over the heads of a group of (weight_s · x_s)·S, S [P, N] the state (or its gradient) of chunk and head; and what came from products of
// positions. A workgroup makes 64 positions by 64 of N for some of the heads, one after the other; where a group is shared by several workgroups they write to separate
// places, to be summed. DOTS: the row of each head times C goes to dots [N tiles, B, chunks, H, 64 · tiles].
// CROSS 1: + Σ_{s ≤ m} cross[m, s] · other_s, for rows m. CROSS 2: + Σ_{m ≥ s} cross[m, s] · other_m, for rows s.
#include "tile.glsl"
#include "scan.glsl"

layout(constant_id = 2) const uint HEADS = 1;
layout(constant_id = 3) const uint DOTS = 0;
layout(constant_id = 4) const uint CROSS = 0;
layout(constant_id = 5) const uint RESULT = F32;
layout(constant_id = 6) const uint STATE = F32;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats state;
    Floats c;
    Floats dots;
    Floats cross;
    Floats other;
    Floats result;
    uint shares;        // workgroups that share a group
    uint headsPerShare;
    uint shareSize;     // elements of the result
    uint dotsSize;      // elements of the dots of one tile of N
    EXTENTS
} push;

uint top; // the tile's place in [positions, N]
uint start;
uint tileK;
uint firstHead, endHead;

// The heads' depths lie behind each other, so that one's first slice is on its way while the one before is finished.
uint depthOfHead() { return (max(push.width, 1) + DEPTH - 1) / DEPTH * DEPTH; }

void loadHead(uint place) {
    uint depth = depthOfHead(), k = place % depth, p = k + quadOf(), n = start + fastOf();
    head = min(firstHead + place / depth, endHead - 1);
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint s = top + lineOf(i), line = k + slowOf(i);
        nextLeft[i] = operand(push.weight.at[DECAY_AT(s)] * activations(push.x, X_AT(s) + p, left(s < positions, push.width, p)));
        nextRight[i] = moved(push.state, STATE_AT + line * push.states + n, left(line < push.width, push.states, n), STATE);
    }
}

void loadOther(uint k) {
    uint n = start + fastOf();
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint s = tileK * TILE + k + slowOf(i);
        nextRight[i] = moved(push.other, B_AT(s) + n, left(k + slowOf(i) < TILE && s < positions, push.states, n), ACTIVATIONS);
    }
}

void loadLower(uint k) {
    loadOther(k);
    [[unroll]] for (uint i = 0; i < LOADS; i++)
        nextLeft[i] = operand(k < TILE ? Vectors(uint64_t(push.cross)).at[(PAIR_AT(top / TILE, tileK) + lineOf(i) * TILE + k + quadOf()) / 4] : vec4(0));
}

void loadUpper(uint k) {
    loadOther(k);
    [[unroll]] for (uint i = 0; i < LOADS; i++)
        nextLeft[i] = operand(k < TILE ? Vectors(uint64_t(push.cross)).at[(PAIR_AT(tileK, top / TILE) + (k + slowOf(i)) * TILE + fastOf()) / 4] : vec4(0));
}

void main() {
    uint number = groupNumber();
    if (number >= push.count)
        return;
    uint tilesN = (push.states + TILE - 1) / TILE, headsPerGroup = push.heads / push.groups;
    start = number % tilesN * TILE;
    number /= tilesN;
    uint share = number % push.shares;
    number /= push.shares;
    group = number % push.groups;
    number /= push.groups;
    top = number % push.tiles * TILE;
    LOCATE(number / push.tiles)
    if (top >= positions)
        return;

    vec4 total[8];
    [[unroll]] for (uint i = 0; i < 8; i++)
        total[i] = vec4(0);
    clearSums();
    if (HEADS != 0) {
        uint n = start + column(), depth = depthOfHead();
        firstHead = group * headsPerGroup + share * push.headsPerShare;
        endHead = group * headsPerGroup + min((share + 1) * push.headsPerShare, headsPerGroup);
        vec4 c[8];
        if (DOTS != 0)
            [[unroll]] for (uint i = 0; i < 8; i++)
                c[i] = activations(push.c, B_AT(top + rowOf(i)) + n, left(top + rowOf(i) < positions, push.states, n));
        uint all = (endHead - firstHead) * depth;
        loadHead(0);
        for (uint place = 0; place < all; place += DEPTH) {
            barrier();
            store(ALONG, ACROSS);
            barrier();
            loadHead(place + DEPTH);
            multiply(ALONG, ACROSS);
            if (DOTS != 0 && (place + DEPTH) % depth == 0) {
                uint next = head;
                head = firstHead + place / depth;
                finishSums();
                float rows[8];
                [[unroll]] for (uint i = 0; i < 8; i++) {
                    rows[i] = dot(sums[i], c[i]);
                    total[i] += sums[i];
                }
                clearSums();
                float sum = sumRows(rows);
                if (invocation() < TILE)
                    push.dots.at[start / TILE * push.dotsSize + DECAY_AT(top + invocation())] = sum;
                head = next;
            }
        }
    }
    if (CROSS != 0 && share == 0) {
        if (CROSS == 1) {
            for (tileK = 0; tileK <= top / TILE; tileK++) {
                PRODUCT(min(TILE, positions - tileK * TILE), loadLower, ALONG, ACROSS)
            }
        } else {
            for (tileK = top / TILE; tileK * TILE < positions; tileK++) {
                PRODUCT(min(TILE, positions - tileK * TILE), loadUpper, ACROSS, ACROSS)
            }
        }
    }
    finishSums();
    [[unroll]] for (uint i = 0; i < 8; i++) {
        uint s = top + rowOf(i), n = start + column();
        storeAs(RESULT, push.result, share * push.shareSize + B_AT(s) + n, left(s < positions, push.states, n), total[i] + sums[i]);
    }
}
