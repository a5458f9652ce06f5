#version 460
#extension GL_GOOGLE_include_directive : require
// The decay in a chunk: a, the inclusive cumulative sum of dt·A, and what is made of it. A workgroup takes one chunk of 16 heads; 16 invocations share a head, each
// scans a stretch of the chunk. Sums are carried in two floats: the scan needs differences of them, and where one long step has made a large,
// a single float would no longer resolve the short steps that follow.
// MODE 0: to retention [B, chunks, H], exp(a_last), or 0 where a document begins in the chunk.
// MODE 1: exp(a_last − a_s), 0 outside the chunk's last document, to first; and that times dt_s to second.
// MODE 2: the high and low part of a to first and second, exp(a_s) or 0 where the document began inside the chunk to third, and to starts the first position
// of each position's document, or −1 where that began before the chunk.
#include "common.glsl"
#include "scan.glsl"
#include "math.glsl"

layout(constant_id = 1) const uint MODE = 0;
layout(constant_id = 2) const uint HAS_SEQUENCE = 0;

layout(push_constant, scalar) uniform Push {
    Floats dt;
    Floats a;
    Integers sequence;
    Floats first;
    Floats second;
    Floats third;
    Integers starts;
    EXTENTS
} push;

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

    if (MODE == 2 && HAS_SEQUENCE != 0 && block == 0) {
        for (uint m = gl_LocalInvocationID.x; m < padded; m += gl_WorkGroupSize.x) {
            int s = int(m);
            while (s >= 0 && m < positions && !begins(uint(s)))
                s--;
            push.starts.at[part * padded + m] = s;
        }
    }
    if (!there)
        return;
    if (MODE == 0) {
        if (stretch == 0)
            push.first.at[part * push.heads + head] = lastStart >= 0 ? 0 : accurateExp(total.x);
        return;
    }
    for (uint s = from; s < min(from + steps, padded); s += AHEAD) {
        fetch(s);
        vec4 first, second, third;
        [[unroll]] for (uint i = 0; i < AHEAD; i++) {
            float step = s + i < positions ? next[i] : 0;
            sum = plus(sum, vec2(step * rate, 0));
            if (MODE == 1) {
                float weight = s + i < positions && int(s + i) >= lastStart ? accurateExp(min((total.x - sum.x) + (total.y - sum.y), 0)) : 0;
                first[i] = weight;
                second[i] = weight * step;
            } else {
                first[i] = sum.x;
                second[i] = sum.y;
                third[i] = s + i < firstStart ? accurateExp(sum.x) : 0;
            }
        }
        Vectors(uint64_t(push.first)).at[DECAY_AT(s) / 4] = first;
        Vectors(uint64_t(push.second)).at[DECAY_AT(s) / 4] = second;
        if (MODE != 1)
            Vectors(uint64_t(push.third)).at[DECAY_AT(s) / 4] = third;
    }
}
