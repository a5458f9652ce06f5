#version 460
#extension GL_GOOGLE_include_directive : require
// dx = r · w · dy − x · r³ · mean(w · dy · x) with r = 1 / √(mean(x²) + ε), and dw = Σ dy · x · r. A workgroup takes a run of rows, one after the other, four elements for
// each invocation at a time, and leaves the run's share of dw to be added up.
#include "common.glsl"
#include "elements.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint X = F32;
layout(constant_id = 2) const uint WEIGHT = F32;
layout(constant_id = 3) const uint DY = F32;
layout(constant_id = 4) const uint DX = F32;
layout(constant_id = 5) const uint SPAN = 1; // quads of a row that an invocation takes

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats dy;
    Floats dx;
    Floats partial; // [runs, columns]
    uint rows;
    uint columns;
    float epsilon;
    uint run; // rows of a run
} push;

uint columnOf(uint j) { return 4 * (gl_LocalInvocationID.x + j * WORKGROUP); }

void main() {
    uint run = groupNumber(), first = run * push.run, last = min(push.rows, first + push.run);
    if (first >= last)
        return;
    vec4 dw[SPAN];
    for (uint j = 0; j < SPAN; j++)
        dw[j] = vec4(0);
    for (uint row = first; row < last; row++) {
        uint from = row * push.columns;
        float squares = 0, products = 0;
        for (uint j = 0; j < SPAN && columnOf(j) < push.columns; j++) {
            uint i = columnOf(j);
            int count = int(push.columns - i);
            vec4 x = readFour(push.x, from + i, count, X);
            squares += dot(x, x);
            products += dot(x, readFour(push.weight, i, count, WEIGHT) * readFour(push.dy, from + i, count, DY));
        }
        float scale = 1.0 / sqrt(sumOverWorkgroup(squares) / float(push.columns) + push.epsilon);
        float along = scale * scale * scale * (sumOverWorkgroup(products) / float(push.columns));
        for (uint j = 0; j < SPAN && columnOf(j) < push.columns; j++) {
            uint i = columnOf(j);
            int count = int(push.columns - i);
            vec4 x = readFour(push.x, from + i, count, X), scaled = scale * readFour(push.dy, from + i, count, DY);
            dw[j] += scaled * x;
            writeFour(push.dx, from + i, count, DX, readFour(push.weight, i, count, WEIGHT) * scaled - along * x);
        }
    }
    for (uint j = 0; j < SPAN && columnOf(j) < push.columns; j++)
        writeFour(push.partial, run * push.columns + columnOf(j), int(push.columns - columnOf(j)), WEIGHT, dw[j]);
}
