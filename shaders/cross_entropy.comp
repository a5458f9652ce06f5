#version 460
#extension GL_GOOGLE_include_directive : require
// ℓ = log Σ exp(x) − x[label] and log Σ exp(x): a workgroup for each row, which is read once; each invocation keeps the largest element that it met, and the sum
// of exponentials relative to it.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"
#include "raw.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint LOGITS = F32;

layout(constant_id = 2) const uint PACK = 4; // elements that are one load

layout(push_constant, scalar) uniform Push {
    Floats logits;
    Integers labels;
    Floats losses;
    Floats totals;
    uint rows;
    uint classes;
} push;

// Loads under way at once, those past the end of the last elements once more.
const uint FLIGHT = 4;

#define INFINITE uintBitsToFloat(0x7f800000u)

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
    float largest = -INFINITE, sum = 0;
    for (uint i = PACK * gl_LocalInvocationID.x; i < push.classes; i += PACK * WORKGROUP * FLIGHT) {
        uvec4 packs[FLIGHT];
        [[unroll]] for (uint j = 0; j < FLIGHT; j++) {
            uint at = min(i + PACK * WORKGROUP * j, (push.classes - 1) / PACK * PACK);
            packs[j] = readPack(push.logits, from + at, int(push.classes - at), LOGITS, PACK);
            [[unroll]] for (int z = 1; z < 4; z++)
                if (LOGITS == RAGGED && z >= int(push.classes - at))
                    packs[j][z] = floatBitsToUint(-INFINITE);
        }
        float here = -INFINITE;
        [[unroll]] for (uint j = 0; j < FLIGHT; j++)
            [[unroll]] for (uint h = 0; h < PACK / 4; h++) {
                vec4 four = fourOf(packs[j], h, LOGITS);
                here = max(here, max(max(four.x, four.y), max(four.z, four.w)));
            }
        if (here > largest) {
            sum = moved(sum, largest, here);
            largest = here;
        }
        float offset = offsetOf(largest);
        [[unroll]] for (uint j = 0; j < FLIGHT; j++)
            if (i + PACK * WORKGROUP * j < push.classes) {
                [[unroll]] for (uint h = 0; h < PACK / 4; h++) {
                    vec4 four = fourOf(packs[j], h, LOGITS);
                    sum += (exponential(four.x - offset) + exponential(four.y - offset)) + (exponential(four.z - offset) + exponential(four.w - offset));
                }
            }
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
