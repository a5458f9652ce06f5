// The gradient of C_m·B_s, Σ over the heads of a group of E_ms, E_ms = (g_m · dt_s x_s) exp(a_m − a_s), for a pair of tiles of m and s; and what T_ms = E_ms · (C_m·B_s)
// says of the decay of every head. A workgroup makes one pair for some of the heads, one after the other; several that share a group write to separate places.
// dt_t·A lies in exp(a_m − a_s) for s < t ≤ m, so its gradient is the sum of T over that rectangle. It is formed without any difference (as sums of rows minus sums of
// columns would be), because a long step decouples the two sides: its gradient is tiny beside the terms that would have to cancel, and is multiplied by that step in dA.
// Where the tiles of m and s are one, edges [B, chunks, H, pairs, 2, 64] gets the rectangles of its 64 t; else the sums of rows and of columns, whose partial sums
// chunk_step_gradient turns into rectangles.
#include "tile.glsl"
#include "scan.glsl"
#include "decay.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats g;
    Floats high;
    Floats low;
    Integers starts;
    Floats products; // [m, s]
    Floats dproducts;
    Floats edges;
    uint shares;
    uint headsPerShare;
    uint shareSize;
    uint options;
    EXTENTS
} push;

uint tileM;
uint tileS;

// The heads' depths lie behind each other, so that one's first slice is on its way while the one before is finished.
uint firstHead, endHead;

uint depthOfHead() { return (max(push.width, 1) + DEPTH - 1) / DEPTH * DEPTH; }

void load(uint place) {
    uint depth = depthOfHead(), p = place % depth + quadOf();
    head = min(firstHead + place / depth, endHead - 1);
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        uint m = tileM * TILE + lineOf(i), s = tileS * TILE + lineOf(i);
        nextLeft[i] = moved(push.g, X_AT(m) + p, left(m < positions, push.width, p), ACTIVATIONS);
        nextRight[i] = moved(push.x, X_AT(s) + p, left(s < positions, push.width, p), ACTIVATIONS);
    }
}

// Sums along each row of the tile up to, not including, the invocation's columns.
void sumRowsBefore(inout float values[8]) {
    barrier();
    leftTile[across() * PITCH + down()] = vec4(values[0], values[1], values[2], values[3]);
    leftTile[across() * PITCH + 8 + down()] = vec4(values[4], values[5], values[6], values[7]);
    barrier();
    if (invocation() < TILE) {
        float sum = 0;
        uint r = invocation();
        [[unroll]] for (uint i = 0; i < 16; i++) {
            float value = leftTile[i * PITCH + r / 4][r % 4];
            leftTile[i * PITCH + r / 4][r % 4] = sum;
            sum += value;
        }
    }
    barrier();
    [[unroll]] for (uint i = 0; i < 8; i++)
        values[i] = leftTile[across() * PITCH + rowOf(i) / 4][rowOf(i) % 4];
}

void main() {
    uint number = groupNumber();
    if (number >= push.count)
        return;
    uint share = number % push.shares, headsPerGroup = push.heads / push.groups;
    number /= push.shares;
    uint pair = number % PAIRS;
    tileS = pair;
    for (tileM = 0; tileS > tileM; tileM++)
        tileS -= tileM + 1;
    group = number / PAIRS % push.groups;
    LOCATE(number / PAIRS / push.groups)

    vec4 product[8], gradient[8];
    int startM[8];
    uint s0 = tileS * TILE + column();
    [[unroll]] for (uint i = 0; i < 8; i++) {
        gradient[i] = vec4(0);
        product[i] = Vectors(uint64_t(push.products)).at[(PAIR_AT(tileM, tileS) + rowOf(i) * TILE + column()) / 4];
        startM[i] = HAS_SEQUENCE ? push.starts.at[part * push.tiles * 64 + tileM * TILE + rowOf(i)] : -1;
    }
    firstHead = group * headsPerGroup + share * push.headsPerShare;
    endHead = group * headsPerGroup + min((share + 1) * push.headsPerShare, headsPerGroup);
    uint depth = depthOfHead();
    load(0);
    for (uint h = firstHead; h < endHead; h++) {
        clearSums();
        for (uint k = 0; k < depth; k += DEPTH) {
            barrier();
            store(ALONG, ALONG);
            barrier();
            load((h - firstHead) * depth + k + DEPTH);
            multiply(ALONG, ALONG);
        }
        head = h;
        finishSums();

        vec4 highS, lowS, step;
        [[unroll]] for (uint z = 0; z < 4; z++) {
            highS[z] = push.high.at[DECAY_AT(s0 + z)];
            lowS[z] = push.low.at[DECAY_AT(s0 + z)];
            step[z] = s0 + z < positions ? push.dt.at[DT_AT(s0 + z)] : 0;
        }
        float rows[8];
        vec4 columns = vec4(0);
        [[unroll]] for (uint i = 0; i < 8; i++) {
            uint m = tileM * TILE + rowOf(i);
            float highM = push.high.at[DECAY_AT(m)], lowM = push.low.at[DECAY_AT(m)];
            [[unroll]] for (uint z = 0; z < 4; z++) {
                uint s = s0 + z;
                bool seen = s <= m && int(s) >= startM[i];
                sums[i][z] = seen ? sums[i][z] * step[z] * decayBetween(highM, lowM, highS[z], lowS[z]) : 0;
            }
            gradient[i] += sums[i];
            sums[i] *= product[i];
            rows[i] = dot(sums[i], vec4(1));
            columns += sums[i];
        }

        uint edge = ((part * push.heads + head) * PAIRS + pair) * 128 + invocation();
        if (tileM != tileS) {
            float row = sumRows(rows), column = sumColumns(columns);
            if (invocation() < TILE) {
                push.edges.at[edge] = row;
                push.edges.at[edge + TILE] = column;
            }
        } else {
            sumRowsBefore(rows);
            columns = vec4(0);
            [[unroll]] for (uint z = 0; z < 4; z++) {
                [[unroll]] for (uint i = 0; i < 8; i++) {
                    columns[z] += rowOf(i) >= column() + z ? rows[i] : 0;
                    rows[i] += sums[i][z];
                }
            }
            float inside = sumColumns(columns);
            if (invocation() < TILE)
                push.edges.at[edge] = inside;
        }
    }
    [[unroll]] for (uint i = 0; i < 8; i++)
        Vectors(uint64_t(push.dproducts)).at[(share * push.shareSize + PAIR_AT(tileM, tileS) + rowOf(i) * TILE + column()) / 4] = gradient[i];
}
