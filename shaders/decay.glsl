// The decay between two positions of a chunk.
#include "math.glsl"

layout(constant_id = 2) const uint HAS_SEQUENCE = 0;
layout(constant_id = 3) const uint DEVICE_EXP = 0; // whether the device's own exponential is good enough; it is cheaper

// exp(a_m − a_s), where a is the sum of a high and a low part.
float decayBetween(float highM, float lowM, float highS, float lowS) {
    float exponent = min((highM - highS) + (lowM - lowS), 0);
    return DEVICE_EXP != 0 ? exp(exponent) : accurateExp(exponent);
}
