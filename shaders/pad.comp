// Rows of `middle` elements of x become rows of `before` + `middle` + … = `width` elements of y; the new ones are `value`. Four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

layout(push_constant, scalar) uniform Push {
    Words x;
    WordVectors y;
    uint count; // of y
    uint width;
    uint before;
    uint middle;
    uint value;
} push;

uint element(uint e) {
    uint row = e / push.width, column = e % push.width - push.before; // wraps around in front of the middle
    return column < push.middle ? push.x.at[row * push.middle + column] : push.value;
}

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count) {
        push.y.at[i] = uvec4(element(first), element(first + 1), element(first + 2), element(first + 3));
    } else {
        for (uint e = first; e < push.count; e++)
            Words(push.y).at[e] = element(e);
    }
}
