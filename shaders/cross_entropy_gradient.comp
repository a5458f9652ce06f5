#version 460
#extension GL_GOOGLE_include_directive : require
// dx = dℓ · (exp(x − log Σ exp) − [v = label]), and 0 in rows whose label is negative: an invocation for four elements, or for one where rows are no multiples.
#include "common.glsl"
#include "math.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint LOGITS = F32;

const uint EACH = LOGITS == RAGGED ? 1 : 4; // elements of an invocation

layout(push_constant, scalar) uniform Push {
    Floats logits;
    Integers labels;
    Floats totals;
    Floats gradients;
    Floats dlogits;
    uint count; // of invocations
    uint classes;
} push;

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    uint first = EACH * i, row = first / push.classes;
    int label = push.labels.at[row] - int(first - row * push.classes);
    vec4 y = vec4(0);
    if (push.labels.at[row] >= 0) {
        float total = push.totals.at[row], gradient = push.gradients.at[row];
        vec4 x = readFour(push.logits, first, int(EACH), LOGITS) - total;
        [[unroll]] for (int j = 0; j < int(EACH); j++)
            y[j] = ((LOGITS == BF16 || LOGITS == F16 ? exp(x[j]) : accurateExp(x[j])) - (j == label ? 1.0 : 0.0)) * gradient;
    }
    writeFour(push.dlogits, first, int(EACH), LOGITS, y);
}
