// Running sums along lines, from either end. A lane adds up its block of a line, then the blocks before it are added by a scan over the lanes, then it writes its block.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "lines.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    uint lines;
    uint extent;
    uint inner;
    uint reverse;
} push;

uint place(uint base, uint i) { return base + (push.reverse != 0 ? push.extent - 1 - i : i) * push.inner; }

void main() {
    uint line = lineNumber(push.inner), lane = laneNumber(push.inner), base = line / push.inner * push.extent * push.inner + line % push.inner;
    uint block = (push.extent + LANES - 1) / LANES, first = min(push.extent, lane * block), last = line < push.lines ? min(push.extent, first + block) : 0;
    float sum = 0.0;
    if (LANES > 1) {
        for (uint i = first; i < last; i++)
            sum += push.x.at[place(base, i)];
        uint t = gl_LocalInvocationID.x, distance = laneDistance(push.inner);
        partial[t] = sum;
        barrier();
        for (uint step = 1; step < LANES; step *= 2) {
            float before = lane >= step ? partial[t - step * distance] : 0.0;
            barrier();
            partial[t] += before;
            barrier();
        }
        sum = lane > 0 ? partial[t - distance] : 0.0;
    }
    for (uint i = first; i < last; i++) {
        sum += push.x.at[place(base, i)];
        push.y.at[place(base, i)] = sum;
    }
}
