// Merges pairs of neighbouring sorted runs: an element's place is its own number in its run plus the number of the other run's that come before it.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "scatter.glsl"

layout(push_constant, scalar) uniform Push {
    Pairs runs;
    Pairs merged;
    uint count;
    uint run; // elements of a run
} push;

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    uvec2 pair = push.runs.at[i];
    uint run = i / push.run, other = min(push.count, (run ^ 1) * push.run);
    // Equal rows of the left run come first.
    uint before = countBelow(push.runs, other, min(push.count, other + push.run), pair.x + (run & 1));
    push.merged.at[run / 2 * 2 * push.run + i % push.run + before] = pair;
}
