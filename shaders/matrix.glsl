// Matrix units: blocks of 16 by 16 in bfloat16, or with HALF defined in float16, that a subgroup multiplies, with sums of float32.
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_KHR_shader_subgroup_basic : require
#extension GL_KHR_shader_subgroup_shuffle : require
#ifdef HALF
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require
#define OPERAND_TYPE float16_t
#define NATIVE F16
#else
#extension GL_EXT_bfloat16 : require
#define OPERAND_TYPE bfloat16_t
#define NATIVE BF16
#endif

#define BLOCK(TYPE, USE) coopmat<TYPE, gl_ScopeSubgroup, 16, 16, USE>
#define LEFT_BLOCK BLOCK(OPERAND_TYPE, gl_MatrixUseA)
#define RIGHT_BLOCK BLOCK(OPERAND_TYPE, gl_MatrixUseB)
#define SUMS_BLOCK BLOCK(float, gl_MatrixUseAccumulator)

#ifdef HALF

uvec2 rounded(vec4 value) { return uvec2(packFloat2x16(f16vec2(value.xy)), packFloat2x16(f16vec2(value.zw))); }

vec4 widened(uvec2 four) { return vec4(unpackFloat2x16(four.x), unpackFloat2x16(four.y)); }

#else

// Four numbers rounded to bfloat16, to the nearest, ties away from zero. Of NaN the addition could make a number.
uvec2 rounded(vec4 value) {
    uvec4 bits = floatBitsToUint(value) + 0x8000u;
    if (isnan(value.x + value.y + value.z + value.w))
        bits = mix(bits, uvec4(0x7FC00000u), isnan(value));
    return uvec2(bits.x >> 16 | (bits.y & 0xFFFF0000u), bits.z >> 16 | (bits.w & 0xFFFF0000u));
}

vec4 widened(uvec2 four) { return uintBitsToFloat(uvec4(four.x << 16, four.x & 0xFFFF0000u, four.y << 16, four.y & 0xFFFF0000u)); }

#endif
