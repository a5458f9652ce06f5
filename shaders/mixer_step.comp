#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
// One token of each sequence from the projection [z | x | B | C | dt] to y: convolution, SiLU, step size, recurrence and gate. A workgroup takes ROWS rows of the states of some heads
// of a group, of which LANES invocations of a subgroup share each; it convolves its own channels of x and all of its group's B and C, and one workgroup of the group carries the latter's inputs on.
// Each element of the state is read and written once, by the same invocation, so that the next state may be the state itself; it is read first, since it does not depend on the operation before,
// and while rows are computed the next are on their way.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"
#include "bfloat16.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256;
layout(constant_id = 1) const uint TAPS = 4;
layout(constant_id = 2) const uint STATES = 128;
layout(constant_id = 3) const uint ROWS = 16;
layout(constant_id = 4) const uint LANES = 16;
layout(constant_id = 5) const uint EACH = 1; // rows of an invocation under way at once
layout(constant_id = 6) const uint BIAS = 0;
layout(constant_id = 7) const uint SKIPS = 1; // 1: a D for each head, 2: for each channel
layout(constant_id = 8) const uint GATED = 0;
// Constants too, because divisions take long.
layout(constant_id = 9) const uint HEADS = 24;
layout(constant_id = 10) const uint WIDTH = 64;
layout(constant_id = 11) const uint GROUPS = 1;
layout(constant_id = 12) const uint TYPE = F32; // of the state
layout(constant_id = 13) const uint TOGETHER = 1; // heads of a workgroup
layout(constant_id = 14) const uint WIDE = 1; // groups of four numbers of the state in a load

const uint INNER = HEADS * WIDTH, CHANNELS = INNER + 2 * GROUPS * STATES, PITCH = INNER + CHANNELS + HEADS;

// Of a row: groups of four numbers, loads, and how many of these an invocation has. Arrays must not be empty where there are no states.
const uint QUADS = (STATES + 3) / 4, LOADS = QUADS / WIDE;
const uint STEPS = (LOADS + LANES - 1) / LANES, HELD = EACH * STEPS > 0 ? EACH * STEPS : 1, OWN = STEPS > 0 ? STEPS * WIDE : 1, TEAMS = WORKGROUP / LANES;

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer WholeLoads { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Floats projected;
    Floats convolution;
    Floats recurrent;
    Floats taps;
    Floats bias;
    Floats stepBias;
    Floats decayLog;
    Floats skip;
    Floats y;
    Floats nextConvolution;
    Floats nextRecurrent;
    uint count; // workgroups
    float low;
    float high;
} push;

shared vec4 b[QUADS + 1];
shared vec4 c[QUADS + 1];
shared float x[TOGETHER * ROWS];
shared float gates[TOGETHER * ROWS];
shared float skips[TOGETHER * ROWS]; // D x
shared float steps[TOGETHER], decays[TOGETHER];

float convolve(uint batch, uint channel, bool carries) {
    uint before = batch * (TAPS - 1) * CHANNELS + channel;
    float current = push.projected.at[batch * PITCH + INNER + channel], values[TAPS], taps[TAPS];
    if (TAPS == 4) {
        vec4 four = Vectors(uint64_t(push.taps)).at[channel];
        [[unroll]] for (uint k = 0; k < TAPS; k++)
            taps[k] = four[k % 4];
    } else {
        [[unroll]] for (uint k = 0; k < TAPS; k++)
            taps[k] = push.taps.at[channel * TAPS + k];
    }
    [[unroll]] for (uint k = 0; k < TAPS; k++)
        values[k] = k + 1 < TAPS ? push.convolution.at[before + k * CHANNELS] : current;
    float sum = BIAS != 0 ? push.bias.at[channel] : 0.0;
    [[unroll]] for (uint k = 0; k < TAPS; k++) {
        sum = fma(taps[k], values[k], sum);
        if (carries && k > 0)
            push.nextConvolution.at[before + (k - 1) * CHANNELS] = values[k];
    }
    return silu(sum);
}

// A load of a row of the state as it lies there, zeros behind its end where rows are no whole quads.
uvec4 readState(uint row, uint load) {
    if (TYPE == RAGGED)
        return floatBitsToUint(readFour(push.recurrent, row * STATES + 4 * load, int(STATES) - int(4 * load), TYPE));
    uint at = row * LOADS + min(load, LOADS - 1);
    if (TYPE == F32 || WIDE == 2)
        return WholeLoads(uint64_t(push.recurrent)).at[at];
    return uvec4(HalfQuads(uint64_t(push.recurrent)).at[at], 0, 0);
}

vec4 widened(uvec4 held, uint quad) {
    if (TYPE == RAGGED || TYPE == F32)
        return uintBitsToFloat(held);
    return quad == 0 ? vec4(widenPair(TYPE, held.x), widenPair(TYPE, held.y)) : vec4(widenPair(TYPE, held.z), widenPair(TYPE, held.w));
}

uvec2 narrowed(vec4 values) {
    if (TYPE == BF16)
        return upperHalves(floatBitsToUint(roundedToBfloat16(values)));
    return uvec2(narrowPair(TYPE, values.xy), narrowPair(TYPE, values.zw));
}

