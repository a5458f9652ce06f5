#version 460
#extension GL_GOOGLE_include_directive : require
// dx = dℓ · (exp(x − log Σ exp) − [v = label]), and 0 in rows whose label is negative: an invocation for four elements, or for one where rows are no multiples.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 1) const bool WHOLE = false;

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
    uint first = WHOLE ? 4 * i : i, row = first / push.classes;
    int label = push.labels.at[row] - int(first - row * push.classes);
    if (push.labels.at[row] < 0) {
        if (WHOLE)
            Vectors(uint64_t(push.dlogits)).at[i] = vec4(0);
        else
            push.dlogits.at[i] = 0;
        return;
    }
    float total = push.totals.at[row], gradient = push.gradients.at[row];
    if (WHOLE) {
        vec4 x = Vectors(uint64_t(push.logits)).at[i], y;
        [[unroll]] for (int j = 0; j < 4; j++)
            y[j] = (accurateExp(x[j] - total) - (j == label ? 1.0 : 0.0)) * gradient;
        Vectors(uint64_t(push.dlogits)).at[i] = y;
    } else {
        push.dlogits.at[i] = (accurateExp(push.logits.at[i] - total) - (label == 0 ? 1.0 : 0.0)) * gradient;
    }
}
