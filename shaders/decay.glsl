// The decay between two positions of a chunk, and the options of a scan: bit 0 says that there is a sequence, the bits above it what D is: 0 none, 1 one for each head,
// 2 one for each channel. They are not specialization constants because compiling the products once more costs far more than asking.
#include "math.glsl"

#define HAS_SEQUENCE ((push.options & 1) != 0)
#define SKIPS (push.options >> 1)

layout(constant_id = 2) const uint DEVICE_EXP = 0; // whether the device's own exponential is good enough; it is cheaper

// exp(a_m − a_s), where a is the sum of a high and a low part.
float decayBetween(float highM, float lowM, float highS, float lowS) {
    float exponent = min((highM - highS) + (lowM - lowS), 0);
    return DEVICE_EXP != 0 ? exp(exponent) : accurateExp(exponent);
}
