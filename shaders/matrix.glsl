// Matrix units: blocks of 16 by 16 in bfloat16 that a subgroup multiplies, with sums of float32.
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#extension GL_EXT_bfloat16 : require

#define BLOCK(TYPE, USE) coopmat<TYPE, gl_ScopeSubgroup, 16, 16, USE>
#define LEFT_BLOCK BLOCK(bfloat16_t, gl_MatrixUseA)
#define RIGHT_BLOCK BLOCK(bfloat16_t, gl_MatrixUseB)
#define SUMS_BLOCK BLOCK(float, gl_MatrixUseAccumulator)

// Four numbers rounded to bfloat16, to the nearest, ties away from zero. Of NaN the addition could make a number.
uvec2 rounded(vec4 value) {
    uvec4 bits = floatBitsToUint(value) + 0x8000u;
    if (isnan(value.x + value.y + value.z + value.w))
        bits = mix(bits, uvec4(0x7FC00000u), isnan(value));
    return uvec2(bits.x >> 16 | (bits.y & 0xFFFF0000u), bits.z >> 16 | (bits.w & 0xFFFF0000u));
}
