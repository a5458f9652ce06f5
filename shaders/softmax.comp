#version 460
#extension GL_GOOGLE_include_directive : require
#include "exponentials.glsl"

void main() {
    Line line = thisLine();
    float maximum = maximumOf(line), sum = sumOf(line, maximum);
    for (uint i = line.lane; i < line.extent; i += LANES) {
        uint at = line.base + i * push.inner;
        push.y.at[at] = accurateExp(push.x.at[at] - maximum) / sum;
    }
}
