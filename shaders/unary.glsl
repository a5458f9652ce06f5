// y = apply(x), element by element; the kernel that includes this defines apply().
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    uint count;
    float a; // attributes of the operation, where it has any
    float b;
} push;

float apply(float x);

void main() {
    uint i = invocationNumber();
    if (i < push.count)
        push.y.at[i] = apply(push.x.at[i]);
}
