// y = x as float32, for integers x; four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

layout(push_constant, scalar) uniform Push {
    WordVectors x;
    Vectors y;
    uint count;
} push;

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count) {
        push.y.at[i] = vec4(ivec4(push.x.at[i]));
    } else {
        for (uint e = first; e < push.count; e++)
            Floats(push.y).at[e] = float(int(Words(push.x).at[e]));
    }
}
