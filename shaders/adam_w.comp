#version 460
#extension GL_GOOGLE_include_directive : require
// One step of Adam with decoupled weight decay, four elements an invocation; outputs may be the inputs' memory. Nothing changes where s is 0.
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Floats parameter;
    Floats gradient;
    Floats first;
    Floats second;
    Floats settings; // η, c₁, c₂, s
    Floats newParameter;
    Floats newFirst;
    Floats newSecond;
    uint count;
    float beta1;
    float share1; // 1 − β₁
    float beta2;
    float share2;
    float epsilon;
    float decay;
} push;

void step_(inout vec4 parameter, vec4 gradient, inout vec4 first, inout vec4 second) {
    if (push.settings.at[3] == 0)
        return;
    float rate = push.settings.at[0];
    vec4 g = gradient * push.settings.at[3];
    first = first * push.beta1 + g * push.share1;
    second = second * push.beta2 + g * g * push.share2;
    vec4 denominator = sqrt(second) / sqrt(push.settings.at[2]) + push.epsilon;
    parameter = parameter * (1.0 - rate * push.decay) - first / denominator * (rate / push.settings.at[1]);
}

void main() {
    uint i = invocationNumber();
    vec4 parameter, first, second;
    if (4 * i + 4 <= push.count) {
        parameter = Vectors(uint64_t(push.parameter)).at[i];
        first = Vectors(uint64_t(push.first)).at[i];
        second = Vectors(uint64_t(push.second)).at[i];
        step_(parameter, Vectors(uint64_t(push.gradient)).at[i], first, second);
        Vectors(uint64_t(push.newParameter)).at[i] = parameter;
        Vectors(uint64_t(push.newFirst)).at[i] = first;
        Vectors(uint64_t(push.newSecond)).at[i] = second;
        return;
    }
    for (uint at = 4 * i; at < push.count; at++) {
        parameter = vec4(push.parameter.at[at]);
        first = vec4(push.first.at[at]);
        second = vec4(push.second.at[at]);
        step_(parameter, vec4(push.gradient.at[at]), first, second);
        push.newParameter.at[at] = parameter.x;
        push.newFirst.at[at] = first.x;
        push.newSecond.at[at] = second.x;
    }
}
