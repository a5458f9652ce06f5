#version 460
#extension GL_GOOGLE_include_directive : require
// C = A · B for a few rows of A, where reading B [K, N] is what takes the time: a workgroup reads 8 vectors side by side of every row in its share of the inner
// axis, each invocation those of every 32nd row; their sums are added in shared memory.
#include "common.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256; // no other number
layout(constant_id = 1) const uint ROWS = 1;

layout(push_constant, scalar) uniform Push {
    Floats a;  // [batches, ROWS, k]
    Vectors b; // [batches, k, n]
    Vectors c; // [splits, batches, ROWS, n]
    uint vectors; // n / 4
    uint k;
    uint columnGroups;
    uint batches;
    uint splits;
    uint splitLength;
    uint batchA; // elements of A, vectors of B, from one matrix to the next; 0 where all batches share one
    uint batchB;
} push;

const uint WIDE = 8, DEEP = WORKGROUP / WIDE;

shared vec4 found[WORKGROUP];

void main() {
    uint group = groupNumber();
    if (group >= push.columnGroups * push.batches * push.splits)
        return;
    uint plane = group / push.columnGroups, batch = plane % push.batches, split = plane / push.batches;
    uint id = gl_LocalInvocationID.x, column = group % push.columnGroups * WIDE + id % WIDE, from = min(column, push.vectors - 1);
    uint end = min(push.k, (split + 1) * push.splitLength), fromA = batch * push.batchA, fromB = batch * push.batchB + from;
    vec4 sums[ROWS];
    [[unroll]] for (uint row = 0; row < ROWS; row++)
        sums[row] = vec4(0);
    for (uint k = split * push.splitLength + id / WIDE; k < end; k += DEEP) {
        vec4 b = push.b.at[fromB + k * push.vectors];
        [[unroll]] for (uint row = 0; row < ROWS; row++)
            sums[row] = fma(vec4(push.a.at[fromA + row * push.k + k]), b, sums[row]);
    }
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        found[id] = sums[row];
        barrier();
        if (id < WIDE && column < push.vectors) {
            vec4 sum = found[id];
            for (uint k = 1; k < DEEP; k++)
                sum += found[k * WIDE + id];
            push.c.at[(plane * ROWS + row) * push.vectors + column] = sum;
        }
        barrier();
    }
}
