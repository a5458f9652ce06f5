// One number for each segment of each line: y[outer, segment, inner] = Σ or max of x[outer, i, inner] over the i of the segment.
// The kernel that includes this defines MAXIMUM.
#include "lines.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    uint lines; // of the result: outer · segments · inner
    uint extent;
    uint inner;
    uint segments;
    uint segment;
} push;

void main() {
    uint line = lineNumber(push.inner), lane = laneNumber(push.inner);
    vec4 total = vec4(MAXIMUM ? -INFINITY : 0.0);
    if (line < push.lines) {
        uint column = line % push.inner, part = line / push.inner % push.segments, outer = line / push.inner / push.segments;
        uint first = part * push.segment, last = min(push.extent, first + push.segment);
        uint base = outer * push.extent * push.inner + column;
        if (push.inner == 1 && push.extent % 4 == 0 && push.segment % 4 == 0) {
            for (uint i = first / 4 + lane; i < last / 4; i += LANES)
                total = combine(total, Vectors(push.x).at[base / 4 + i], MAXIMUM);
        } else {
            uint i = first + lane, pitch = LANES * push.inner;
            for (; i + 3 * LANES < last; i += 4 * LANES) {
                uint at = base + i * push.inner;
                total = combine(total, vec4(push.x.at[at], push.x.at[at + pitch], push.x.at[at + 2 * pitch], push.x.at[at + 3 * pitch]), MAXIMUM);
            }
            for (; i < last; i += LANES)
                total.x = combine(total.x, push.x.at[base + i * push.inner], MAXIMUM);
        }
    }
    float result = overLanes(combine(combine(total.x, total.y, MAXIMUM), combine(total.z, total.w, MAXIMUM), MAXIMUM), push.inner, MAXIMUM);
    if (line < push.lines && lane == 0)
        push.y.at[line] = result;
}
