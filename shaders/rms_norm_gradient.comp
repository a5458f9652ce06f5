#version 460
#extension GL_GOOGLE_include_directive : require
// dx = r · w · dy − x · r³ · mean(w · dy · x) + past with r = 1 / √(mean(x²) + ε), and dw = Σ dy · x · r. A workgroup takes a run of rows, one after the other, four elements for
// each invocation at a time, and leaves the run's share of dw to be added up.
#include "common.glsl"
#include "elements.glsl"
#include "raw.glsl"
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

// Of a row, four columns; those of the next row are read before the sums of this one are there.
struct Operands {
    uvec4 x;
    uvec4 dy;
    uvec4 past;
};

Operands read(uint row, uint j) {
    uint i = columnOf(j), from = row * push.columns + i;
    int count = int(push.columns - i);
    if (!IS_EXACT && i >= push.columns)
        return Operands(uvec4(0), uvec4(0), uvec4(0));
    return Operands(readRaw(push.x, from, count, X), readRaw(push.dy, from, count, DY), HAS_PAST ? readRaw(push.past, from, count, X) : uvec4(0));
}

void main() {
    uint run = groupNumber(), first = run * push.run, last = min(push.rows, first + push.run);
    if (first >= last)
        return;
    Operands next[SPAN], here[SPAN];
    vec4 dw[SPAN], weight[SPAN];
    [[unroll]] for (uint j = 0; j < SPAN; j++) {
        uint i = columnOf(j);
        dw[j] = vec4(0);
        weight[j] = IS_EXACT || i < push.columns ? readFour(push.weight, i, int(push.columns - i), WEIGHT) : vec4(0);
        next[j] = read(first, j);
    }
    for (uint row = first; row < last; row++) {
        vec2 sums = vec2(0); // of squares, and of products
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            here[j] = next[j];
            vec4 x = widenFour(here[j].x, X);
            sums += vec2(dot(x, x), dot(x, weight[j] * widenFour(here[j].dy, DY)));
        }
        [[unroll]] for (uint j = 0; j < SPAN; j++)
            next[j] = read(min(row + 1, last - 1), j);
        sums = sumOverWorkgroup(sums);
        float scale = 1.0 / sqrt(sums.x / float(push.columns) + push.epsilon), along = scale * scale * scale * (sums.y / float(push.columns));
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            uint i = columnOf(j);
            vec4 x = widenFour(here[j].x, X), scaled = scale * widenFour(here[j].dy, DY);
            dw[j] += scaled * x;
            if (IS_EXACT || i < push.columns)
                writeFour(push.dx, row * push.columns + i, int(push.columns - i), DX, weight[j] * scaled - along * x + widenFour(here[j].past, X));
        }
    }
    [[unroll]] for (uint j = 0; j < SPAN; j++)
        if (IS_EXACT || columnOf(j) < push.columns)
            writeFour(push.partial, run * push.columns + columnOf(j), int(push.columns - columnOf(j)), WEIGHT, dw[j]);
}
