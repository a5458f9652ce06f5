// Work along the middle axis of [outer, extent, inner], where a line is one choice of the other two. A workgroup takes several lines, and LANES invocations share each.
// Neighbouring invocations are neighbours in memory: along the line where it is consecutive (inner = 1), across lines otherwise.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 1) const uint LANES = 1;

const uint MOST_INVOCATIONS = 256;

#define INFINITY uintBitsToFloat(0x7f800000u)

shared float partial[MOST_INVOCATIONS];

uint linesOfGroup() { return gl_WorkGroupSize.x / LANES; }

uint lineNumber(uint inner) {
    uint t = gl_LocalInvocationID.x;
    return groupNumber() * linesOfGroup() + (inner == 1 ? t / LANES : t % linesOfGroup());
}

uint laneNumber(uint inner) {
    uint t = gl_LocalInvocationID.x;
    return inner == 1 ? t % LANES : t / linesOfGroup();
}

// How far apart in `partial` the lanes of a line are.
uint laneDistance(uint inner) { return inner == 1 ? 1 : linesOfGroup(); }

// The larger number, or NaN where either is.
float larger(float a, float b) { return isNotANumber(a) || a > b ? a : b; }

float combine(float a, float b, bool maximum) { return maximum ? larger(a, b) : a + b; }

vec4 combine(vec4 a, vec4 b, bool maximum) {
    return maximum ? vec4(larger(a.x, b.x), larger(a.y, b.y), larger(a.z, b.z), larger(a.w, b.w)) : a + b;
}

// The sum or the maximum over a line's lanes, in a fixed order, for each of them. All invocations of the workgroup take part.
float overLanes(float value, uint inner, bool maximum) {
    if (LANES == 1)
        return value;
    uint t = gl_LocalInvocationID.x, lane = laneNumber(inner), distance = laneDistance(inner);
    partial[t] = value;
    barrier();
    for (uint reach = LANES / 2; reach > 0; reach /= 2) {
        if (lane < reach)
            partial[t] = combine(partial[t], partial[t + reach * distance], maximum);
        barrier();
    }
    value = partial[t - lane * distance];
    barrier();
    return value;
}
