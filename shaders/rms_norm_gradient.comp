#version 460
#extension GL_GOOGLE_include_directive : require
// dx = r · w · dy − x · r³ · mean(w · dy · x) + past with r = 1 / √(mean(x²) + ε), and dw = Σ dy · x · r. A workgroup takes a run of rows, one after the other, four elements for
// each invocation at a time, and leaves the run's share of dw to be added up.
#include "common.glsl"
#include "elements.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint X = F32;
layout(constant_id = 2) const uint WEIGHT = F32;
layout(constant_id = 3) const uint DY = F32;
layout(constant_id = 4) const uint DX = F32;
layout(constant_id = 5) const bool HAS_PAST = false;
layout(constant_id = 6) const uint SPAN = 1; // quads of a row that an invocation takes
layout(constant_id = 7) const bool IS_EXACT = false; // all of them in it

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats dy;
    Floats past; // as x; without, any address
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
        vec2 sums = vec2(0); // of squares, and of products
        vec4 xs[SPAN], dys[SPAN], pasts[SPAN];
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            if (!IS_EXACT && columnOf(j) >= push.columns)
                break;
            uint i = columnOf(j);
            int count = int(push.columns - i);
            xs[j] = readFour(push.x, from + i, count, X);
            dys[j] = readFour(push.dy, from + i, count, DY);
            pasts[j] = HAS_PAST ? readFour(push.past, from + i, count, X) : vec4(0);
            sums += vec2(dot(xs[j], xs[j]), dot(xs[j], readFour(push.weight, i, count, WEIGHT) * dys[j]));
        }
        sums = sumOverWorkgroup(sums);
        float scale = 1.0 / sqrt(sums.x / float(push.columns) + push.epsilon), along = scale * scale * scale * (sums.y / float(push.columns));
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            if (!IS_EXACT && columnOf(j) >= push.columns)
                break;
            uint i = columnOf(j);
            int count = int(push.columns - i);
            vec4 scaled = scale * dys[j];
            dw[j] += scaled * xs[j];
            writeFour(push.dx, from + i, count, DX, readFour(push.weight, i, count, WEIGHT) * scaled - along * xs[j] + pasts[j]);
        }
    }
    for (uint j = 0; j < SPAN && columnOf(j) < push.columns; j++)
        writeFour(push.partial, run * push.columns + columnOf(j), int(push.columns - columnOf(j)), WEIGHT, dw[j]);
}
