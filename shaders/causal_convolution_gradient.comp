#version 460
#extension GL_GOOGLE_include_directive : require
// With p the sum before SiLU and dp = dy · silu′(p): dx[j] = Σₖ w[k] · dp[j + K − 1 − k], the same for the initial inputs, dw[k] = Σ dp[t] · x[t − (K − 1) + k] and
// dbias = Σ dp. An invocation walks over a run of positions of one channel, TIME at a time; each time it computes the dp that those inputs reach, and at the end
// it leaves the run's share of dw and dbias to be added up.
#include "causal_convolution.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats bias;    // of the inputs and outputs that are absent, any address
    Floats initial;
    Integers sequence;
    Floats dy;
    Floats dx;
    Floats dinitial;
    Floats partial; // [batches, runs, taps + 1, channels]
    uint batches;
    uint length_;
    uint channels;
    uint runs;
    uint run; // positions of a run, a multiple of TIME
} push;

void main() {
    uint i = invocationNumber(), channel = i % push.channels, plane = i / push.channels, batch = plane / push.runs;
    if (batch >= push.batches)
        return;
    int length_ = int(push.length_), start = int(plane % push.runs * push.run), end = min(length_, start + int(push.run));
    uint row = batch * push.length_;

    float weight[TAPS], dw[TAPS];
    [[unroll]] for (int k = 0; k < int(TAPS); k++) {
        weight[k] = push.weight.at[channel * TAPS + k];
        dw[k] = 0;
    }
    float bias = HAS_BIAS ? push.bias.at[channel] : 0, dbias = 0;

    // Once even where there is no position: the gradients of the initial inputs are zero then.
    int first = start;
    do {
        float x[TIME + 2 * TAPS - 2], dp[TIME + TAPS - 1];
        int document[TIME + 2 * TAPS - 2];
        [[unroll]] for (int j = 0; j < int(TIME) + 2 * BEFORE; j++) {
            int t = first - BEFORE + j;
            x[j] = 0;
            if (t >= 0 && t < length_)
                x[j] = push.x.at[(row + t) * push.channels + channel];
            else if (HAS_INITIAL && t < 0)
                x[j] = push.initial.at[(batch * BEFORE + t + BEFORE) * push.channels + channel];
            document[j] = 0;
            if (HAS_SEQUENCE && length_ > 0)
                document[j] = push.sequence.at[row + clamp(t, 0, length_ - 1)];
        }
        [[unroll]] for (int j = 0; j < int(TIME) + BEFORE; j++) {
            dp[j] = 0;
            if (first + j < length_) {
                dp[j] = push.dy.at[(row + first + j) * push.channels + channel];
                if (SILU) {
                    float p = bias;
                    [[unroll]] for (int k = 0; k < int(TAPS); k++)
                        if (!HAS_SEQUENCE || document[j + k] == document[j + BEFORE])
                            p = fma(weight[k], x[j + k], p);
                    dp[j] *= siluDerivative(p);
                }
            }
        }
        [[unroll]] for (int j = 0; j < int(TIME); j++) {
            float dx = 0;
            [[unroll]] for (int q = 0; q < int(TAPS); q++)
                if (!HAS_SEQUENCE || document[j + BEFORE] == document[j + BEFORE + q])
                    dx = fma(weight[BEFORE - q], dp[j + q], dx);
            if (first + j < end)
                push.dx.at[(row + first + j) * push.channels + channel] = dx;
            [[unroll]] for (int k = 0; k < int(TAPS); k++)
                if (!HAS_SEQUENCE || document[j + k] == document[j + BEFORE])
                    dw[k] = fma(dp[j], x[j + k], dw[k]);
            dbias += dp[j];
        }
        if (HAS_INITIAL && first == 0) {
            [[unroll]] for (int j = 0; j < BEFORE; j++) {
                float dx = 0;
                [[unroll]] for (int t = 0; t <= j; t++)
                    if (!HAS_SEQUENCE || document[BEFORE] == document[BEFORE + t])
                        dx = fma(weight[j - t], dp[t], dx);
                push.dinitial.at[(batch * BEFORE + j) * push.channels + channel] = dx;
            }
        }
        first += int(TIME);
    } while (first < end);

    uint to = plane * (TAPS + 1) * push.channels + channel;
    [[unroll]] for (int k = 0; k < int(TAPS); k++)
        push.partial.at[to + k * push.channels] = dw[k];
    push.partial.at[to + TAPS * push.channels] = dbias;
}
