#version 460
#extension GL_GOOGLE_include_directive : require
// With s = silu(gate), r = 1 / √(mean(v²) + ε), v = x · s and g = w · dy: dv = r · g − v · r³ · mean(g · v), dx = dv · s, dgate = dv · x · s′. With the norm before
// the gate, v = x and g = w · dy · s: dx = dv, dgate = w · dy · x · r · s′. dw = Σ dy · x · s · r in both. A workgroup takes one group of a run of rows, one after the other,
// four elements for each invocation at a time, and leaves the run's share of dw to be added up.
#include "common.glsl"
#include "elements.glsl"
#include "raw.glsl"
#include "gates.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const bool NORM_BEFORE_GATE = false;
layout(constant_id = 2) const uint X = F32; // and dx
layout(constant_id = 3) const uint GATE = F32; // and dgate
layout(constant_id = 4) const uint WEIGHT = F32;
layout(constant_id = 5) const uint DY = F32;
layout(constant_id = 6) const uint SPAN = 1; // quads of a group that an invocation takes
layout(constant_id = 7) const bool IS_EXACT = false; // all of them in it

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats gate;
    Floats weight;
    Floats dy;
    Floats dx;
    Floats dgate;
    Floats partial; // [runs, columns]
    uint rows;
    uint groups;
    uint width; // elements of a group
    float epsilon;
    uint run; // rows of a run
} push;

uint columnOf(uint j) { return 4 * (gl_LocalInvocationID.x + j * WORKGROUP); }

// Of a row, four columns; those of the next row are read before the sums of this one are there.
struct Operands {
    uvec4 x;
    uvec4 gate;
    uvec4 dy;
};

Operands read(uint from, uint j) {
    uint i = columnOf(j);
    int count = int(push.width - i);
    if (!IS_EXACT && i >= push.width)
        return Operands(uvec4(0), uvec4(0), uvec4(0));
    return Operands(readRaw(push.x, from + i, count, X), readRaw(push.gate, from + i, count, GATE), readRaw(push.dy, from + i, count, DY));
}

void main() {
    uint group = groupNumber() % push.groups, run = groupNumber() / push.groups, first = run * push.run, last = min(push.rows, first + push.run), column = group * push.width;
    if (first >= last)
        return;
    Operands next[SPAN], here[SPAN];
    vec4 dw[SPAN], weight[SPAN];
    [[unroll]] for (uint j = 0; j < SPAN; j++) {
        uint i = columnOf(j);
        dw[j] = vec4(0);
        weight[j] = IS_EXACT || i < push.width ? readFour(push.weight, column + i, int(push.width - i), WEIGHT) : vec4(0);
        next[j] = read((first * push.groups + group) * push.width, j);
    }
    for (uint row = first; row < last; row++) {
        uint from = (row * push.groups + group) * push.width, following = (min(row + 1, last - 1) * push.groups + group) * push.width;
        vec2 sums = vec2(0); // of squares, and of products
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            here[j] = next[j];
            vec4 x = widenFour(here[j].x, X), gated = x * silu(widenFour(here[j].gate, GATE), GATE), v = NORM_BEFORE_GATE ? x : gated;
            sums += vec2(dot(v, v), dot(weight[j] * widenFour(here[j].dy, DY), gated));
        }
        [[unroll]] for (uint j = 0; j < SPAN; j++)
            next[j] = read(following, j);
        sums = sumOverWorkgroup(sums);
        float scale = 1.0 / sqrt(sums.x / float(push.width) + push.epsilon), along = scale * scale * scale * (sums.y / float(push.width));
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            uint i = columnOf(j);
            int count = int(push.width - i);
            vec4 x = widenFour(here[j].x, X), gate = widenFour(here[j].gate, GATE), dy = scale * widenFour(here[j].dy, DY);
            vec4 g = weight[j] * dy, s = silu(gate, GATE), slope = siluDerivative(gate, GATE), dv = NORM_BEFORE_GATE ? g * s - along * x : g - along * x * s;
            dw[j] += dy * x * s;
            if (IS_EXACT || i < push.width) {
                writeFour(push.dx, from + i, count, X, NORM_BEFORE_GATE ? dv : dv * s);
                writeFour(push.dgate, from + i, count, GATE, (NORM_BEFORE_GATE ? g : dv) * x * slope);
            }
        }
    }
    [[unroll]] for (uint j = 0; j < SPAN; j++)
        if (IS_EXACT || columnOf(j) < push.width)
            writeFour(push.partial, (run * push.groups + group) * push.width + columnOf(j), int(push.width - columnOf(j)), WEIGHT, dw[j]);
}
