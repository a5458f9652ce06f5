#version 460
#extension GL_GOOGLE_include_directive : require
// What a device's matrix units can do at best: 16 sums of 16 × 16 a subgroup, of operands that stay in registers. VulkanCeilings counts 16 products a turn.
#include "common.glsl"
#include "matrix.glsl"

layout(constant_id = 1) const uint SUBGROUP = 32;

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Packed { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Packed x; // 8 blocks of 16 × 16 for each subgroup
    Floats y; // a block for each subgroup
    uint turns;
} push;

void main() {
    uint subgroup = groupNumber() * (gl_WorkGroupSize.x / SUBGROUP) + gl_SubgroupID;
    LEFT_BLOCK left[4];
    RIGHT_BLOCK right[4];
    SUMS_BLOCK sums[4][4];
    [[unroll]] for (uint i = 0; i < 4; i++) {
        coopMatLoad(left[i], push.x.at, (subgroup * 8 + i) * 32, 2, gl_CooperativeMatrixLayoutRowMajor);
        coopMatLoad(right[i], push.x.at, (subgroup * 8 + 4 + i) * 32, 2, gl_CooperativeMatrixLayoutRowMajor);
        [[unroll]] for (uint j = 0; j < 4; j++)
            sums[i][j] = SUMS_BLOCK(0.0);
    }
    for (uint turn = 0; turn < push.turns; turn++)
        [[unroll]] for (uint i = 0; i < 4; i++)
            [[unroll]] for (uint j = 0; j < 4; j++)
                sums[i][j] = coopMatMulAdd(left[i], right[j], sums[i][j]);
    SUMS_BLOCK sum = SUMS_BLOCK(0.0);
    [[unroll]] for (uint i = 0; i < 4; i++)
        [[unroll]] for (uint j = 0; j < 4; j++)
            sum += sums[i][j];
    coopMatStore(sum, push.y.at, subgroup * 256, 16, gl_CooperativeMatrixLayoutRowMajor);
}
