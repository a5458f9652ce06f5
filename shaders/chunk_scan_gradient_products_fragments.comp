#version 460
#extension GL_GOOGLE_include_directive : require
// What chunk_scan_gradient_products_strips computes, by lanes that know which elements of a block are theirs: see fragments.glsl.
#include "fragments.glsl"

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
shared vec2 sums_[ROWS]; // the high and the low part of a
shared float steps[ROWS];
shared float before[ROWS / 16][ROWS + 1]; // of each strip: the sum of T over its rows and the positions before t
shared float own[ROWS];                          // of t in its own strip

vec2 nextSum;
float nextStep;
uint nextG[ROW_WORDS];

void fetch() {
    FETCH_ROWS(push.x)
    FETCH_WORDS(nextG, push.g)
    nextSum = vec2(push.high.at[DECAY_AT(decayPlace())], push.low.at[DECAY_AT(decayPlace())]);
    nextStep = push.dt.at[DT_AT(clampedRow(decayPlace()))];
}

// The sums of a block's columns over its 16 rows, from the lane's sums over its two: each exchange halves both the columns that a lane has and the lanes that a column is spread over.
uint columnOfLane() { return lane() % 4 * 2 + (lane() >> 4 & 1) * 8 + (lane() >> 3 & 1); }

float sumOfColumn(vec2 lower, vec2 upper) {
    bool takesUpper = (lane() & 16) != 0;
    vec2 two = (takesUpper ? upper : lower) + subgroupShuffleXor(takesUpper ? lower : upper, 16);
    bool takesSecond = (lane() & 8) != 0;
    float one = (takesSecond ? two.y : two.x) + subgroupShuffleXor(takesSecond ? two.x : two.y, 8);
    return one + subgroupShuffleXor(one, 4);
}

// The sum over the lanes before this one of the four that share a row.
float beforeInRow(float x) {
    float one = subgroupShuffle(x, max(lane(), 1u) - 1), sum = lane() % 4 >= 1 ? one : 0;
    float two = subgroupShuffle(x, max(lane(), 2u) - 2), three = subgroupShuffle(x, max(lane(), 3u) - 3);
    return sum + (lane() % 4 >= 2 ? two : 0) + (lane() % 4 >= 3 ? three : 0);
}

void main() {
    LOCATE_SHARE

    vec2 products[ROWS / 16][4], gradient[ROWS / 16][4];
    [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
        [[unroll]] for (uint q = 0; q < 4; q++) {
            uint m = rowOf(q / 2), s = min(j, strip()) * 16 + columnOf(q);
            products[j][q] = Twos(uint64_t(push.products)).at[(PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64) / 2];
            gradient[j][q] = vec2(0);
        }
    }
    int start[2];
    [[unroll]] for (uint r = 0; r < 2; r++)
        start[r] = (push.options & 1) != 0 ? push.starts.at[part * push.tiles * 64 + rowOf(r)] : -1;
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_ROWS(rows)
        if (gl_LocalInvocationID.x < ROWS) {
            sums_[gl_LocalInvocationID.x] = nextSum;
            steps[gl_LocalInvocationID.x] = gl_LocalInvocationID.x < positions ? nextStep : 0;
        }
        barrier();
        LEFT_BLOCK left[WIDTH / 16];
        [[unroll]] for (uint k = 0; k < WIDTH / 16; k++)
            [[unroll]] for (uint q = 0; q < 4; q++)
                SET_PAIR(left[k], q, rowOf(q / 2) < positions ? widened(nextG[k * 4 + q]) : vec2(0))
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        float rowSum[2] = float[2](0, 0); // of the lane's part of its rows, before the diagonal block
        [[unroll]] for (uint j = 0; j < ROWS / 16; j++) {
            if (j <= strip()) {
                SUMS_BLOCK sums = SUMS_BLOCK(0.0);
                [[unroll]] for (uint k = 0; k < WIDTH / 16; k++) {
                    RIGHT_BLOCK right;
                    coopMatLoad(right, rows, j * 16 * WIDTH_PITCH + k * 2, WIDTH_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                    sums = coopMatMulAdd(left[k], right, sums);
                }
                vec2 mixed[4];
                [[unroll]] for (uint q = 0; q < 4; q++) {
                    uint m = rowOf(q / 2), s = j * 16 + columnOf(q);
                    vec2 e = PAIR(sums, q) * DECAYS(m, s, m, s + 1) * vec2(steps[s], steps[s + 1]);
                    e = vec2(s <= m && int(s) >= start[q / 2] ? e.x : 0, s + 1 <= m && int(s + 1) >= start[q / 2] ? e.y : 0);
                    gradient[j][q] += e;
                    mixed[q] = e * products[j][q];
                }
                if (j < strip()) {
                    [[unroll]] for (uint q = 0; q < 4; q++)
                        rowSum[q / 2] += mixed[q].x + mixed[q].y;
                } else {
                    // Of the diagonal block position t wants what lies before it in the rows from t on.
                    [[unroll]] for (uint r = 0; r < 2; r++) {
                        float lower = mixed[2 * r].x + mixed[2 * r].y, upper = mixed[2 * r + 1].x + mixed[2 * r + 1].y, earlier = overRow(rowSum[r]);
                        float ofLower = earlier + beforeInRow(lower), ofUpper = earlier + overRow(lower) + beforeInRow(upper);
                        mixed[2 * r] = vec2(ofLower, ofLower + mixed[2 * r].x);
                        mixed[2 * r + 1] = vec2(ofUpper, ofUpper + mixed[2 * r + 1].x);
                    }
                    [[unroll]] for (uint q = 0; q < 4; q++) {
                        uint m = rowOf(q / 2), s = j * 16 + columnOf(q);
                        mixed[q] = vec2(s <= m ? mixed[q].x : 0, s + 1 <= m ? mixed[q].y : 0);
                    }
                }
                float column = sumOfColumn(mixed[0] + mixed[2], mixed[1] + mixed[3]);
                if ((lane() & 4) == 0) {
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
        [[unroll]] for (uint q = 0; q < 4; q++) {
            uint m = rowOf(q / 2), s = j * 16 + columnOf(q);
            if (s / 64 <= m / 64)
                Twos(uint64_t(push.dproducts)).at[(share * push.shareSize + PAIR_AT(m / 64, s / 64) + m % 64 * 64 + s % 64) / 2] = gradient[j][q];
        }
    }
}
