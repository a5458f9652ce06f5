#version 460
#extension GL_GOOGLE_include_directive : require
// The gradient of dt, ddt_t = direct_t + slope_t · A, and of A, Σ slope_t · dt_t over a chunk, to rates [B, chunks, H]; slope_t is the gradient of dt_t·A.
// A workgroup of 64 takes one chunk of one head, tile after tile.
// MODE 1, from the state: slope_t = Σ_{s < t} direct_s dt_s, since a_last − a_s is the sum of dt·A after s.
// Otherwise slope_t = Σ_{m ≥ t} dots_m (through exp(a_m), dots in parts to be added) + the rectangle s < t ≤ m of T: MODE 0, put together from the edges of pairs of tiles;
// MODE 2, given for every t.
#include "common.glsl"
#include "scan.glsl"

layout(constant_id = 1) const uint MODE = 0;

layout(push_constant, scalar) uniform Push {
    Floats dt;
    Floats a;
    Floats direct;
    Floats dots;
    Floats edges;
    Floats ddt;
    Floats rates;
    uint dotsParts;
    uint dotsSize;
    EXTENTS
} push;

const uint TILE = 64;

shared vec4 terms[TILE]; // what counts for t up to this position, for t after it, for all t of the tile, and for all t of the tiles to come

uint edgeAt(uint m, uint s) { return ((part * push.heads + head) * PAIRS + m * (m + 1) / 2 + s) * 128 + gl_LocalInvocationID.x; }

void main() {
    uint number = groupNumber(), lane = gl_LocalInvocationID.x;
    if (number >= push.count)
        return;
    head = number % push.heads;
    LOCATE(number / push.heads)
    uint tiles = (positions + TILE - 1) / TILE;
    float rate = push.a.at[head], carried = 0, sum = 0;
    for (uint i = 0; i < tiles; i++) {
        uint tile = MODE == 1 ? i : tiles - 1 - i, t = tile * TILE + lane;
        float direct = push.direct.at[DECAY_AT(t)], step = t < positions ? push.dt.at[DT_AT(t)] : 0, slope = carried;
        vec4 term = vec4(0);
        if (MODE == 1) {
            term.y = term.w = t < positions ? direct * step : 0;
        } else {
            slope += push.edges.at[MODE == 2 ? DECAY_AT(t) : edgeAt(tile, tile)];
            for (uint n = 0; n < push.dotsParts; n++)
                term.w += push.dots.at[n * push.dotsSize + DECAY_AT(t)];
            term.x = term.w;
            for (uint s = 0; MODE == 0 && s < tile; s++)
                term.x += push.edges.at[edgeAt(tile, s)];
            for (uint m = tile + 1; MODE == 0 && m < tiles; m++) {
                term.y += push.edges.at[edgeAt(m, tile) + TILE];
                for (uint s = 0; s < tile; s++)
                    term.z += push.edges.at[edgeAt(m, s)];
            }
        }
        barrier();
        terms[lane] = term;
        barrier();
        for (uint j = 0; j < TILE; j++) {
            vec4 other = terms[j];
            slope += (j >= lane ? other.x : other.y) + other.z;
            carried += other.w;
        }
        if (t < positions) {
            push.ddt.at[DT_AT(t)] = direct + slope * rate;
            sum += slope * step;
        }
    }
    barrier();
    terms[lane].x = sum;
    barrier();
    if (lane == 0) {
        sum = 0;
        for (uint j = 0; j < TILE; j++)
            sum += terms[j].x;
        push.rates.at[part * push.heads + head] = sum;
    }
}
