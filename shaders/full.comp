// y = value everywhere; four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

layout(push_constant, scalar) uniform Push {
    WordVectors y;
    uint count;
    uint value;
} push;

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count) {
        push.y.at[i] = uvec4(push.value);
    } else {
        for (uint e = first; e < push.count; e++)
            Words(push.y).at[e] = push.value;
    }
}
