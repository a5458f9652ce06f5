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

// Two neighbouring channels are computed together: CHANNELS is how x, the initial inputs, y and their gradients are held, RAGGED where the number of channels is odd.
layout(constant_id = 6) const uint CHANNELS = F32;

layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Pairs { vec2 at[]; };

vec2 readPair(Floats from, uint index, bool both) {
    if (CHANNELS == F32)
        return Pairs(uint64_t(from)).at[index / 2];
    if (CHANNELS == RAGGED)
        return vec2(from.at[index], both ? from.at[index + 1] : 0);
    return widenPair(CHANNELS, floatBitsToUint(from.at[index / 2]));
}

void writePair(Floats to, uint index, bool both, vec2 values) {
    if (CHANNELS == F32) {
        Pairs(uint64_t(to)).at[index / 2] = values;
    } else if (CHANNELS == RAGGED) {
        to.at[index] = values.x;
        if (both)
            to.at[index + 1] = values.y;
    } else {
        to.at[index / 2] = uintBitsToFloat(narrowPair(CHANNELS, values));
    }
}

// Where a pair of channels lies among three tensors that together hold all channels, or one that does.
struct Place {
    Floats of;
    uint width;
    uint channel;
};

#define PLACE_OF(CHANNEL, FIRST, SECOND, THIRD) \
    ((CHANNEL) < push.first ? Place(FIRST, push.first, CHANNEL) \
        : (CHANNEL) < push.first + push.second ? Place(SECOND, push.second, (CHANNEL) - push.first) \
        : Place(THIRD, push.channels - push.first - push.second, (CHANNEL) - push.first - push.second))
