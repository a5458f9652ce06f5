#version 460
#extension GL_GOOGLE_include_directive : require
// The gradient of dt, ddt_t = direct_t + slope_t · A, and of A, Σ slope_t · dt_t over a chunk, to rates [B, chunks, H]; slope_t is the gradient of dt_t·A.
// A workgroup of 64 takes one chunk of one head, tile after tile.
// FROM_STATE: slope_t = Σ_{s < t} ofState_s dt_s, since a_last − a_s is the sum of dt·A after s; and where OUTPUTS are there too, γ · dγ, since all of the chunk is in γ.
// OUTPUTS: slope_t = Σ_{m ≥ t} dots_m (through exp(a_m), dots in parts to be added) + the rectangle s < t ≤ m of T: 1, put together from the edges of pairs of tiles;
// 2, given for every t.
#include "common.glsl"
#include "scan.glsl"

layout(constant_id = 1) const bool FROM_STATE = false;
layout(constant_id = 2) const uint OUTPUTS = 0;

layout(push_constant, scalar) uniform Push {
    Floats dt;
    Floats a;
    Floats ofState; // of what is not there, any address
    Floats retention;
    Floats dretention;
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

shared vec4 terms[2 * TILE];

uint edgeAt(uint m, uint s) { return ((part * push.heads + head) * PAIRS + m * (m + 1) / 2 + s) * 128 + gl_LocalInvocationID.x; }

// A tile's terms added up: what they say of the slope at the invocation's position, and of all those of the tiles to come. Of a term x counts for positions up to its own, y for those
// after it, z for all of the tile, and w for all of the tiles to come. In six steps each reaches twice as far, to the end of the tile, y to its beginning.
vec2 told(vec4 term) {
    uint lane = gl_LocalInvocationID.x, from = 0;
    barrier();
    terms[lane] = term;
    barrier();
    [[unroll]] for (uint distance = 1; distance < TILE; distance *= 2) {
        vec4 after = lane + distance < TILE ? terms[from + lane + distance] : vec4(0);
        float before = lane >= distance ? terms[from + lane - distance].y : 0;
        term += vec4(after.x, before, after.zw);
        from = TILE - from;
        terms[from + lane] = term;
        barrier();
    }
    return vec2(term.x + (lane > 0 ? terms[from + lane - 1].y : 0) + terms[from].z, terms[from].w);
}

void main() {
    uint number = groupNumber(), lane = gl_LocalInvocationID.x;
    if (number >= push.count)
        return;
    head = number % push.heads;
    LOCATE(number / push.heads)
    uint tiles = (positions + TILE - 1) / TILE;
    float rate = push.a.at[head], sum = 0;
    if (FROM_STATE) {
        float carried = OUTPUTS != 0 ? push.retention.at[part * push.heads + head] * push.dretention.at[part * push.heads + head] : 0;
        for (uint tile = 0; tile < tiles; tile++) {
            uint t = tile * TILE + lane;
            float direct = push.ofState.at[DECAY_AT(t)], step = t < positions ? push.dt.at[DT_AT(t)] : 0, own = t < positions ? direct * step : 0;
            vec2 found = told(vec4(0, own, 0, own));
            float slope = carried + found.x;
            carried += found.y;
            if (t < positions) {
                push.ddt.at[DT_AT(t)] = direct + slope * rate;
                sum += slope * step;
            }
        }
    }
    if (OUTPUTS != 0) {
        float carried = 0;
        for (uint i = 0; i < tiles; i++) {
            uint tile = tiles - 1 - i, t = tile * TILE + lane;
            float step = t < positions ? push.dt.at[DT_AT(t)] : 0;
            vec4 term = vec4(0);
            for (uint n = 0; n < push.dotsParts; n++)
                term.w += push.dots.at[n * push.dotsSize + DECAY_AT(t)];
            term.x = term.w;
            for (uint s = 0; OUTPUTS == 1 && s < tile; s++)
                term.x += push.edges.at[edgeAt(tile, s)];
            for (uint m = tile + 1; OUTPUTS == 1 && m < tiles; m++) {
                term.y += push.edges.at[edgeAt(m, tile) + TILE];
                for (uint s = 0; s < tile; s++)
                    term.z += push.edges.at[edgeAt(m, s)];
            }
            vec2 found = told(term);
            float slope = carried + found.x + push.edges.at[OUTPUTS == 2 ? DECAY_AT(t) : edgeAt(tile, tile)];
            carried += found.y;
            if (t < positions) {
                push.ddt.at[DT_AT(t)] = (FROM_STATE ? push.ddt.at[DT_AT(t)] : 0) + push.direct.at[DECAY_AT(t)] + slope * rate;
                sum += slope * step;
            }
        }
    }
    float total = told(vec4(0, 0, 0, sum)).y;
    if (lane == 0)
        push.rates.at[part * push.heads + head] = total;
}
