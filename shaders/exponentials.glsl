// What log-sum-exp and softmax share: a line's maximum, and the sum of e^(x − maximum).
#include "lines.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    uint lines;
    uint extent;
    uint inner;
} push;

struct Line {
    uint number;
    uint lane;
    uint base; // of its first element in x
    uint extent; // 0 where there is no such line
};

Line thisLine() {
    uint number = lineNumber(push.inner);
    return Line(number, laneNumber(push.inner), number / push.inner * push.extent * push.inner + number % push.inner, number < push.lines ? push.extent : 0);
}

float maximumOf(Line line) {
    float maximum = -INFINITY;
    for (uint i = line.lane; i < line.extent; i += LANES)
        maximum = larger(maximum, push.x.at[line.base + i * push.inner]);
    return overLanes(maximum, push.inner, true);
}

float sumOf(Line line, float maximum) {
    float sum = 0.0;
    for (uint i = line.lane; i < line.extent; i += LANES)
        sum += accurateExp(push.x.at[line.base + i * push.inner] - maximum);
    return overLanes(sum, push.inner, false);
}
