#version 460
#extension GL_GOOGLE_include_directive : require
// With p the sum before SiLU and dp = dy · silu′(p): dx[j] = Σₖ w[k] · dp[j + K − 1 − k], the same for the initial inputs, dw[k] = Σ dp[t] · x[t − (K − 1) + k] and
// dbias = Σ dp. An invocation walks over a run of positions of four channels, TIME at a time, and takes along what the next ones need of inputs and dp; at the end
// it leaves the run's share of dw and dbias to be added up.
#include "causal_convolution.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats bias;    // of the inputs and outputs that are absent, any address
    Floats initial;
    Integers sequence;
    Floats dy; // in parts
    Floats middle;
    Floats last;
    Floats dx;
    Floats dinitial;
    Floats partial; // [batches, runs, taps + 1, channels]
    uint batches;
    uint length_;
    uint channels;
    uint runs;
    uint run;    // positions of a run, a multiple of TIME
    uint pitch;  // of rows of x and dx
    uint first;  // channels of the first and the second part
    uint second;
} push;

const int REACH = int(TIME) + 2 * BEFORE;

int start;
uint row, batch, channel;
int count;
Place place;
vec4 weight[TAPS], bias;
// From start − (K − 1) on, and from start on.
vec4 x[REACH], dp[TIME + TAPS - 1];
int document[REACH];

// Inputs are read from wherever there is one and left out afterwards: loads behind branches would wait for each other.
void readInput(int j) {
    int t = start - BEFORE + j, last = int(push.length_) - 1;
    if (HAS_INITIAL && t < 0)
        x[j] = readFour(push.initial, (batch * BEFORE + t + BEFORE) * push.channels + channel, count, CHANNELS);
    else if (last >= 0)
        x[j] = readRow(push.x, (row + clamp(t, 0, last)) * push.pitch + channel, count);
    document[j] = 0;
    if (HAS_SEQUENCE && last >= 0)
        document[j] = push.sequence.at[row + clamp(t, 0, last)];
}

void leaveOut(int j) {
    int t = start - BEFORE + j;
    x[j] = t < int(push.length_) && (HAS_INITIAL || t >= 0) ? x[j] : vec4(0);
}

void readGradient(int j) {
    if (push.length_ > 0)
        dp[j] = readFour(place.of, (row + min(start + j, int(push.length_) - 1)) * place.width + place.channel, count, CHANNELS);
}

uvec4 nextX[TIME], nextDy[TIME];

// What a step needs that begins at a position, and the steps before did not: it is read while the one before computes.
void readAhead(int j, int from) {
    if (push.length_ > 0) {
        uint at = row + min(from + BEFORE + j, int(push.length_) - 1);
        nextX[j] = rawRow(push.x, at * push.pitch + channel, count);
        nextDy[j] = readRaw(place.of, at * place.width + place.channel, count, CHANNELS);
    }
}

void throughSilu(int j, bool isInside) {
    if (SILU) {
        vec4 p = bias;
        [[unroll]] for (int k = 0; k < int(TAPS); k++)
            p = fma(!HAS_SEQUENCE || document[j + k] == document[j + BEFORE] ? weight[k] : vec4(0), x[j + k], p);
        dp[j] *= siluDerivative(p, CHANNELS);
    }
    dp[j] = isInside || start + j < int(push.length_) ? dp[j] : vec4(0);
}

void leave(uint at, vec4 sum) { writeFour(push.partial, at, count, CHANNELS == RAGGED ? RAGGED : F32, sum); }

