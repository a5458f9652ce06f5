#version 460
#extension GL_GOOGLE_include_directive : require
// Σ x² of a tensor, in as many parts as there are workgroups; the parts of tensor i are column i of a matrix whose columns are added up afterwards.
#include "common.glsl"
#include "workgroup.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats partial; // [workgroups, tensors]
    uint count;
    uint tensors;
    uint tensor;
} push;

// Loads under way at once.
const uint FLIGHT = 4;

void main() {
    uint quads = push.count / 4, stride = gl_NumWorkGroups.x * WORKGROUP, number = invocationNumber();
    vec4 sums = vec4(0);
    for (uint i = number; i < quads; i += FLIGHT * stride) {
        [[unroll]] for (uint j = 0; j < FLIGHT; j++) {
            vec4 x = Vectors(push.x).at[min(i + j * stride, quads - 1)];
            sums += i + j * stride < quads ? x * x : vec4(0);
        }
    }
    float rest = number < push.count % 4 ? push.x.at[4 * quads + number] : 0;
    float sum = sumOverWorkgroup(dot(sums, vec4(1)) + rest * rest);
    if (gl_LocalInvocationID.x == 0)
        push.partial.at[gl_WorkGroupID.x * push.tensors + push.tensor] = sum;
}
