// y[r] = Σ of the values whose positions are sorted to row r. An invocation adds one column, or four neighbouring ones; LANES of them share a sum where rows have many terms.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "scatter.glsl"

layout(constant_id = 1) const uint LANES = 1;
layout(constant_id = 2) const uint VECTORS = 0; // whether columns come in fours

layout(push_constant, scalar) uniform Push {
    Floats values;
    Pairs sorted;
    Words starts;
    Floats y;
    uint count; // sums: rows · columns, or a quarter of that
    uint columns; // or a quarter of them
} push;

shared vec4 partial[BLOCK];

vec4 value(uint i, uint column) {
    uint at = push.sorted.at[i].y * push.columns + column;
    return VECTORS != 0 ? Vectors(push.values).at[at] : vec4(push.values.at[at], 0, 0, 0);
}

void main() {
    uint t = gl_LocalInvocationID.x, sums = gl_WorkGroupSize.x / LANES, lane = t / sums, number = groupNumber() * sums + t % sums;
    vec4 sum = vec4(0);
    if (number < push.count) {
        uint row = number / push.columns, column = number % push.columns;
        uint i = push.starts.at[row] + lane, end = push.starts.at[row + 1];
        for (; i + 3 * LANES < end; i += 4 * LANES)
            sum += (value(i, column) + value(i + LANES, column)) + (value(i + 2 * LANES, column) + value(i + 3 * LANES, column));
        for (; i < end; i += LANES)
            sum += value(i, column);
    }
    if (LANES > 1) {
        partial[t] = sum;
        barrier();
        for (uint other = 1; lane == 0 && other < LANES; other++)
            sum += partial[t + other * sums];
    }
    if (number < push.count && lane == 0) {
        if (VECTORS != 0)
            Vectors(push.y).at[number] = sum;
        else
            push.y.at[number] = sum.x;
    }
}
