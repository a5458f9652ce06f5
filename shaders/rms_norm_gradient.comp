#version 460
#extension GL_GOOGLE_include_directive : require
// dx = r · w · dy − x · r³ · mean(w · dy · x) with r = 1 / √(mean(x²) + ε): a workgroup for each row. The r of each row is kept for the derivative of the weight.
#include "common.glsl"
#include "workgroup.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats dy;
    Floats dx;
    Floats scales; // [rows]
    uint rows;
    uint columns;
    float epsilon;
} push;

void main() {
    uint row = groupNumber(), from = row * push.columns;
    if (row >= push.rows)
        return;
    float squares = 0, products = 0;
    for (uint i = gl_LocalInvocationID.x; i < push.columns; i += WORKGROUP) {
        float x = push.x.at[from + i];
        squares = fma(x, x, squares);
        products = fma(x, push.weight.at[i] * push.dy.at[from + i], products);
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(squares) / float(push.columns) + push.epsilon);
    float along = scale * scale * scale * (sumOverWorkgroup(products) / float(push.columns));
    for (uint i = gl_LocalInvocationID.x; i < push.columns; i += WORKGROUP)
        push.dx.at[from + i] = scale * push.weight.at[i] * push.dy.at[from + i] - along * push.x.at[from + i];
    if (gl_LocalInvocationID.x == 0)
        push.scales.at[row] = scale;
}
