#version 460
#extension GL_GOOGLE_include_directive : require
// The decay in a chunk: a, the inclusive cumulative sum of dt·A, and what is made of it. A workgroup takes one chunk of 16 heads; 16 invocations share a head, each
// scans a stretch of the chunk. Sums are carried in two floats: the scan needs differences of them, and where one long step has made a large,
// a single float would no longer resolve the short steps that follow.
// What is made is said by bits of MADE. RETENTION [B, chunks, H]: exp(a_last), or 0 where a document begins in the chunk. WEIGHTS: exp(a_last − a_s), 0 outside the chunk's last
// document, and that times dt_s. SUMS: the high and low part of a, exp(a_s) or 0 where the document began inside the chunk, and the first position of each position's document,
// or −1 where that began before the chunk.
#include "common.glsl"
#include "scan.glsl"
#include "math.glsl"

layout(constant_id = 1) const uint MADE = 0;
layout(constant_id = 2) const uint HAS_SEQUENCE = 0;

layout(push_constant, scalar) uniform Push {
    Floats dt;
    Floats a;
    Integers sequence;
    Floats retention; // of what is not made, any address
    Floats weight;
    Floats stepped;
    Floats high;
    Floats low;
    Floats carried;
    Integers starts;
    EXTENTS
} push;

const uint RETENTION = 1, WEIGHTS = 2, SUMS = 4;
const uint HEADS = 16;
const uint STRETCHES = 16;

shared vec2 totals[STRETCHES * HEADS];
shared uint firstStart; // where a document begins in the chunk: the first and the last such position
shared int lastStart;

vec2 plus(vec2 x, vec2 y) {
    precise float sum = x.x + y.x;
    precise float moved = sum - x.x;
    precise float rest = ((x.x - (sum - moved)) + (y.x - moved)) + (x.y + y.y);
    precise float high = sum + rest;
    precise float low = rest - (high - sum);
    return vec2(high, low);
}

// Steps that are fetched at once, those past the end from the last: one at a time, each would be waited for. A stretch is a multiple of them.
const uint AHEAD = 4;
float next[AHEAD];

void fetch(uint s) {
    [[unroll]] for (uint i = 0; i < AHEAD; i++)
        next[i] = push.dt.at[DT_AT(min(s + i, positions - 1))];
}

bool begins(uint s) {
    return HAS_SEQUENCE != 0 && (part % push.chunks != 0 || s != 0) && push.sequence.at[firstRow + s] != push.sequence.at[firstRow + s - 1];
}

void main() {
    uint blocks = (push.heads + HEADS - 1) / HEADS, block = groupNumber() % blocks;
    if (groupNumber() >= push.count)
        return;
    LOCATE(groupNumber() / blocks)
    uint lane = gl_LocalInvocationID.x % HEADS, stretch = gl_LocalInvocationID.x / HEADS, padded = push.tiles * 64;
    head = block * HEADS + lane;
    bool there = head < push.heads;
    uint steps = (padded + STRETCHES - 1) / STRETCHES, from = stretch * steps, to = min(from + steps, positions);
    float rate = there ? push.a.at[head] : 0;

    if (gl_LocalInvocationID.x == 0) {
        firstStart = positions;
        lastStart = -1;
    }
    vec2 sum = vec2(0);
    for (uint s = from; there && s < to; s += AHEAD) {
        fetch(s);
        [[unroll]] for (uint i = 0; i < AHEAD; i++)
            sum = plus(sum, vec2(s + i < to ? next[i] * rate : 0, 0));
    }
    totals[stretch * HEADS + lane] = sum;
    barrier();
    for (uint s = gl_LocalInvocationID.x; s < positions; s += gl_WorkGroupSize.x) {
        if (begins(s)) {
            atomicMin(firstStart, s);
            atomicMax(lastStart, int(s));
        }
    }
    vec2 total = vec2(0);
    for (uint i = 0; i < STRETCHES; i++) {
        if (i == stretch)
            sum = total;
        total = plus(total, totals[i * HEADS + lane]);
    }
    barrier();

    if ((MADE & SUMS) != 0 && HAS_SEQUENCE != 0 && block == 0) {
        for (uint m = gl_LocalInvocationID.x; m < padded; m += gl_WorkGroupSize.x) {
            int s = int(m);
            while (s >= 0 && m < positions && !begins(uint(s)))
                s--;
            push.starts.at[part * padded + m] = s;
        }
    }
    if (!there)
        return;
    if ((MADE & RETENTION) != 0 && stretch == 0)
        push.retention.at[part * push.heads + head] = lastStart >= 0 ? 0 : accurateExp(total.x);
    if (MADE == RETENTION)
        return;
    for (uint s = from; s < min(from + steps, padded); s += AHEAD) {
        fetch(s);
        vec4 weight, stepped, high, low, carried;
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            float step = s + i < positions ? next[i] : 0;
            sum = plus(sum, vec2(step * rate, 0));
            if ((MADE & WEIGHTS) != 0) {
                weight[i] = s + i < positions && int(s + i) >= lastStart ? accurateExp(min((total.x - sum.x) + (total.y - sum.y), 0)) : 0;
                stepped[i] = weight[i] * step;
            }
            if ((MADE & SUMS) != 0) {
                high[i] = sum.x;
                low[i] = sum.y;
                carried[i] = s + i < firstStart ? accurateExp(sum.x) : 0;
            }
        }
        if ((MADE & WEIGHTS) != 0) {
            Vectors(uint64_t(push.weight)).at[DECAY_AT(s) / 4] = weight;
            Vectors(uint64_t(push.stepped)).at[DECAY_AT(s) / 4] = stepped;
        }
        if ((MADE & SUMS) != 0) {
            Vectors(uint64_t(push.high)).at[DECAY_AT(s) / 4] = high;
            Vectors(uint64_t(push.low)).at[DECAY_AT(s) / 4] = low;
            Vectors(uint64_t(push.carried)).at[DECAY_AT(s) / 4] = carried;
        }
    }
}