void main() {
    uint quads = (push.channels + 3) / 4, i = invocationNumber(), plane = i / quads;
    channel = i % quads * 4;
    batch = plane / push.runs;
    if (batch >= push.batches)
        return;
    start = int(plane % push.runs * push.run);
    int end = min(int(push.length_), start + int(push.run));
    row = batch * push.length_;
    count = int(push.channels - channel);
    place = PLACE_OF(channel, push.dy, push.middle, push.last);

    vec4 dw[TAPS], dbias = vec4(0);
    [[unroll]] for (int k = 0; k < int(TAPS); k++)
        dw[k] = vec4(0);
    readTaps(push.weight, channel, count, weight);
    bias = readBias(push.bias, channel, count);
    [[unroll]] for (int j = 0; j < int(TIME); j++)
        readAhead(j, start);
    [[unroll]] for (int j = 0; j < 2 * BEFORE; j++)
        readInput(j);
    [[unroll]] for (int j = 0; j < BEFORE; j++)
        readGradient(j);
    [[unroll]] for (int j = 0; j < 2 * BEFORE; j++)
        leaveOut(j);
    [[unroll]] for (int j = 0; j < BEFORE; j++)
        throughSilu(j, false);

    // Once even where there is no position: the gradients of the initial inputs are zero then. As often for all: a driver for processors loses what invocations that leave a loop
    // before their neighbours have summed up in it.
    uint steps = max(1, (min(push.run, push.length_) + TIME - 1) / TIME);
    for (uint step = 0; step < steps; step++) {
        [[unroll]] for (int j = 0; j < int(TIME); j++) {
            x[2 * BEFORE + j] = widenFour(nextX[j], CHANNELS);
            dp[BEFORE + j] = widenFour(nextDy[j], CHANNELS);
            document[2 * BEFORE + j] = 0;
            if (HAS_SEQUENCE && push.length_ > 0)
                document[2 * BEFORE + j] = push.sequence.at[row + min(start + BEFORE + j, int(push.length_) - 1)];
        }
        bool isInside = start + REACH <= int(push.length_);
        if (!isInside) {
            [[unroll]] for (int j = 2 * BEFORE; j < REACH; j++)
                leaveOut(j);
        }
        [[unroll]] for (int j = 0; j < int(TIME); j++)
            readAhead(j, start + int(TIME));
        [[unroll]] for (int j = BEFORE; j < int(TIME) + BEFORE; j++)
            throughSilu(j, isInside);
        [[unroll]] for (int j = 0; j < int(TIME); j++) {
            vec4 dx = vec4(0);
            [[unroll]] for (int q = 0; q < int(TAPS); q++)
                if (!HAS_SEQUENCE || document[j + BEFORE] == document[j + BEFORE + q])
                    dx = fma(weight[BEFORE - q], dp[j + q], dx);
            if (isInside || start + j < end)
                writeRow(push.dx, (row + start + j) * push.pitch + channel, count, dx);
            vec4 own = isInside || start + j < end ? dp[j] : vec4(0);
            [[unroll]] for (int k = 0; k < int(TAPS); k++)
                if (!HAS_SEQUENCE || document[j + k] == document[j + BEFORE])
                    dw[k] = fma(own, x[j + k], dw[k]);
            dbias += own;
        }
        if (HAS_INITIAL && start == 0) {
            [[unroll]] for (int j = 0; j < BEFORE; j++) {
                vec4 dx = vec4(0);
                [[unroll]] for (int t = 0; t <= j; t++)
                    if (!HAS_SEQUENCE || document[BEFORE] == document[BEFORE + t])
                        dx = fma(weight[j - t], dp[t], dx);
                writeFour(push.dinitial, (batch * BEFORE + j) * push.channels + channel, count, CHANNELS, dx);
            }
        }
        [[unroll]] for (int j = 0; j < 2 * BEFORE; j++) {
            x[j] = x[j + int(TIME)];
            document[j] = document[j + int(TIME)];
        }
        [[unroll]] for (int j = 0; j < BEFORE; j++)
            dp[j] = dp[j + int(TIME)];
        start += int(TIME);
    }

    uint to = plane * (TAPS + 1) * push.channels + channel;
    [[unroll]] for (int k = 0; k < int(TAPS); k++)
        leave(to + k * push.channels, dw[k]);
    leave(to + TAPS * push.channels, dbias);
}
