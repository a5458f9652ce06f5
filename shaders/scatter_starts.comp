// starts[r] = the number of sorted pairs of rows below r, for r up to and including the number of rows.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "scatter.glsl"

layout(push_constant, scalar) uniform Push {
    Pairs sorted;
    Words starts;
    uint count;
    uint rows;
} push;

void main() {
    uint row = invocationNumber();
    if (row <= push.rows)
        push.starts.at[row] = countBelow(push.sorted, 0, push.count, row);
}
