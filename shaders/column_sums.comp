#version 460
#extension GL_GOOGLE_include_directive : require
// The second half of a reduction over rows: the sums of the columns of a matrix of partial sums, always in the same order. The invocations of a workgroup are
// COLUMNS wide, so that neighbours read neighbouring columns, and divide the rows among them.
#include "common.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256;
layout(constant_id = 1) const uint COLUMNS = 32; // divides WORKGROUP

layout(push_constant, scalar) uniform Push {
    Floats partial; // [rows, pitch]
    Floats sums;
    uint rows;
    uint pitch;
    uint first;   // the first of the columns that are summed
    uint columns; // how many are
    uint inner;   // they are [columns / inner, inner], and are stored transposed, [inner, columns / inner]
} push;

const uint DEEP = WORKGROUP / COLUMNS;
// Loads under way at once.
const uint FLIGHT = 8;

shared float found[WORKGROUP];

void main() {
    uint id = gl_LocalInvocationID.x, column = groupNumber() * COLUMNS + id % COLUMNS;
    float sum = 0;
    if (column < push.columns) {
        for (uint row = id / COLUMNS; row < push.rows; row += FLIGHT * DEEP) {
            [[unroll]] for (uint i = 0; i < FLIGHT; i++) {
                float next = push.partial.at[min(row + i * DEEP, push.rows - 1) * push.pitch + push.first + column];
                sum += row + i * DEEP < push.rows ? next : 0;
            }
        }
    }
    if (DEEP > 1) {
        found[id] = sum;
        barrier();
        if (id >= COLUMNS)
            return;
        for (uint i = 1; i < DEEP; i++)
            sum += found[i * COLUMNS + id];
    }
    if (column < push.columns)
        push.sums.at[column % push.inner * (push.columns / push.inner) + column / push.inner] = sum;
}
