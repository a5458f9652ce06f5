#version 460
#extension GL_GOOGLE_include_directive : require
// What chunk_scan_strips computes, by lanes that know which elements of a block are theirs: see fragments.glsl.
#include "fragments.glsl"

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
shared vec2 sums_[ROWS]; // the high and the low part of a
shared float steps[ROWS];

vec2 nextSum;
float nextStep, nextSkip;
float nextCarried[2];

void fetch() {
    FETCH_STATE(push.state)
    FETCH_ROWS(push.x)
    nextSum = vec2(push.high.at[DECAY_AT(decayPlace())], push.low.at[DECAY_AT(decayPlace())]);
    nextStep = push.dt.at[DT_AT(clampedRow(decayPlace()))];
    [[unroll]] for (uint r = 0; r < 2; r++)
        nextCarried[r] = push.carried.at[DECAY_AT(rowOf(r))];
    nextSkip = (push.options & 2) != 0 ? push.skip.at[head] : 0;
}

void main() {
    LOCATE_SHARE

    LEFT_BLOCK c[STATES / 16];
    LOAD_GROUP_STRIP(c, rows, push.c)
    // What m does not see is left out here, once for all heads.
    vec2 products[ROWS / 16][4];
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        [[unroll]] for (uint q = 0; q < 4; q++) {
            uint m = rowOf(q / 2), s = min(j, strip()) * 16 + columnOf(q);
            int start = (push.options & 1) != 0 ? push.starts.at[part * push.tiles * 64 + m] : -1;
            vec2 product = Twos(uint64_t(push.products)).at[(PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64) / 2];
            products[j][q] = vec2(s <= m && int(s) >= start ? product.x : 0, s + 1 <= m && int(s + 1) >= start ? product.y : 0);
        }
    }
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_STATE(states)
        KEEP_ROWS(rows)
        if (gl_LocalInvocationID.x < ROWS) {
            sums_[gl_LocalInvocationID.x] = nextSum;
            steps[gl_LocalInvocationID.x] = gl_LocalInvocationID.x < positions ? nextStep : 0;
        }
        barrier();
        float carried[2] = nextCarried, skip = nextSkip;
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
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            [[unroll]] for (uint e = 0; e < 8; e++)
                sums[j][e] *= carried[e / 4];

        [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
            if (j <= strip()) {
                LEFT_BLOCK left;
                [[unroll]] for (uint q = 0; q < 4; q++) {
                    uint s = j * 16 + columnOf(q), m = rowOf(q / 2);
                    vec2 mixed = DECAYS(m, s, m, s + 1) * products[j][q] * vec2(steps[s], steps[s + 1]);
                    SET_PAIR(left, q, mixed)
                }
                [[unroll]] for (uint i = 0; i < WIDTH / 16; i++) {
                    RIGHT_BLOCK right;
                    coopMatLoad(right, rows, j * 16 * WIDTH_PITCH + i * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    sums[i] = coopMatMulAdd(left, right, sums[i]);
                }
            }
        }

        [[unroll]] for (uint i = 0; i < WIDTH / 16; i++) {
            [[unroll]] for (uint q = 0; q < 4; q++) {
                uint m = rowOf(q / 2);
                vec2 x = widened(rows[m * WIDTH_PITCH + i * 2 + q % 2][lane() % 4]);
                if (m < positions)
                    Words(uint64_t(push.y)).at[(X_AT(m) + i * 16 + columnOf(q)) / 2] = roundedPair(fma(vec2(skip), x, PAIR(sums[i], q)));
            }
        }
    }
}
