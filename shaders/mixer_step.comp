#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_shuffle : require
// One token of each sequence from the projection [z | x | B | C | dt] to y: convolution, SiLU, step size, recurrence and gate. A workgroup takes ROWS rows of the state of one head,
// of which LANES invocations of a subgroup share each; it convolves its own channels of x and all of its group's B and C, and one workgroup of the group carries the latter's inputs on.
// Each element of the state is read and written once, by the same invocation, so that the next state may be the state itself; it is read first, since it does not depend on the operation before.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"

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

const uint INNER = HEADS * WIDTH, CHANNELS = INNER + 2 * GROUPS * STATES, PITCH = INNER + CHANNELS + HEADS;

// Of a row: groups of four numbers, and how many of them an invocation has. Arrays must not be empty where there are no states.
const uint QUADS = (STATES + 3) / 4, STEPS = (QUADS + LANES - 1) / LANES, HELD = EACH * STEPS > 0 ? EACH * STEPS : 1, TEAMS = WORKGROUP / LANES;

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
shared float x[ROWS];
shared float gates[ROWS];
shared float skips[ROWS]; // D x
shared float step, decay;

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

// Four numbers of a row of the state, zeros behind its end where rows are no whole quads.
vec4 readState(uint row, uint quad) {
    uint n = 4 * (TYPE == RAGGED ? quad : min(quad, QUADS - 1));
    return readFour(push.recurrent, row * STATES + n, int(STATES) - int(n), TYPE);
}

void main() {
    uint me = gl_LocalInvocationID.x, slices = max(1u, (WIDTH + ROWS - 1) / ROWS);
    if (groupNumber() >= push.count)
        return;
    uint index = groupNumber() / slices, firstRow = groupNumber() % slices * ROWS, rows = min(ROWS, WIDTH - firstRow);
    uint batch = index / HEADS, head = index % HEADS, headsOfGroup = HEADS / GROUPS, group = head / headsOfGroup;
    bool carries = firstRow == 0 && head % headsOfGroup == 0;
    uint lane = me % LANES, team = me / LANES;

    for (uint first = 0; first < max(rows, 1u); first += EACH * TEAMS) {
        vec4 h[HELD];
        if (QUADS > 0 && rows > 0) {
            [[unroll]] for (uint i = 0; i < EACH * STEPS; i++)
                h[i] = readState(index * WIDTH + firstRow + min(first + i / STEPS * TEAMS + team, rows - 1), i % STEPS * LANES + lane);
        }
        if (first == 0) {
            for (uint i = me; i < 2 * STATES + rows; i += WORKGROUP) {
                uint p = i - 2 * STATES, own = head * WIDTH + firstRow + p, n = i % max(STATES, 1);
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
            // The last invocation, which has no channel in common models.
            if (me == WORKGROUP - 1) {
                if (STATES % 4 != 0) {
                    for (uint n = STATES % 4; n < 4; n++)
                        b[QUADS - 1][n] = c[QUADS - 1][n] = 0;
                }
                float dt = softplus(push.projected.at[batch * PITCH + INNER + CHANNELS + head] + push.stepBias.at[head]);
                if (!isNotANumber(dt))
                    dt = min(max(dt, push.low), push.high);
                step = dt;
                decay = accurateExp(-dt * accurateExp(push.decayLog.at[head]));
            }
            barrier();
        }
        [[unroll]] for (uint e = 0; e < EACH; e++) {
            uint p = first + e * TEAMS + team, row = index * WIDTH + firstRow + p;
            float scale = p < rows ? step * x[p] : 0;
            vec4 sums = vec4(0);
            [[unroll]] for (uint s = 0; s < STEPS; s++) {
                uint n = s * LANES + lane;
                if (n < QUADS && p < rows) {
                    vec4 next = fma(vec4(decay), h[e * STEPS + s], scale * b[n]);
                    writeFour(push.nextRecurrent, row * STATES + 4 * n, int(STATES - 4 * n), TYPE, next);
                    sums = fma(next, c[n], sums);
                }
            }
            float sum = dot(sums, vec4(1));
            [[unroll]] for (uint stride = LANES / 2; stride > 0; stride /= 2)
                sum += subgroupShuffleXor(sum, stride);
            if (p < rows && lane == 0)
                push.y.at[row] = (sum + skips[p]) * gates[p];

        }
    }
}
