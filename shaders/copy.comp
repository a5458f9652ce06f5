// y[target + Σ iₐ · targetStrideₐ] = x[source + Σ iₐ · sourceStrideₐ] for all indices i: what broadcasting, slicing, splitting, concatenating and permuting come to.
// Axes come merged, the innermost first. Each invocation copies four elements.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"

// Whether four neighbours along axis 0 always are consecutive or equal in x, consecutive in y, and aligned in both.
layout(constant_id = 1) const uint VECTORS = 0;

layout(push_constant, scalar) uniform Push {
    Words x;
    Words y;
    uint count;
    uint rank;
    uint source;
    uint target;
    uint extents[8];
    uint sourceStrides[8];
    uint targetStrides[8];
} push;

// Where element e of those to be copied lies in x and in y.
uvec2 places(uint e) {
    uvec2 place = uvec2(push.source, push.target);
    for (uint axis = 0; axis < push.rank; axis++) {
        place += e % push.extents[axis] * uvec2(push.sourceStrides[axis], push.targetStrides[axis]);
        e /= push.extents[axis];
    }
    return place;
}

void main() {
    uint first = 4 * invocationNumber();
    if (VECTORS != 0) {
        if (first < push.count) {
            uvec2 place = places(first);
            WordVectors(push.y).at[place.y / 4] = push.sourceStrides[0] == 0 ? uvec4(push.x.at[place.x]) : WordVectors(push.x).at[place.x / 4];
        }
    } else {
        for (uint e = first; e < min(first + 4, push.count); e++) {
            uvec2 place = places(e);
            push.y.at[place.y] = push.x.at[place.x];
        }
    }
}
