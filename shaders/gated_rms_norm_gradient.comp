#version 460
#extension GL_GOOGLE_include_directive : require
// With s = silu(gate), r = 1 / √(mean(v²) + ε), v = x · s and g = w · dy: dv = r · g − v · r³ · mean(g · v), dx = dv · s, dgate = dv · x · s′. With the norm before
// the gate, v = x and g = w · dy · s: dx = dv, dgate = w · dy · x · r · s′. A workgroup for each group of each row; r is kept for the derivative of the weight.
#include "common.glsl"
#include "math.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const bool NORM_BEFORE_GATE = false;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats gate;
    Floats weight;
    Floats dy;
    Floats dx;
    Floats dgate;
    Floats scales; // [parts]
    uint parts;    // rows · groups
    uint groups;
    uint width; // elements of a group
    float epsilon;
} push;

void main() {
    uint part = groupNumber(), from = part * push.width, column = part % push.groups * push.width;
    if (part >= push.parts)
        return;
    float squares = 0, products = 0;
    for (uint i = gl_LocalInvocationID.x; i < push.width; i += WORKGROUP) {
        float x = push.x.at[from + i], g = push.weight.at[column + i] * push.dy.at[from + i], gated = x * silu(push.gate.at[from + i]);
        float v = NORM_BEFORE_GATE ? x : gated;
        squares = fma(v, v, squares);
        products = fma(g, gated, products);
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(squares) / float(push.width) + push.epsilon);
    float along = scale * scale * scale * (sumOverWorkgroup(products) / float(push.width));
    for (uint i = gl_LocalInvocationID.x; i < push.width; i += WORKGROUP) {
        float x = push.x.at[from + i], gate = push.gate.at[from + i], g = scale * push.weight.at[column + i] * push.dy.at[from + i];
        float s = silu(gate), slope = siluDerivative(gate);
        if (NORM_BEFORE_GATE) {
            push.dx.at[from + i] = g * s - along * x;
            push.dgate.at[from + i] = g * x * slope;
        } else {
            float dv = g - along * x * s;
            push.dx.at[from + i] = dv * s;
            push.dgate.at[from + i] = dv * x * slope;
        }
    }
    if (gl_LocalInvocationID.x == 0)
        push.scales.at[part] = scale;
}
