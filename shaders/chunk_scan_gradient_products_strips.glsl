// The gradient of C_m·B_s, Σ over heads of E_ms, E_ms = (g_m · dt_s x_s) exp(a_m − a_s), by strips of 16 positions m; and for every head and position t the sum of
// T_ms = E_ms · (C_m·B_s) over the rectangle s < t ≤ m, the gradient of dt_t·A. It is formed without any difference (as sums of rows minus sums of columns would be),
// because a long step decouples the two sides: its gradient is tiny beside the terms that would have to cancel, and is multiplied by that step in dA.
#include "strips.glsl"

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats dt;
    Floats g;
    Floats high;
    Floats low;
    Integers starts;
    Floats products; // [m, s]
    Floats dproducts;
    Floats inside; // [B, chunks, H, 64 · tiles]
    uint shareSize;
    uint options; // bit 0: there is a sequence
    EXTENTS
} push;

shared uvec4 rows[ROWS * WIDTH_PITCH];
shared uvec4 scratch[ROWS * SLOT_PITCH];
shared vec4 highs[ROWS / 4], lows[ROWS / 4], steps[ROWS / 4];
shared float before[ROWS / 16][ROWS + 1]; // of each strip: the sum of T over its rows and the positions before t
shared float own[ROWS];                          // of t in its own strip

float nextHigh, nextLow, nextStep;
uvec4 nextG[WIDTH / 16];

