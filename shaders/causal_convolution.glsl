// What the causal convolution and its derivative share: the inputs that a run of positions of one channel sees, and which of them belong to the same document.
#include "common.glsl"
#include "elements.glsl"
#include "gates.glsl"

layout(constant_id = 1) const uint TAPS = 4;
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const bool HAS_INITIAL = false;
layout(constant_id = 4) const bool HAS_SEQUENCE = false;
layout(constant_id = 5) const bool SILU = false;

// Positions that an invocation computes from inputs which it reads once.
const uint TIME = 8;
const int BEFORE = int(TAPS) - 1;

// Four neighbouring channels are computed together: CHANNELS is how x, the initial inputs, y and their gradients are held, RAGGED where the number of channels is no multiple
// of four. Rows of x that are not whole quads, of 16 bits, are read by pairs.
layout(constant_id = 6) const uint CHANNELS = F32;
layout(constant_id = 7) const bool HAS_QUADS = true;

vec4 readRow(Floats from, uint index, int count) {
    if (HAS_QUADS)
        return readFour(from, index, count, CHANNELS);
    return vec4(widenPair(CHANNELS, floatBitsToUint(from.at[index / 2])), widenPair(CHANNELS, floatBitsToUint(from.at[index / 2 + 1])));
}

void writeRow(Floats to, uint index, int count, vec4 values) {
    if (HAS_QUADS) {
        writeFour(to, index, count, CHANNELS, values);
    } else {
        to.at[index / 2] = uintBitsToFloat(narrowPair(CHANNELS, values.xy));
        to.at[index / 2 + 1] = uintBitsToFloat(narrowPair(CHANNELS, values.zw));
    }
}

// What is given for each channel, STEP apart; zeros for channels that are not there.
vec4 ofChannels(Floats from, uint first, uint step_, int count) {
    return vec4(from.at[first], count > 1 ? from.at[first + step_] : 0, count > 2 ? from.at[first + 2 * step_] : 0, count > 3 ? from.at[first + 3 * step_] : 0);
}

// Where four channels lie among three tensors that together hold all channels, or one that does.
struct Place {
    Floats of;
    uint width;
    uint channel;
};

#define PLACE_OF(CHANNEL, FIRST, SECOND, THIRD) \
    ((CHANNEL) < push.first ? Place(FIRST, push.first, CHANNEL) \
        : (CHANNEL) < push.first + push.second ? Place(SECOND, push.second, (CHANNEL) - push.first) \
        : Place(THIRD, push.channels - push.first - push.second, (CHANNEL) - push.first - push.second))
