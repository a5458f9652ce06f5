#version 460
#extension GL_GOOGLE_include_directive : require
// A step of the ladder that was not taken: C = A · B by matrices of a whole workgroup (NVIDIA's cooperative matrices 2), which the driver brings to registers as it likes. It takes the push
// constants of shaders/matmul_cooperative.comp, does without shared memory of its own, and is half as long. The compiler has to be told that offsets and row lengths are multiples of 8, or it
// loads element by element; slices are unrolled, so that it can begin loads early.
// In turn with that kernel as candidates of one tuner, H200, driver 580.159, bfloat16 4096³, TFLOP/s, this (best of its tiles) beside that: A·B 298 / 308, A·Bᵀ 290 / 289 (295 turned),
// Aᵀ·B 323 / 330; three products for float32 A·B 105 / 119, Aᵀ·B 114 / 123. On the products of the 130m shape (benches/README.md) slower, 226 to 283 beside 263 to 301, but for the head's gradients, 319 / 306 and
// 350 / 338. So the library has one kernel for all vendors.
//   glslc --target-env=vulkan1.3 -I shaders tools/kernels/matmul_cooperative2.comp
#pragma use_vulkan_memory_model
#extension GL_KHR_memory_scope_semantics : require
#extension GL_KHR_cooperative_matrix : require
#extension GL_NV_cooperative_matrix2 : require
#extension GL_EXT_bfloat16 : require
#include "common.glsl"
#include "narrow.glsl"

layout(constant_id = 0) const uint WORKGROUP = 128;
layout(constant_id = 1) const uint BM = 128;
layout(constant_id = 2) const uint BN = 128;
layout(constant_id = 3) const uint BK = 32;
layout(constant_id = 4) const uint UNROLL = 16;
layout(constant_id = 5) const bool TRANSPOSE_A = false;
layout(constant_id = 6) const bool TRANSPOSE_B = false;
layout(constant_id = 7) const uint PITCH_A = 128; // row lengths as they lie in memory, multiples of 8
layout(constant_id = 8) const uint PITCH_B = 128;
layout(constant_id = 9) const uint PARTS = 1;
layout(constant_id = 10) const uint RESULT = F32; // or the type of the operands

