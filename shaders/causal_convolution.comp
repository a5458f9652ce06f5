#version 460
#extension GL_GOOGLE_include_directive : require
// y[t] = bias + Σₖ w[k] · x[t − (K − 1) + k], then SiLU if asked: an invocation computes TIME positions of four channels; neighbours have neighbouring channels.
#include "causal_convolution.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats bias;       // of the inputs that are absent, any address
    Floats initial;
    Integers sequence;
    Floats y; // the results' parts
    Floats middle;
    Floats last;
    uint batches;
    uint length_;
    uint channels;
    uint runs;   // of TIME positions
    uint pitch;  // of rows of x
    uint first;  // channels of the first and the second part
    uint second;
} push;

void main() {
    uint quads = (push.channels + 3) / 4, i = invocationNumber(), channel = i % quads * 4, run = i / quads % push.runs, batch = i / quads / push.runs;
    if (batch >= push.batches)
        return;
    int first = int(run * TIME), length_ = int(push.length_);
    uint row = batch * push.length_;
    int count = int(push.channels - channel);

    vec4 x[TIME + TAPS - 1], weight[TAPS];
    int document[TIME + TAPS - 1];
    bool isInside = first >= BEFORE && first + int(TIME) <= length_;
    if (isInside) {
        [[unroll]] for (int j = 0; j < int(TIME) + BEFORE; j++) {
            x[j] = readRow(push.x, (row + first - BEFORE + j) * push.pitch + channel, count);
            document[j] = HAS_SEQUENCE ? push.sequence.at[row + first - BEFORE + j] : 0;
        }
    } else {
        // Read from wherever there is an input and left out afterwards: loads behind branches would wait for each other.
        [[unroll]] for (int j = 0; j < int(TIME) + BEFORE; j++) {
            int t = first - BEFORE + j;
            if (HAS_INITIAL && t < 0)
                x[j] = readFour(push.initial, (batch * BEFORE + t + BEFORE) * push.channels + channel, count, CHANNELS);
            else
                x[j] = readRow(push.x, (row + clamp(t, 0, length_ - 1)) * push.pitch + channel, count);
            document[j] = HAS_SEQUENCE ? push.sequence.at[row + clamp(t, 0, length_ - 1)] : 0;
            x[j] = t < length_ && (HAS_INITIAL || t >= 0) ? x[j] : vec4(0);
        }
    }
    readTaps(push.weight, channel, count, weight);
    vec4 bias = readBias(push.bias, channel, count);

    Place place = PLACE_OF(channel, push.y, push.middle, push.last);
    [[unroll]] for (int j = 0; j < int(TIME); j++) {
        vec4 y = bias;
        [[unroll]] for (int k = 0; k < int(TAPS); k++)
            if (!HAS_SEQUENCE || document[j + k] == document[j + BEFORE])
                y = fma(weight[k], x[j + k], y);
        if (SILU)
            y = silu(y, CHANNELS);
        uint to = (row + first + j) * place.width + place.channel;
        if (isInside || first + j < length_)
            writeFour(place.of, to, count, CHANNELS, y);
    }
}
