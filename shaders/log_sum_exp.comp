#version 460
#extension GL_GOOGLE_include_directive : require
#include "exponentials.glsl"

void main() {
    Line line = thisLine();
    float maximum = maximumOf(line), sum = sumOf(line, maximum);
    if (line.extent > 0 && line.lane == 0)
        push.y.at[line.number] = isInfinite(maximum) ? maximum : maximum + accurateLog(sum);
}
