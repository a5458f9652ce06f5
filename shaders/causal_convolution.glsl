// What the causal convolution and its derivative share: the inputs that a run of positions of one channel sees, and which of them belong to the same document.
#include "common.glsl"
#include "elements.glsl"
#include "raw.glsl"
#include "gates.glsl"

layout(constant_id = 1) const uint TAPS = 4;
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const bool HAS_INITIAL = false;
layout(constant_id = 4) const bool HAS_SEQUENCE = false;
layout(constant_id = 5) const bool SILU = false;

// Positions that an invocation computes from inputs which it reads once.
layout(constant_id = 8) const uint TIME = 8;
const int BEFORE = int(TAPS) - 1;

// Four neighbouring channels are computed together: CHANNELS is how x, the initial inputs, y and their gradients are held, RAGGED where the number of channels is no multiple
// of four. Rows of x that are not whole quads, of 16 bits, are read by pairs.
layout(constant_id = 6) const uint CHANNELS = F32;
layout(constant_id = 7) const bool HAS_QUADS = true;

uvec4 rawRow(Floats from, uint index, int count) {
    if (HAS_QUADS)
        return readRaw(from, index, count, CHANNELS);
    return uvec4(floatBitsToUint(from.at[index / 2]), floatBitsToUint(from.at[index / 2 + 1]), 0, 0);
}

vec4 readRow(Floats from, uint index, int count) { return widenFour(rawRow(from, index, count), CHANNELS); }

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

// The taps of four channels, [channels, taps]: where four taps are a load, no other would be as wide.
void readTaps(Floats from, uint channel, int count, out vec4 taps[TAPS]) {
    if (TAPS == 4 && CHANNELS != RAGGED) {
        vec4 of[4];
        [[unroll]] for (int z = 0; z < 4; z++)
            of[z] = Vectors(uint64_t(from)).at[channel + z];
        [[unroll]] for (int k = 0; k < int(TAPS); k++)
            taps[k] = vec4(of[0][k], of[1][k], of[2][k], of[3][k]);
    } else {
        [[unroll]] for (int k = 0; k < int(TAPS); k++)
            taps[k] = ofChannels(from, channel * TAPS + k, TAPS, count);
    }
}

vec4 readBias(Floats from, uint channel, int count) { return HAS_BIAS ? readFour(from, channel, count, CHANNELS == RAGGED ? RAGGED : F32) : vec4(0); }

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