void writeState(uint row, uint load, vec4 first, vec4 second) {
    if (WIDE == 2)
        WholeLoads(uint64_t(push.nextRecurrent)).at[row * LOADS + load] = uvec4(narrowed(first), narrowed(second));
    else if (TYPE != F32 && TYPE != RAGGED)
        HalfQuads(uint64_t(push.nextRecurrent)).at[row * LOADS + load] = narrowed(first);
    else
        writeFour(push.nextRecurrent, row * STATES + 4 * load, int(STATES) - int(4 * load), TYPE, first);
}

void main() {
    uint me = gl_LocalInvocationID.x, slices = max(1u, (WIDTH + ROWS - 1) / ROWS);
    if (groupNumber() >= push.count)
        return;
    uint index = groupNumber() / slices * TOGETHER, firstRow = groupNumber() % slices * ROWS, rows = WIDTH % ROWS == 0 ? ROWS : min(ROWS, WIDTH - firstRow);
    uint batch = index / HEADS, firstHead = index % HEADS, headsOfGroup = HEADS / GROUPS, group = firstHead / headsOfGroup;
    bool carries = firstRow == 0 && firstHead % headsOfGroup == 0;
    uint lane = me % LANES, team = me / LANES, blocks = (rows + EACH * TEAMS - 1) / (EACH * TEAMS);

    uvec4 held[HELD];
    if (QUADS > 0 && rows > 0) {
        [[unroll]] for (uint i = 0; i < EACH * STEPS; i++)
            held[i] = readState(index * WIDTH + firstRow + min(i / STEPS * TEAMS + team, rows - 1), i % STEPS * LANES + lane);
    }
    for (uint i = me; i < 2 * STATES + TOGETHER * rows; i += WORKGROUP) {
        uint p = i - 2 * STATES, head = firstHead + p / max(rows, 1), own = head * WIDTH + firstRow + p % max(rows, 1), n = i % max(STATES, 1);
        float skip = 0, gate = 1;
        if (i >= 2 * STATES) {
            skip = push.skip.at[SKIPS == 2 ? own : head];
            if (GATED != 0)
                gate = silu(push.projected.at[batch * PITCH + own]);
        }
        float value = convolve(batch, i < STATES ? INNER + group * STATES + i : i < 2 * STATES ? INNER + (GROUPS + group) * STATES + n : own, carries || i >= 2 * STATES);
        if (i < STATES)
            b[n / 4][n % 4] = value;
        else if (i < 2 * STATES)
            c[n / 4][n % 4] = value;
        else {
            x[p] = value;
            gates[p] = gate;
            skips[p] = skip * value;
        }
    }
    // The last invocations, which have no channel in common models.
    if (me + TOGETHER >= WORKGROUP) {
        uint own = WORKGROUP - 1 - me, head = firstHead + own;
        if (STATES % 4 != 0 && own == 0) {
            for (uint n = STATES % 4; n < 4; n++)
                b[QUADS - 1][n] = c[QUADS - 1][n] = 0;
        }
        float dt = softplus(push.projected.at[batch * PITCH + INNER + CHANNELS + head] + push.stepBias.at[head]);
        if (!isNotANumber(dt))
            dt = min(max(dt, push.low), push.high);
        steps[own] = dt;
        decays[own] = accurateExp(-dt * accurateExp(push.decayLog.at[head]));
    }
    barrier();
    // An invocation has the same columns of every row.
    vec4 ownB[OWN], ownC[OWN];
    [[unroll]] for (uint i = 0; i < OWN; i++) {
        uint quad = min((i / WIDE * LANES + lane) * WIDE + i % WIDE, QUADS);
        ownB[i] = b[quad];
        ownC[i] = c[quad];
    }
    for (uint turn = 0; turn < TOGETHER * blocks; turn++) {
        uint own = turn / blocks, first = turn % blocks * EACH * TEAMS, next = min(turn + 1, TOGETHER * blocks - 1);
        uvec4 now[HELD];
        [[unroll]] for (uint i = 0; i < HELD; i++)
            now[i] = held[i];
        if (QUADS > 0) {
            [[unroll]] for (uint i = 0; i < EACH * STEPS; i++) {
                uint p = next % blocks * EACH * TEAMS + i / STEPS * TEAMS + team;
                if (turn + 1 < TOGETHER * blocks)
                    held[i] = readState((index + next / blocks) * WIDTH + firstRow + min(p, rows - 1), i % STEPS * LANES + lane);
            }
        }
        [[unroll]] for (uint e = 0; e < EACH; e++) {
            uint p = first + e * TEAMS + team, at = own * rows + p, row = (index + own) * WIDTH + firstRow + p;
            float scale = p < rows ? steps[own] * x[at] : 0;
            vec4 sums = vec4(0);
            [[unroll]] for (uint s = 0; s < STEPS; s++) {
                uint load = s * LANES + lane;
                if (load < LOADS && p < rows) {
                    vec4 after[WIDE];
                    [[unroll]] for (uint w = 0; w < WIDE; w++) {
                        after[w] = fma(vec4(decays[own]), widened(now[e * STEPS + s], w), scale * ownB[s * WIDE + w]);
                        sums = fma(after[w], ownC[s * WIDE + w], sums);
                    }
                    writeState(row, load, after[0], after[WIDE - 1]);
                }
            }
            float sum = dot(sums, vec4(1));
            [[unroll]] for (uint stride = LANES / 2; stride > 0; stride /= 2)
                sum += subgroupShuffleXor(sum, stride);
            if (p < rows && lane == 0)
                push.y.at[row] = (sum + skips[at]) * gates[at];
        }
    }
}