layout(buffer_reference, scalar, buffer_reference_align = 16) readonly buffer Packed { uvec4 at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Halves { uint at[]; };

layout(push_constant, scalar) uniform Push {
    Packed a;
    Packed b;
    Floats c; // [splits, batches, m, n]
    uint m;
    uint n;
    uint k; // a multiple of 8
    uint tilesM;
    uint tilesN;
    uint batches;
    uint splits;
    uint splitLength; // a multiple of BK
    uint batchA;      // elements from one matrix to the next; 0 where all batches share one
    uint batchB;
    uint restA; // elements from the rounded parts to the rests
    uint restB;
} push;

const uint RASTER = 8;

#define LEFT coopmat<bfloat16_t, gl_ScopeWorkgroup, BM, BK, gl_MatrixUseA>
#define RIGHT coopmat<bfloat16_t, gl_ScopeWorkgroup, BK, BN, gl_MatrixUseB>
#define SUM coopmat<float, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator>

float roundedToNearest(const in uint row, const in uint column, const in float value) {
    uint bits = floatBitsToUint(value);
    return uintBitsToFloat(bits + 0x7FFFu + (bits >> 16 & 1u) & 0xFFFF0000u);
}

void main() {
    uint tiles = push.tilesM * push.tilesN, group = groupNumber();
    if (group >= tiles * push.batches * push.splits)
        return;
    uint tile = group % tiles, plane = group / tiles, batch = plane % push.batches, split = plane / push.batches;
    uint band = tile / (RASTER * push.tilesN), firstRow = band * RASTER, rows = min(push.tilesM - firstRow, RASTER), inBand = tile % (RASTER * push.tilesN);
    uint m0 = min((firstRow + inBand % rows) * BM, push.m - BM) & ~7u, n0 = min(inBand / rows * BN, push.n - BN) & ~7u;
    uint start = split * push.splitLength & ~(BK - 1), end = min(push.k, start + push.splitLength);
    Packed a = Packed(uint64_t(push.a) + 2 * uint64_t(batch) * push.batchA), b = Packed(uint64_t(push.b) + 2 * uint64_t(batch) * push.batchB);
    Packed restA = Packed(uint64_t(a) + 2 * uint64_t(push.restA)), restB = Packed(uint64_t(b) + 2 * uint64_t(push.restB));

    const tensorViewNV<2, false, 1, 0> turned = createTensorViewNV(2, false, 1, 0);
    tensorLayoutNV<2> ofA = createTensorLayoutNV(2), ofB = createTensorLayoutNV(2), ofC = createTensorLayoutNV(2);
    tensorLayoutNV<2, gl_CooperativeMatrixClampModeConstantNV> endOfA = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV), endOfB = createTensorLayoutNV(2, gl_CooperativeMatrixClampModeConstantNV);
    ofA = setTensorLayoutDimensionNV(ofA, TRANSPOSE_A ? end : push.m, TRANSPOSE_A ? push.m : end);
    ofB = setTensorLayoutDimensionNV(ofB, TRANSPOSE_B ? push.n : end, TRANSPOSE_B ? end : push.n);
    endOfA = setTensorLayoutDimensionNV(endOfA, TRANSPOSE_A ? end : push.m, TRANSPOSE_A ? push.m : end);
    endOfB = setTensorLayoutDimensionNV(endOfB, TRANSPOSE_B ? push.n : end, TRANSPOSE_B ? end : push.n);
    ofA = setTensorLayoutStrideNV(ofA, PITCH_A & ~7u, 1);
    ofB = setTensorLayoutStrideNV(ofB, PITCH_B & ~7u, 1);
    endOfA = setTensorLayoutStrideNV(endOfA, PITCH_A & ~7u, 1);
    endOfB = setTensorLayoutStrideNV(endOfB, PITCH_B & ~7u, 1);
    ofC = setTensorLayoutDimensionNV(ofC, push.m, push.n);
    ofC = setTensorLayoutStrideNV(ofC, push.n & ~7u, 1);

#define LOAD_A(to, from, by, k) \
    if (TRANSPOSE_A) coopMatLoadTensorNV(to, from.at, 0, sliceTensorLayoutNV(by, k, BK, m0, BM), turned); \
    else coopMatLoadTensorNV(to, from.at, 0, sliceTensorLayoutNV(by, m0, BM, k, BK))
#define LOAD_B(to, from, by, k) \
    if (TRANSPOSE_B) coopMatLoadTensorNV(to, from.at, 0, sliceTensorLayoutNV(by, n0, BN, k, BK), turned); \
    else coopMatLoadTensorNV(to, from.at, 0, sliceTensorLayoutNV(by, k, BK, n0, BN))
#define STEP(byA, byB, k) { \
        LEFT left; \
        RIGHT right; \
        LOAD_A(left, a, byA, k); \
        LOAD_B(right, b, byB, k); \
        if (PARTS == 2) { \
            LEFT smallLeft; \
            RIGHT smallRight; \
            LOAD_A(smallLeft, restA, byA, k); \
            LOAD_B(smallRight, restB, byB, k); \
            sums = coopMatMulAdd(smallLeft, right, sums); \
            sums = coopMatMulAdd(left, smallRight, sums); \
        } \
        sums = coopMatMulAdd(left, right, sums); \
    }

    SUM sums = SUM(0.0);
    uint k = start;
    for (; k + UNROLL * BK <= end; k += UNROLL * BK)
        [[unroll]] for (uint u = 0; u < UNROLL; u++)
            STEP(ofA, ofB, k + u * BK);
    for (; k + BK <= end; k += BK)
        STEP(ofA, ofB, k);
    if (k < end)
        STEP(endOfA, endOfB, k);

    if (RESULT == F32) {
        Floats c = Floats(uint64_t(push.c) + 4 * uint64_t(plane) * push.m * push.n);
        coopMatStoreTensorNV(sums, c.at, 0, sliceTensorLayoutNV(ofC, m0, BM, n0, BN));
        return;
    }
    Halves c = Halves(uint64_t(push.c) + 2 * uint64_t(plane) * push.m * push.n);
    // The conversion of matrices would truncate.
    coopMatPerElementNV(sums, sums, roundedToNearest);
    coopmat<bfloat16_t, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator> results = coopmat<bfloat16_t, gl_ScopeWorkgroup, BM, BN, gl_MatrixUseAccumulator>(sums);
    coopMatStoreTensorNV(results, c.at, 0, sliceTensorLayoutNV(ofC, m0, BM, n0, BN));
}
