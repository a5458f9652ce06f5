#version 460
#extension GL_GOOGLE_include_directive : require
// One token of each sequence from the projection [z | x | B | C | dt] to y: convolution, SiLU, step size and recurrence. A workgroup takes ROWS rows of the state of one head,
// of which LANES invocations share each; it convolves its own channels of x and all of its group's B and C, and one workgroup of the group carries the latter's inputs on.
// Each element of the state is read and written once, by the same invocation, so that the next state may be the state itself.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256;
layout(constant_id = 1) const uint TAPS = 4;
layout(constant_id = 2) const uint STATES = 128;
layout(constant_id = 3) const uint ROWS = 16;
layout(constant_id = 4) const uint LANES = 16;
layout(constant_id = 5) const uint BIAS = 0;
layout(constant_id = 6) const uint SKIPS = 1; // 1: a D for each head, 2: for each channel

const uint QUADS = (STATES + 3) / 4;

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
    Floats z;
    Floats nextConvolution;
    Floats nextRecurrent;
    uint heads;
    uint width;
    uint groups;
    uint count; // workgroups
    float low;
    float high;
} push;

// One quad too many, because arrays must not be empty where there are no states.
shared vec4 b[QUADS + 1];
shared vec4 c[QUADS + 1];
shared float x[ROWS];
shared float partial[WORKGROUP];
shared float step, decay;

uint inner, channels, pitch;

float convolve(uint batch, uint channel, bool carries) {
    uint before = batch * (TAPS - 1) * channels + channel;
    float sum = BIAS != 0 ? push.bias.at[channel] : 0.0, current = push.projected.at[batch * pitch + inner + channel];
    for (uint k = 0; k + 1 < TAPS; k++) {
        float value = push.convolution.at[before + k * channels];
        sum = fma(push.taps.at[channel * TAPS + k], value, sum);
        if (carries && k > 0)
            push.nextConvolution.at[before + (k - 1) * channels] = value;
    }
    if (carries && TAPS > 1)
        push.nextConvolution.at[before + (TAPS - 2) * channels] = current;
    return silu(fma(push.taps.at[channel * TAPS + TAPS - 1], current, sum));
}

void main() {
    uint me = gl_LocalInvocationID.x, slices = max(1u, (push.width + ROWS - 1) / ROWS);
    if (groupNumber() >= push.count)
        return;
    uint index = groupNumber() / slices, firstRow = groupNumber() % slices * ROWS, rows = min(ROWS, push.width - firstRow);
    uint batch = index / push.heads, head = index % push.heads, headsOfGroup = push.heads / push.groups, group = head / headsOfGroup;
    inner = push.heads * push.width;
    channels = inner + 2 * push.groups * STATES;
    pitch = inner + channels + push.heads;
    bool carries = firstRow == 0 && head % headsOfGroup == 0;

    for (uint i = me; i < 2 * STATES + rows; i += WORKGROUP) {
        if (i < STATES) {
            b[i / 4][i % 4] = convolve(batch, inner + group * STATES + i, carries);
        } else if (i < 2 * STATES) {
            uint n = i - STATES;
            c[n / 4][n % 4] = convolve(batch, inner + (push.groups + group) * STATES + n, carries);
        } else {
            uint p = i - 2 * STATES, channel = head * push.width + firstRow + p;
            x[p] = convolve(batch, channel, true);
            push.z.at[batch * inner + channel] = push.projected.at[batch * pitch + channel];
        }
    }
    // The last invocation, which has no channel in common models.
    if (me == WORKGROUP - 1) {
        float dt = softplus(push.projected.at[batch * pitch + inner + channels + head] + push.stepBias.at[head]);
        if (!isNotANumber(dt))
            dt = min(max(dt, push.low), push.high);
        step = dt;
        decay = accurateExp(-dt * accurateExp(push.decayLog.at[head]));
    }
    barrier();

    uint lane = me % LANES;
    for (uint first = 0; first < rows; first += WORKGROUP / LANES) {
        uint p = first + me / LANES, row = index * push.width + firstRow + p;
        float sum = 0;
        if (p < rows) {
            float scale = step * x[p];
            if (STATES % 4 == 0) {
                vec4 sums = vec4(0);
                for (uint n = lane; n < QUADS; n += LANES) {
                    vec4 h = fma(vec4(decay), Vectors(uint64_t(push.recurrent)).at[row * QUADS + n], scale * b[n]);
                    Vectors(uint64_t(push.nextRecurrent)).at[row * QUADS + n] = h;
                    sums = fma(h, c[n], sums);
                }
                sum = dot(sums, vec4(1));
            } else {
                for (uint n = lane; n < STATES; n += LANES) {
                    float h = fma(decay, push.recurrent.at[row * STATES + n], scale * b[n / 4][n % 4]);
                    push.nextRecurrent.at[row * STATES + n] = h;
                    sum = fma(h, c[n / 4][n % 4], sum);
                }
            }
        }
        if (LANES > 1) {
            barrier();
            partial[me] = sum;
            for (uint stride = LANES / 2; stride > 0; stride /= 2) {
                barrier();
                if (lane < stride)
                    partial[me] += partial[me + stride];
            }
            sum = partial[me];
        }
        if (p < rows && lane == 0)
            push.y.at[row] = fma(push.skip.at[SKIPS == 2 ? head * push.width + firstRow + p : head], x[p], sum);
    }
}
