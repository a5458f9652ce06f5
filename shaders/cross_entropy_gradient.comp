#version 460
#extension GL_GOOGLE_include_directive : require
// dx = dℓ · (exp(x − log Σ exp) − [v = label]), and 0 in rows whose label is negative: workgroups share a row, each invocation takes EACH times four elements.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint LOGITS = F32;
layout(constant_id = 2) const uint EACH = 2;

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

float exponential(float x) { return LOGITS == BF16 || LOGITS == F16 ? exp(x) : accurateExp(x); }

void main() {
    uint row = groupNumber() / push.shares, from = row * push.classes, first = 4 * (groupNumber() % push.shares * gl_WorkGroupSize.x * EACH + gl_LocalInvocationID.x);
    if (row >= push.rows)
        return;
    int label = push.labels.at[row];
    float total = push.totals.at[row], gradient = push.gradients.at[row];
    vec4 x[EACH];
    [[unroll]] for (uint j = 0; j < EACH; j++) {
        uint i = min(first + 4 * j * gl_WorkGroupSize.x, (push.classes - 1) / 4 * 4);
        x[j] = readFour(push.logits, from + i, int(push.classes - i), LOGITS) - total;
    }
    [[unroll]] for (uint j = 0; j < EACH; j++) {
        uint i = first + 4 * j * gl_WorkGroupSize.x;
        vec4 y = vec4(0);
        if (label >= 0) {
            [[unroll]] for (int z = 0; z < 4; z++)
                y[z] = (exponential(x[j][z]) - (int(i) + z == label ? 1.0 : 0.0)) * gradient;
        }
        if (i < push.classes)
            writeFour(push.dlogits, from + i, int(push.classes - i), LOGITS, y);
    }
}
