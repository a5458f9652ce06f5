#version 460
#extension GL_GOOGLE_include_directive : require
// z = x + y for tensors of one shape, some of 16 bits; four elements for each invocation.
#include "common.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint X = BF16;
layout(constant_id = 2) const uint Y = BF16;
layout(constant_id = 3) const uint Z = BF16;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    Floats z;
    uint count;
} push;

void main() {
    uint first = 4 * invocationNumber();
    if (first < push.count)
        writeFour(push.z, first, 4, Z, readFour(push.x, first, 4, X) + readFour(push.y, first, 4, Y));
}
