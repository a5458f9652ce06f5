#version 460
#extension GL_GOOGLE_include_directive : require
// ℓ = log Σ exp(x) − x[label] and log Σ exp(x): a workgroup for each row, which is read once; each invocation keeps the largest element that it met, and the sum
// of exponentials relative to it.
#include "common.glsl"
#include "math.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const bool WHOLE = false; // whether a row is a multiple of four elements

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

// The sum relative to one maximum, made relative to another.
float moved(float sum, float from, float to) { return floatBitsToUint(sum) == 0u ? 0.0 : sum * accurateExp(offsetOf(from) - offsetOf(to)); }

void main() {
    uint row = groupNumber(), from = row * push.classes;
    if (row >= push.rows)
        return;
    float largest = uintBitsToFloat(0xff800000u), sum = 0;
    if (WHOLE) {
        Vectors x = Vectors(uint64_t(push.logits));
        for (uint i = gl_LocalInvocationID.x; i < push.classes / 4; i += WORKGROUP) {
            vec4 four = x.at[from / 4 + i];
            float here = max(max(four.x, four.y), max(four.z, four.w));
            if (here > largest) {
                sum = moved(sum, largest, here);
                largest = here;
            }
            float offset = offsetOf(largest);
            sum += (accurateExp(four.x - offset) + accurateExp(four.y - offset)) + (accurateExp(four.z - offset) + accurateExp(four.w - offset));
        }
    } else {
        for (uint i = gl_LocalInvocationID.x; i < push.classes; i += WORKGROUP) {
            float x = push.logits.at[from + i];
            if (x > largest) {
                sum = moved(sum, largest, x);
                largest = x;
            }
            sum += accurateExp(x - offsetOf(largest));
        }
    }
    float ofAll = maxOverWorkgroup(largest), offset = offsetOf(ofAll), logarithm = accurateLog(sumOverWorkgroup(moved(sum, largest, ofAll)));
    if (gl_LocalInvocationID.x == 0) {
        int label = push.labels.at[row];
        // Not total − x: where logits are large, their difference is still small and exact. A label that is no class shows as NaN.
        float loss = label < 0 ? 0.0 : uintBitsToFloat(0x7fc00000u);
        if (label >= 0 && label < int(push.classes))
            loss = logarithm - (push.logits.at[from + label] - offset);
        push.losses.at[row] = loss;
        push.totals.at[row] = offset + logarithm;
    }
}
