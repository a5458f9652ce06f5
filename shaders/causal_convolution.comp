#version 460
#extension GL_GOOGLE_include_directive : require
// y[t] = bias + Σₖ w[k] · x[t − (K − 1) + k], then SiLU if asked: an invocation computes TIME positions of one channel; neighbours have neighbouring channels.
#include "causal_convolution.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats bias;       // of the inputs that are absent, any address
    Floats initial;
    Integers sequence;
    Floats y;
    uint batches;
    uint length_;
    uint channels;
    uint runs; // of TIME positions
} push;

void main() {
    uint i = invocationNumber(), channel = i % push.channels, run = i / push.channels % push.runs, batch = i / push.channels / push.runs;
    if (batch >= push.batches)
        return;
    int first = int(run * TIME), length_ = int(push.length_);
    uint row = batch * push.length_;

    float x[TIME + TAPS - 1], weight[TAPS];
    int document[TIME + TAPS - 1];
    [[unroll]] for (int j = 0; j < int(TIME) + BEFORE; j++) {
        int t = first - BEFORE + j;
        x[j] = 0;
        if (t >= 0 && t < length_)
            x[j] = push.x.at[(row + t) * push.channels + channel];
        else if (HAS_INITIAL && t < 0)
            x[j] = push.initial.at[(batch * BEFORE + t + BEFORE) * push.channels + channel];
        document[j] = HAS_SEQUENCE ? push.sequence.at[row + clamp(t, 0, length_ - 1)] : 0;
    }
    [[unroll]] for (int k = 0; k < int(TAPS); k++)
        weight[k] = push.weight.at[channel * TAPS + k];
    float bias = HAS_BIAS ? push.bias.at[channel] : 0;

    [[unroll]] for (int j = 0; j < int(TIME); j++) {
        float y = bias;
        [[unroll]] for (int k = 0; k < int(TAPS); k++)
            if (!HAS_SEQUENCE || document[j + k] == document[j + BEFORE])
                y = fma(weight[k], x[j + k], y);
        if (first + j < length_)
            push.y.at[(row + first + j) * push.channels + channel] = SILU ? silu(y) : y;
    }
}
