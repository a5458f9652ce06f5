#version 460
#extension GL_GOOGLE_include_directive : require
// ℓ = log Σ exp(x) − x[label] and log Σ exp(x): a workgroup for each row, which is read once; each invocation keeps the largest element that it met, and the sum
// of exponentials relative to it.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint LOGITS = F32;

layout(push_constant, scalar) uniform Push {
    Floats logits;
    Integers labels;
    Floats losses;
    Floats totals;
    uint rows;
    uint classes;
} push;

// An infinite maximum would make x − max a NaN for the elements that equal it.
float offsetOf(float largest) { return isInfinite(largest) ? 0.0 : largest; }

// Of logits of 16 bits the device's own is good enough, and cheaper.
float exponential(float x) { return LOGITS == BF16 || LOGITS == F16 ? exp(x) : accurateExp(x); }

// The sum relative to one maximum, made relative to another.
float moved(float sum, float from, float to) { return floatBitsToUint(sum) == 0u ? 0.0 : sum * accurateExp(offsetOf(from) - offsetOf(to)); }

void main() {
    uint row = groupNumber(), from = row * push.classes;
    if (row >= push.rows)
        return;
    float largest = uintBitsToFloat(0xff800000u), sum = 0;
    for (uint i = 4 * gl_LocalInvocationID.x; i < push.classes; i += 4 * WORKGROUP) {
        int count = int(push.classes - i);
        vec4 four = readFour(push.logits, from + i, count, LOGITS);
        [[unroll]] for (int z = 1; z < 4; z++)
            if (LOGITS == RAGGED && z >= count)
                four[z] = uintBitsToFloat(0xff800000u);
        float here = max(max(four.x, four.y), max(four.z, four.w));
        if (here > largest) {
            sum = moved(sum, largest, here);
            largest = here;
        }
        float offset = offsetOf(largest);
        sum += (exponential(four.x - offset) + exponential(four.y - offset)) + (exponential(four.z - offset) + exponential(four.w - offset));
    }
    float ofAll = maxOverWorkgroup(largest), offset = offsetOf(ofAll), logarithm = accurateLog(sumOverWorkgroup(moved(sum, largest, ofAll)));
    if (gl_LocalInvocationID.x == 0) {
        int label = push.labels.at[row];
        // Not total − x: where logits are large, their difference is still small and exact. A label that is no class shows as NaN.
        float loss = label < 0 ? 0.0 : uintBitsToFloat(0x7fc00000u);
        if (label >= 0 && label < int(push.classes))
            loss = logarithm - (readOne(push.logits, from + label, LOGITS) - offset);
        push.losses.at[row] = loss;
        push.totals.at[row] = offset + logarithm;
    }
}
