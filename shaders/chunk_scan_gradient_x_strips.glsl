// With V_s = Σ_{m ≥ s} (C_m·B_s) exp(a_m − a_s) · g_m, g the gradient of the outputs, for every head, by strips of 16 positions s: dx_s = dt_s · V_s + D · g_s,
// direct_s = V_s·x_s, and g_s·x_s for D.
#include "strips.glsl"

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
shared uvec4 scratch[ROWS * SLOT_PITCH];
shared vec4 highs[ROWS / 4], lows[ROWS / 4];

float nextHigh, nextLow, nextStep, nextSkip; // the first two of one position, the third of the lane's row
uvec4 nextX[WIDTH / 16];

void fetch() {
    FETCH_ROWS(push.g)
    nextHigh = push.high.at[DECAY_AT(decayPlace())];
    nextLow = push.low.at[DECAY_AT(decayPlace())];
    nextStep = push.dt.at[DT_AT(clampedRow(row()))];
    nextSkip = (push.options & 2) != 0 ? push.skip.at[head] : 0;
    [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
        nextX[j] = eightAt(push.x, X_AT(clampedRow(row())) + j * 16 + half_() * 8);
}

void main() {
    LOCATE_SHARE

    vec4 products[ROWS / 8]; // of each 16 positions m two
    uint s = row();
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        [[unroll]] for (uint q = 0; q < 2; q++) {
            [[unroll]] for (uint z = 0; z < 4; z++) {
                uint m = max(j, strip()) * 16 + half_() * 8 + q * 4 + z;
                int first = (push.options & 1) != 0 ? push.starts.at[part * push.tiles * 64 + m] : -1;
                float product = push.products.at[PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64];
                products[2 * j + q][z] = m >= s && m < positions && int(s) >= first && j >= strip() ? product : 0;
            }
        }
    }
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_ROWS(rows)
        if (gl_LocalInvocationID.x < ROWS) {
            highs[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = nextHigh;
            lows[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = nextLow;
        }
        barrier();
        uvec4 x[WIDTH / 16];
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            x[j] = onlyIf(row() < positions, nextX[j]);
        float step = nextStep, skip = nextSkip;
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        SUMS_BLOCK sums[WIDTH / 16];
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            sums[j] = SUMS_BLOCK(0.0);
        vec4 highS = vec4(highs[s / 4][s % 4]), lowS = vec4(lows[s / 4][s % 4]);
        [[unroll]] for (uint pair = 0; pair < ROWS / 32; pair++) {
            if (pair * 2 + 1 >= strip()) {
                [[unroll]] for (uint z = 0; z < 2; z++) {
                    vec4 four[2];
                    [[unroll]] for (uint q = 0; q < 2; q++) {
                        uint m = pair * 32 + z * 16 + half_() * 8 + q * 4;
                        four[q] = decays(highs[m / 4], lows[m / 4], highS, lowS) * products[pair * 4 + z * 2 + q];
                    }
                    scratch[packedAt(z)] = roundedEight(four[0], four[1]);
                }
                meet();
                LEFT_BLOCK left[2];
                coopMatLoad(left[0], scratch, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                coopMatLoad(left[1], scratch, slot() + 2, SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                meet();
                [[unroll]] for (uint z = 0; z < 2; z++) {
                    if (pair * 2 + z >= strip()) {
                        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
                            RIGHT_BLOCK right;
                            coopMatLoad(right, rows, (pair * 32 + z * 16) * WIDTH_PITCH + j * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                            sums[j] = coopMatMulAdd(left[z], right, sums[j]);
                        }
                    }
                }
            }
        }

        vec4 dots = vec4(0), skips = vec4(0);
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
            vec4 low, high;
            SUMS_TO_LANE(sums[j], scratch, low, high)
            uvec4 g = rows[s * WIDTH_PITCH + j * 2 + half_()];
            dots = fma(low, lowFour(x[j]), fma(high, highFour(x[j]), dots));
            skips = fma(lowFour(g), lowFour(x[j]), fma(highFour(g), highFour(x[j]), skips));
            if (s < positions)
                Eights(uint64_t(push.dx)).at[(X_AT(s) + j * 16 + half_() * 8) / 8] =
                    roundedEight(fma(vec4(skip), lowFour(g), step * low), fma(vec4(skip), highFour(g), step * high));
        }
        vec2 both = vec2(dots.x + dots.y + dots.z + dots.w, skips.x + skips.y + skips.z + skips.w);
        both += subgroupShuffleXor(both, 1);
        if (half_() == 0) {
            push.direct.at[DECAY_AT(s)] = both.x;
            if ((push.options & 2) != 0)
                push.dskip.at[DECAY_AT(s)] = both.y;
        }
    }
}
