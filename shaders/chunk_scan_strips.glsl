// y_m = exp(a_m) · C_m h + Σ_{s ≤ m} (C_m·B_s) exp(a_m − a_s) dt_s · x_s + D · x_m, by strips of 16 positions m.
#include "strips.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats c;
    Floats state;
    Floats skip;
    Floats high;
    Floats low;
    Floats carried;
    Integers starts;
    Floats products; // [m, s]
    Floats y;
    uint options; // bit 0: there is a sequence; bit 1: D
    EXTENTS
} push;

shared uvec4 states[WIDTH * STATE_PITCH];
shared uvec4 rows[ROWS * WIDTH_PITCH];
shared uvec4 scratch[ROWS * SLOT_PITCH];
shared vec4 highs[ROWS / 4], lows[ROWS / 4], steps[ROWS / 4];

float nextHigh, nextLow, nextStep, nextCarried, nextSkip; // the first three of one position, then of the lane's row

void fetch() {
    FETCH_STATE(push.state)
    FETCH_ROWS(push.x)
    nextHigh = push.high.at[DECAY_AT(decayPlace())];
    nextLow = push.low.at[DECAY_AT(decayPlace())];
    nextStep = push.dt.at[DT_AT(clampedRow(decayPlace()))];
    nextCarried = push.carried.at[DECAY_AT(row())];
    nextSkip = (push.options & 2) != 0 ? push.skip.at[head] : 0;
}

void main() {
    LOCATE_SHARE

    LEFT_BLOCK c[STATES / 16];
    LOAD_GROUP_STRIP(c, scratch, push.c)
    vec4 products[ROWS / 8]; // of each 16 columns two
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        uint s = min(j, strip()) * 16 + half_() * 8, at = PAIR_AT(row() / 64, s / 64) + row() % 64 * 64 + s % 64;
        products[2 * j] = Vectors(uint64_t(push.products)).at[at / 4];
        products[2 * j + 1] = Vectors(uint64_t(push.products)).at[at / 4 + 1];
    }
    int start = (push.options & 1) != 0 ? push.starts.at[part * push.tiles * 64 + row()] : -1;
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_STATE(states)
        KEEP_ROWS(rows)
        if (gl_LocalInvocationID.x < ROWS) {
            highs[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = nextHigh;
            lows[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = nextLow;
            steps[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = gl_LocalInvocationID.x < positions ? nextStep : 0;
        }
        barrier();
        float carried = nextCarried, skip = nextSkip;
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        SUMS_BLOCK sums[WIDTH / 16];
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            sums[j] = SUMS_BLOCK(0.0);
        [[unroll]] for (uint k = 0; k < STATES / 16; k++) {
            [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
                RIGHT_BLOCK right;
                coopMatLoad(right, states, j * 16 * STATE_PITCH + k * 2, STATE_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                sums[j] = coopMatMulAdd(c[k], right, sums[j]);
            }
        }
        scratch[floatsAt()] = scratch[floatsAt() + 1] = floatBitsToUint(vec4(carried));
        meet();
        SUMS_BLOCK scale;
        coopMatLoad(scale, scratch, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
        meet();
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            sums[j] = sums[j] * scale;

        uint m = row();
        vec4 highM = vec4(highs[m / 4][m % 4]), lowM = vec4(lows[m / 4][m % 4]);
        [[unroll]] for (uint pair = 0; pair < ROWS / 32; pair++) {
            if (pair * 2 <= strip()) {
                [[unroll]] for (uint z = 0; z < 2; z++) {
                    vec4 four[2];
                    [[unroll]] for (uint q = 0; q < 2; q++) {
                        uint s = pair * 32 + z * 16 + half_() * 8 + q * 4;
                        vec4 decay = decays(highM, lowM, highs[s / 4], lows[s / 4]) * products[pair * 4 + z * 2 + q] * steps[s / 4];
                        ivec4 at = ivec4(s) + ivec4(0, 1, 2, 3);
                        four[q] = mix(vec4(0), decay, bvec4(uvec4(lessThanEqual(at, ivec4(m))) & uvec4(greaterThanEqual(at, ivec4(start)))));
                    }
                    scratch[packedAt(z)] = roundedEight(four[0], four[1]);
                }
                meet();
                LEFT_BLOCK left[2];
                coopMatLoad(left[0], scratch, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(left[1], scratch, slot() + 2, SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                meet();
                [[unroll]] for (uint z = 0; z < 2; z++) {
                    if (pair * 2 + z <= strip()) {
                        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
                            RIGHT_BLOCK right;
                            coopMatLoad(right, rows, (pair * 32 + z * 16) * WIDTH_PITCH + j * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                            sums[j] = coopMatMulAdd(left[z], right, sums[j]);
                        }
                    }
                }
            }
        }

        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
            vec4 low, high;
            SUMS_TO_LANE(sums[j], scratch, low, high)
            uvec4 x = rows[m * WIDTH_PITCH + j * 2 + half_()];
            if (m < positions)
                Eights(uint64_t(push.y)).at[(X_AT(m) + j * 16 + half_() * 8) / 8] = roundedEight(fma(vec4(skip), lowFour(x), low), fma(vec4(skip), highFour(x), high));
        }
    }
}
