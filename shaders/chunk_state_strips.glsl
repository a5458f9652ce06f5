// S = Σ weight_s · x_s ⊗ B_s over the positions of a chunk, for every head, by strips of 16 columns of [P, N]; in float32, or where ROUNDS is defined in bfloat16.
#include "strips.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats weight;
    Floats b;
    Floats state;
    EXTENTS
} push;

#ifdef ROUNDS
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

// Sums rounded to bfloat16, without a way through shared memory. Devices list no sums of bfloat16, but those of float16 hold 16 bits as well: a number is made the float16 with the
// bits of its bfloat16, which the conversion leaves as it is. From 2^121 on these are infinite or no numbers: so are they then.
BLOCK(float16_t, gl_MatrixUseAccumulator) roundedSums(SUMS_BLOCK sums) {
    [[unroll]] for (uint i = 0; i < sums.length(); i++) {
        uint bits = floatBitsToUint(sums[i]);
        sums[i] = unpackHalf2x16(isnan(sums[i]) ? 0x7FFFu : bits + 0x8000u >> 16).x;
    }
    return BLOCK(float16_t, gl_MatrixUseAccumulator)(sums);
}
#endif

shared uvec4 rows[ROWS * WIDTH_PITCH];

float nextWeights[WIDTH_SHARE];

void fetch() {
    FETCH_ROWS(push.x)
    [[unroll]] for (uint i = 0; i < WIDTH_SHARE; i++)
        nextWeights[i] = push.weight.at[DECAY_AT((gl_LocalInvocationID.x + i * INVOCATIONS) / (WIDTH / 8))];
}

void main() {
    LOCATE_SHARE

    for (uint block = gl_SubgroupID; block - gl_SubgroupID < STATES / 16; block += INVOCATIONS / 32) {
        uint n = min(block, STATES / 16 - 1) * 16;
        barrier();
        RIGHT_BLOCK b[ROWS / 16];
        [[unroll]] for (uint k = 0; k < ROWS / 16; k++) {
            uint s = k * 16 + lane() / 2;
            rows[packedAt(0)] = onlyIf(s < positions, eightAt(push.b, B_AT(clampedRow(s)) + n + half_() * 8));
            meet();
            coopMatLoad(b[k], rows, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            meet();
        }
        head = firstHead;
        fetch();
        for (uint h = firstHead; h < endHead; h++) {
            [[unroll]] for (uint i = 0; i < WIDTH_SHARE; i++)
                nextRows[i] = roundedEight(nextWeights[i] * lowFour(nextRows[i]), nextWeights[i] * highFour(nextRows[i]));
            barrier();
            KEEP_ROWS(rows)
            barrier();
            head = min(h + 1, endHead - 1);
            fetch();
            head = h;

            SUMS_BLOCK sums[WIDTH / 16];
            [[unroll]] for (uint i = 0; i < WIDTH / 16; i++)
                sums[i] = SUMS_BLOCK(0.0);
            [[unroll]] for (uint k = 0; k < ROWS / 16; k++) {
                [[unroll]] for (uint i = 0; i < WIDTH / 16; i++) {
                    LEFT_BLOCK left;
                    coopMatLoad(left, rows, k * 16 * WIDTH_PITCH + i * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                    sums[i] = coopMatMulAdd(left, b[k], sums[i]);
                }
            }
            if (block < STATES / 16) {
                [[unroll]] for (uint i = 0; i < WIDTH / 16; i++)
#ifdef ROUNDS
                    coopMatStore(roundedSums(sums[i]), Eights(uint64_t(push.state)).at, (STATE_AT + i * 16 * STATES + n) / 8, STATES / 8, gl_CooperativeMatrixLayoutRowMajor);
#else
                    coopMatStore(sums[i], push.state.at, STATE_AT + i * 16 * STATES + n, STATES, gl_CooperativeMatrixLayoutRowMajor);
#endif
            }
        }
    }
}
