#version 460
#extension GL_GOOGLE_include_directive : require
// What chunk_scan_gradient_x_strips computes, by lanes that know which elements of a block are theirs: see fragments.glsl.
#include "fragments.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats skip;
    Floats g;
    Floats high;
    Floats low;
    Integers starts;
    Floats products; // [m, s]
    Floats dx;
    Floats direct;
    Floats dskip; // [B, chunks, H, 64 · tiles]
    uint options; // bit 0: there is a sequence; bit 1: D
    EXTENTS
} push;

shared uvec4 rows[ROWS * WIDTH_PITCH];
shared vec2 sums_[ROWS]; // the high and the low part of a

vec2 nextSum;
float nextStep[2], nextSkip;
uint nextX[ROW_WORDS];

void fetch() {
    FETCH_ROWS(push.g)
    FETCH_WORDS(nextX, push.x)
    nextSum = vec2(push.high.at[DECAY_AT(decayPlace())], push.low.at[DECAY_AT(decayPlace())]);
    [[unroll]] for (uint r = 0; r < 2; r++)
        nextStep[r] = push.dt.at[DT_AT(clampedRow(rowOf(r)))];
    nextSkip = (push.options & 2) != 0 ? push.skip.at[head] : 0;
}

// What m says of s; 0 where it does not see it.
float productOf(uint m, uint s, bool isThere) {
    int first = (push.options & 1) != 0 ? push.starts.at[part * push.tiles * 64 + m] : -1;
    float product = push.products.at[PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64];
    return isThere && m >= s && m < positions && int(s) >= first ? product : 0;
}

void main() {
    LOCATE_SHARE

    vec2 products[ROWS / 16][4];
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        [[unroll]] for (uint q = 0; q < 4; q++) {
            uint s = rowOf(q / 2), m = max(j, strip()) * 16 + columnOf(q);
            products[j][q] = vec2(productOf(m, s, j >= strip()), productOf(m + 1, s, j >= strip()));
        }
    }
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_ROWS(rows)
        if (gl_LocalInvocationID.x < ROWS)
            sums_[gl_LocalInvocationID.x] = nextSum;
        barrier();
        uint x[ROW_WORDS];
        [[unroll]] for (uint i = 0; i < ROW_WORDS; i++)
            x[i] = nextX[i];
        float step[2] = nextStep, skip = nextSkip;
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        SUMS_BLOCK sums[WIDTH / 16];
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            sums[j] = SUMS_BLOCK(0.0);
        [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
            if (j >= strip()) {
                LEFT_BLOCK left;
                [[unroll]] for (uint q = 0; q < 4; q++) {
                    uint s = rowOf(q / 2), m = j * 16 + columnOf(q);
                    SET_PAIR(left, q, DECAYS(m, s, m + 1, s) * products[j][q])
                }
                [[unroll]] for (uint i = 0; i < WIDTH / 16; i++) {
                    RIGHT_BLOCK right;
                    coopMatLoad(right, rows, j * 16 * WIDTH_PITCH + i * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    sums[i] = coopMatMulAdd(left, right, sums[i]);
                }
            }
        }

        float dots[2] = float[2](0, 0), skips[2] = float[2](0, 0);
        [[unroll]] for (uint i = 0; i < WIDTH / 16; i++) {
            [[unroll]] for (uint q = 0; q < 4; q++) {
                uint s = rowOf(q / 2);
                vec2 found = PAIR(sums[i], q), own = widened(x[i * 4 + q]), g = widened(rows[s * WIDTH_PITCH + i * 2 + q % 2][lane() % 4]);
                dots[q / 2] += dot(found, own);
                skips[q / 2] += dot(g, own);
                if (s < positions)
                    Words(uint64_t(push.dx)).at[(X_AT(s) + i * 16 + columnOf(q)) / 2] = roundedPair(fma(vec2(skip), g, step[q / 2] * found));
            }
        }
        [[unroll]] for (uint r = 0; r < 2; r++) {
            float direct = overRow(dots[r]), ofSkip = overRow(skips[r]);
            if (lane() % 4 == 0) {
                push.direct.at[DECAY_AT(rowOf(r))] = rowOf(r) < positions ? direct : 0;
                if ((push.options & 2) != 0)
                    push.dskip.at[DECAY_AT(rowOf(r))] = rowOf(r) < positions ? ofSkip : 0;
            }
        }
    }
}
