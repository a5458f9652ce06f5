// z = apply(x, y), element by element with broadcasting, four for each invocation; the kernel that includes this defines apply().
// Axes come merged, the innermost first; along that one an operand is either consecutive or constant, so that four neighbours are one load where they share a run.
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats y;
    Vectors z;
    uint count;
    uint rank;
    uint extents[8];
    uint xStrides[8];
    uint yStrides[8];
} push;

float apply(float x, float y);

// Where element e of the result comes from in x and y.
uvec2 sources(uint e) {
    uint column = e % push.extents[0], row = e / push.extents[0];
    uvec2 offset = column * uvec2(push.xStrides[0], push.yStrides[0]);
    for (uint axis = 1; axis < push.rank; axis++) {
        offset += row % push.extents[axis] * uvec2(push.xStrides[axis], push.yStrides[axis]);
        row /= push.extents[axis];
    }
    return offset;
}

vec4 load(Floats from, uint offset, uint stride) {
    return stride == 0 ? vec4(from.at[offset]) : Vectors(from).at[offset / 4];
}

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first + 4 <= push.count && (push.rank == 1 || push.extents[0] % 4 == 0)) {
        uvec2 from = sources(first);
        vec4 x = load(push.x, from.x, push.xStrides[0]), y = load(push.y, from.y, push.yStrides[0]);
        push.z.at[i] = vec4(apply(x.x, y.x), apply(x.y, y.y), apply(x.z, y.z), apply(x.w, y.w));
    } else {
        for (uint e = first; e < min(first + 4, push.count); e++) {
            uvec2 from = sources(e);
            Floats(push.z).at[e] = apply(push.x.at[from.x], push.y.at[from.y]);
        }
    }
}
