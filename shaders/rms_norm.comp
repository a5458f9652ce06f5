#version 460
#extension GL_GOOGLE_include_directive : require
// y = w · x / √(mean(x²) + ε): a workgroup for each row, which its invocations hold in registers unless it is too long.
#include "common.glsl"
#include "elements.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const uint X = F32;
layout(constant_id = 2) const uint WEIGHT = F32;
layout(constant_id = 3) const uint Y = F32;
layout(constant_id = 4) const uint SPAN = 1; // quads of a row that an invocation takes
layout(constant_id = 5) const bool IS_EXACT = false; // all of them in the row

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats y;
    uint rows;
    uint columns;
    float epsilon;
} push;

const bool HOLDS = SPAN <= 12;

uint columnOf(uint j) { return 4 * (gl_LocalInvocationID.x + j * WORKGROUP); }

void main() {
    uint row = groupNumber(), from = row * push.columns;
    if (row >= push.rows)
        return;
    float sum = 0;
    vec4 held[HOLDS ? SPAN : 1];
    if (HOLDS) {
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            uint i = columnOf(j);
            held[j] = IS_EXACT || i < push.columns ? readFour(push.x, from + i, int(push.columns - i), X) : vec4(0);
        }
        [[unroll]] for (uint j = 0; j < SPAN; j++)
            sum += dot(held[j], held[j]);
    } else {
        for (uint i = columnOf(0); i < push.columns; i += 4 * WORKGROUP) {
            vec4 x = readFour(push.x, from + i, int(push.columns - i), X);
            sum += dot(x, x);
        }
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(sum) / float(push.columns) + push.epsilon);
    if (HOLDS) {
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            uint i = columnOf(j);
            int count = int(push.columns - i);
            if (IS_EXACT || i < push.columns)
                writeFour(push.y, from + i, count, Y, held[j] * scale * readFour(push.weight, i, count, WEIGHT));
        }
    } else {
        for (uint i = columnOf(0); i < push.columns; i += 4 * WORKGROUP) {
            int count = int(push.columns - i);
            writeFour(push.y, from + i, count, Y, readFour(push.x, from + i, count, X) * scale * readFour(push.weight, i, count, WEIGHT));
        }
    }
}