void fetch() {
    FETCH_ROWS(push.x)
    nextHigh = push.high.at[DECAY_AT(decayPlace())];
    nextLow = push.low.at[DECAY_AT(decayPlace())];
    nextStep = push.dt.at[DT_AT(clampedRow(decayPlace()))];
    [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
        nextG[j] = eightAt(push.g, X_AT(clampedRow(row())) + j * 16 + half_() * 8);
}

// The sum of a column over the 16 rows of a block: each exchange halves both the columns that a lane has and the lanes that a column is spread over.
uint columnOfLane() { return half_() * 8 + (lane() >> 4 & 1) * 4 + (lane() >> 3 & 1) * 2 + (lane() >> 2 & 1); }

float sumOfColumn(vec4 low, vec4 high) {
    bool upper = (lane() & 16) != 0;
    vec4 four = (upper ? high : low) + subgroupShuffleXor(upper ? low : high, 16);
    upper = (lane() & 8) != 0;
    vec2 two = (upper ? four.zw : four.xy) + subgroupShuffleXor(upper ? four.xy : four.zw, 8);
    upper = (lane() & 4) != 0;
    float one = (upper ? two.y : two.x) + subgroupShuffleXor(upper ? two.x : two.y, 4);
    return one + subgroupShuffleXor(one, 2);
}

void main() {
    LOCATE_SHARE

    vec4 products[ROWS / 8], gradient[ROWS / 8];
    uint m = row();
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        uint s = min(j, strip()) * 16 + half_() * 8, at = PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64;
        products[2 * j] = Vectors(uint64_t(push.products)).at[at / 4];
        products[2 * j + 1] = Vectors(uint64_t(push.products)).at[at / 4 + 1];
        gradient[2 * j] = gradient[2 * j + 1] = vec4(0);
    }
    int start = (push.options & 1) != 0 ? push.starts.at[part * push.tiles * 64 + m] : -1;
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_ROWS(rows)
        if (gl_LocalInvocationID.x < ROWS) {
            highs[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = nextHigh;
            lows[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = nextLow;
            steps[gl_LocalInvocationID.x / 4][gl_LocalInvocationID.x % 4] = gl_LocalInvocationID.x < positions ? nextStep : 0;
        }
        barrier();
        LEFT_BLOCK left[WIDTH / 16];
        [[unroll]] for (uint k = 0; k < WIDTH / 16; k += 2) {
            scratch[packedAt(0)] = onlyIf(m < positions, nextG[k]);
            scratch[packedAt(1)] = onlyIf(m < positions, nextG[k + 1]);
            meet();
            coopMatLoad(left[k], scratch, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            coopMatLoad(left[k + 1], scratch, slot() + 2, SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            meet();
        }
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        vec4 highM = vec4(highs[m / 4][m % 4]), lowM = vec4(lows[m / 4][m % 4]);
        float rowSum = 0; // of the lane's half of its row, before the diagonal block
        [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
            if (j <= strip()) {
                SUMS_BLOCK sums = SUMS_BLOCK(0.0);
                [[unroll]] for (uint k = 0; k < WIDTH / 16; k++) {
                    RIGHT_BLOCK right;
                    coopMatLoad(right, rows, j * 16 * WIDTH_PITCH + k * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                    sums = coopMatMulAdd(left[k], right, sums);
                }
                vec4 four[2];
                SUMS_TO_LANE(sums, scratch, four[0], four[1])
                uint s = j * 16 + half_() * 8;
                [[unroll]] for (uint q = 0; q < 2; q++) {
                    vec4 e = four[q] * decays(highM, lowM, highs[s / 4 + q], lows[s / 4 + q]) * steps[s / 4 + q];
                    ivec4 at = ivec4(s + q * 4) + ivec4(0, 1, 2, 3);
                    e = mix(vec4(0), e, bvec4(uvec4(lessThanEqual(at, ivec4(m))) & uvec4(greaterThanEqual(at, ivec4(start)))));
                    gradient[2 * j + q] += e;
                    four[q] = e * products[2 * j + q];
                }
                float rest = four[0].x + four[0].y + four[0].z + four[0].w + four[1].x + four[1].y + four[1].z + four[1].w;
                if (j < strip()) {
                    rowSum += rest;
                } else {
                    // Of the diagonal block position t wants what lies before it in the rows from t on.
                    float other = subgroupShuffleXor(rest, 1), sum = rowSum + subgroupShuffleXor(rowSum, 1) + (half_() == 0 ? 0 : other);
                    [[unroll]] for (uint q = 0; q < 2; q++) {
                        [[unroll]] for (uint z = 0; z < 4; z++) {
                            float value = four[q][z];
                            four[q][z] = s + q * 4 + z <= m ? sum : 0;
                            sum += value;
                        }
                    }
                }
                float column = sumOfColumn(four[0], four[1]);
                if ((lane() & 2) == 0) {
                    if (j < strip())
                        before[strip()][j * 16 + columnOfLane()] = column;
                    else
                        own[j * 16 + columnOfLane()] = column;
                }
            }
        }
        meet();
        float carry = 0;
        for (uint j = 0; j < strip(); j++) {
            float sum = before[strip()][j * 16 + lane() % 16];
            [[unroll]] for (uint distance = 1; distance < 16; distance *= 2) {
                float other = subgroupShuffle(sum, max(lane(), distance) - distance);
                sum += lane() % 16 >= distance ? other : 0;
            }
            float last = subgroupShuffle(sum, 15), earlier = subgroupShuffle(sum, max(lane(), 1u) - 1);
            if (lane() < 16)
                before[strip()][j * 16 + lane()] = carry + (lane() > 0 ? earlier : 0);
            carry += last;
        }
        barrier();
        if (gl_LocalInvocationID.x < ROWS) {
            uint t = gl_LocalInvocationID.x;
            float sum = own[t];
            for (uint other = t / 16 + 1; other < ROWS / 16; other++)
                sum += before[other][t];
            push.inside.at[DECAY_AT(t)] = sum;
        }
    }
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        uint s = j * 16 + half_() * 8;
        if (s / 64 <= m / 64) {
            uint at = share * push.shareSize + PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64;
            Vectors(uint64_t(push.dproducts)).at[at / 4] = gradient[2 * j];
            Vectors(uint64_t(push.dproducts)).at[at / 4 + 1] = gradient[2 * j + 1];
        }
    }
}
