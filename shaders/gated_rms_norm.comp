#version 460
#extension GL_GOOGLE_include_directive : require
// y = w · v / √(mean(v²) + ε) with v = x · silu(gate), or the norm of x gated afterwards; a workgroup for each group of each row, which its
// invocations hold in registers unless it is too long.
#include "common.glsl"
#include "elements.glsl"
#include "gates.glsl"
#include "workgroup.glsl"

layout(constant_id = 1) const bool NORM_BEFORE_GATE = false;
layout(constant_id = 2) const uint X = F32;
layout(constant_id = 3) const uint GATE = F32;
layout(constant_id = 4) const uint WEIGHT = F32;
layout(constant_id = 5) const uint Y = F32;
layout(constant_id = 6) const uint SPAN = 1; // quads of a group that an invocation takes
layout(constant_id = 7) const bool IS_EXACT = false; // all of them in the group

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats gate;
    Floats weight;
    Floats y;
    uint parts; // rows · groups
    uint groups;
    uint width; // elements of a group
    float epsilon;
} push;

const bool HOLDS = SPAN <= 12;

uint columnOf(uint j) { return 4 * (gl_LocalInvocationID.x + j * WORKGROUP); }

void main() {
    uint part = groupNumber(), from = part * push.width, column = part % push.groups * push.width;
    if (part >= push.parts)
        return;
    float sum = 0;
    vec4 held[HOLDS ? SPAN : 1], gates[HOLDS ? SPAN : 1];
    if (HOLDS) {
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            uint i = columnOf(j);
            bool isThere = IS_EXACT || i < push.width;
            held[j] = isThere ? readFour(push.x, from + i, int(push.width - i), X) : vec4(0);
            gates[j] = isThere ? readFour(push.gate, from + i, int(push.width - i), GATE) : vec4(0);
        }
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            vec4 gated = held[j] * silu(gates[j], Y), v = NORM_BEFORE_GATE ? held[j] : gated;
            held[j] = gated;
            sum += dot(v, v);
        }
    } else {
        for (uint i = columnOf(0); i < push.width; i += 4 * WORKGROUP) {
            int count = int(push.width - i);
            vec4 v = readFour(push.x, from + i, count, X);
            if (!NORM_BEFORE_GATE)
                v *= silu(readFour(push.gate, from + i, count, GATE), Y);
            sum += dot(v, v);
        }
    }
    float scale = 1.0 / sqrt(sumOverWorkgroup(sum) / float(push.width) + push.epsilon);
    if (HOLDS) {
        [[unroll]] for (uint j = 0; j < SPAN; j++) {
            uint i = columnOf(j);
            int count = int(push.width - i);
            if (IS_EXACT || i < push.width)
                writeFour(push.y, from + i, count, Y, held[j] * readFour(push.weight, column + i, count, WEIGHT) * scale);
        }
    } else {
        for (uint i = columnOf(0); i < push.width; i += 4 * WORKGROUP) {
            int count = int(push.width - i);
            vec4 gated = readFour(push.x, from + i, count, X) * silu(readFour(push.gate, from + i, count, GATE), Y);
            writeFour(push.y, from + i, count, Y, gated * readFour(push.weight, column + i, count, WEIGHT) * scale);
        }
    }
}
