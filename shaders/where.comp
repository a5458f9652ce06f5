// z = condition ≠ 0 ? x : y, for three tensors of one shape; four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

layout(push_constant, scalar) uniform Push {
    WordVectors condition;
    WordVectors x;
    WordVectors y;
    WordVectors z;
    uint count;
    uint mask; // the bits that make a condition differ from 0: all but the sign where it is a float
} push;

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count) {
        push.z.at[i] = mix(push.y.at[i], push.x.at[i], notEqual(push.condition.at[i] & push.mask, uvec4(0)));
    } else {
        for (uint e = first; e < push.count; e++)
            Words(push.z).at[e] = (Words(push.condition).at[e] & push.mask) != 0 ? Words(push.x).at[e] : Words(push.y).at[e];
    }
}
