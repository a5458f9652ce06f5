// Products of a whole chunk by strips, on devices whose lanes have these elements of a block of 16 by 16, left operand or sums: rows lane / 4 and, of the second four elements, eight
// further, and of each four columns 2 · (lane % 4), the one after, and both eight further. So a lane needs no shared memory to work on what it has.
#include "strips.glsl"

// A lane's elements of a block are four pairs: which row of the chunk and which column of the block each begins in.
uint rowOf(uint second) { return strip() * 16 + lane() / 4 + 8 * second; }
uint columnOf(uint pair) { return lane() % 4 * 2 + pair % 2 * 8; }

vec2 widened(uint word) { return uintBitsToFloat(uvec2(word << 16, word & 0xFFFF0000u)); }
uint roundedPair(vec2 value) { return rounded(vec4(value, 0, 0)).x; }

#define PAIR(BLOCK, q) vec2(BLOCK[2 * (q)], BLOCK[2 * (q) + 1])

// Rounded before it is converted, which devices may do by cutting off.
#define SET_PAIR(LEFT, q, VALUE) { \
    uint word = roundedPair(VALUE); \
    LEFT[2 * (q)] = bfloat16_t(uintBitsToFloat(word << 16)); \
    LEFT[2 * (q) + 1] = bfloat16_t(uintBitsToFloat(word & 0xFFFF0000u)); \
}

layout(buffer_reference, scalar, buffer_reference_align = 4) buffer Words { uint at[]; };
layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Twos { vec2 at[]; };

// exp(a_m − a_s) for one m and two s side by side, or the other way round.
#define DECAYS(M, S, NEXT_M, NEXT_S) \
    exp(min((vec2(sums_[M].x, sums_[NEXT_M].x) - vec2(sums_[S].x, sums_[NEXT_S].x)) + (vec2(sums_[M].y, sums_[NEXT_M].y) - vec2(sums_[S].y, sums_[NEXT_S].y)), vec2(0)))

// A lane's words of a row of x or its like: two of each 16 columns, for two rows.
#define ROW_WORDS (WIDTH / 16 * 4)
#define FETCH_WORDS(TO, FROM) \
    [[unroll]] for (uint i = 0; i < ROW_WORDS; i++) \
        TO[i] = Words(uint64_t(FROM)).at[(X_AT(clampedRow(rowOf(i / 2 % 2))) + i / 4 * 16 + columnOf(i)) / 2];

// The sum over the four lanes that share a row.
float overRow(float x) {
    x += subgroupShuffleXor(x, 1);
    return x + subgroupShuffleXor(x, 2);
}
