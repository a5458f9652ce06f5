// y = apply(x), element by element, four for each invocation; the kernel that includes this defines apply().
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Vectors x;
    Vectors y;
    uint count;
    float a; // attributes of the operation, where it has any
    float b;
} push;

float apply(float x);

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count) {
        vec4 x = push.x.at[i];
        push.y.at[i] = vec4(apply(x.x), apply(x.y), apply(x.z), apply(x.w));
    } else {
        for (uint e = first; e < push.count; e++)
            Floats(push.y).at[e] = apply(Floats(push.x).at[e]);
    }
}
