#version 460
#extension GL_GOOGLE_include_directive : require
// dx = dℓ · (exp(x − log Σ exp) − [v = label]), and 0 in rows whose label is negative: workgroups share a row, each invocation takes EACH times PACK elements.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"
#include "raw.glsl"

layout(constant_id = 1) const uint LOGITS = F32;
layout(constant_id = 2) const uint EACH = 2;

layout(constant_id = 3) const uint PACK = 4; // elements that are one load

layout(push_constant, scalar) uniform Push {
    Floats logits;
    Integers labels;
    Floats totals;
    Floats gradients;
    Floats dlogits;
    uint rows;
    uint classes;
    uint shares; // workgroups of a row
} push;

// Of logits of 16 bits the device's own is good enough, and cheaper.
vec4 exponentials(vec4 x, float total) {
    if (LOGITS == BF16 || LOGITS == F16)
        return exp2(fma(x, vec4(1.44269504), vec4(-1.44269504 * total)));
    x -= total;
    return vec4(accurateExp(x.x), accurateExp(x.y), accurateExp(x.z), accurateExp(x.w));
}

void main() {
    uint row = groupNumber() / push.shares, from = row * push.classes, first = PACK * (groupNumber() % push.shares * gl_WorkGroupSize.x * EACH + gl_LocalInvocationID.x);
    if (row >= push.rows)
        return;
    int label = push.labels.at[row];
    float total = push.totals.at[row], gradient = label < 0 ? 0.0 : push.gradients.at[row];
    uvec4 packs[EACH];
    [[unroll]] for (uint j = 0; j < EACH; j++) {
        uint i = min(first + PACK * j * gl_WorkGroupSize.x, (push.classes - 1) / PACK * PACK);
        packs[j] = readPack(push.logits, from + i, int(push.classes - i), LOGITS, PACK);
    }
    [[unroll]] for (uint j = 0; j < EACH; j++) {
        uint i = first + PACK * j * gl_WorkGroupSize.x;
        if (i >= push.classes)
            break;
        uvec4 result;
        [[unroll]] for (uint h = 0; h < PACK / 4; h++) {
            vec4 y = exponentials(fourOf(packs[j], h, LOGITS), total);
            uint ahead = uint(label) - i - 4 * h;
            if (ahead < 4)
                [[unroll]] for (uint z = 0; z < 4; z++)
                    y[z] -= z == ahead ? 1.0 : 0.0;
            y = label < 0 ? vec4(0) : y * gradient;
            if (PACK == 8) {
                result[2 * h] = narrowPair(LOGITS, y.xy);
                result[2 * h + 1] = narrowPair(LOGITS, y.zw);
            } else {
                writeFour(push.dlogits, from + i, int(push.classes - i), LOGITS, y);
            }
        }
        if (PACK == 8)
            Packs(uint64_t(push.dlogits)).at[(from + i) >> 3] = result;
    }
}
