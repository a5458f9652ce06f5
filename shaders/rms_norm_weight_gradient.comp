#version 460
#extension GL_GOOGLE_include_directive : require
// dw = Σ dy · x · r over the rows, times silu(gate) where there is one: an invocation for each column and each run of rows. The runs' sums are added afterwards.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 1) const bool GATED = false;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats gate; // x again where there is none
    Floats dy;
    Floats scales;  // [rows, groups]
    Floats partial; // [runs, columns]
    uint rows;
    uint columns;
    uint groups;
    uint run; // rows of a run
    uint runs;
} push;

void main() {
    uint i = invocationNumber(), run = i / push.columns, column = i % push.columns, group = column / (push.columns / push.groups);
    if (run >= push.runs)
        return;
    float sum = 0;
    for (uint row = run * push.run; row < min(push.rows, (run + 1) * push.run); row++) {
        uint at = row * push.columns + column;
        float term = push.dy.at[at] * push.x.at[at] * push.scales.at[row * push.groups + group];
        if (GATED)
            term *= silu(push.gate.at[at]);
        sum += term;
    }
    push.partial.at[i] = sum;
}
