#version 460
#extension GL_GOOGLE_include_directive : require
// What chunk_rows_strips computes, by lanes that know which elements of a block are theirs: see fragments.glsl.
#include "fragments.glsl"

layout(constant_id = 3) const bool WRITES_X = false;
layout(constant_id = 4) const bool ADDS_X = false;
layout(constant_id = 5) const uint BEFORE = 0;

layout(push_constant, scalar) uniform Push {
    Floats x;
    Floats b;
    Floats weight;
    Floats scale;
    Floats state;
    Floats dx;
    Floats dots;
    Floats parts;
    uint shareSize; // elements of a part
    EXTENTS
} push;

// Before the states come, the strips of b pass through here.
shared uvec4 states[WIDTH * STATE_PITCH > ROWS * SLOT_PITCH ? WIDTH * STATE_PITCH : ROWS * SLOT_PITCH];

uint nextX[ROW_WORDS];
float nextWeight[2], nextScale[2];

void fetch() {
    FETCH_STATE(push.state)
    FETCH_WORDS(nextX, push.x)
    [[unroll]] for (uint r = 0; r < 2; r++) {
        nextWeight[r] = push.weight.at[DECAY_AT(rowOf(r))];
        nextScale[r] = push.scale.at[DECAY_AT(rowOf(r))];
    }
}

void main() {
    LOCATE_SHARE

    LEFT_BLOCK b[STATES / 16];
    LOAD_GROUP_STRIP(b, states, push.b)
    SUMS_BLOCK total[STATES / 16];
    [[unroll]] for (uint n = 0; n < STATES / 16; n++)
        total[n] = SUMS_BLOCK(0.0);
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_STATE(states)
        barrier();
        uint x[ROW_WORDS], past[ROW_WORDS];
        [[unroll]] for (uint i = 0; i < ROW_WORDS; i++)
            x[i] = rowOf(i / 2 % 2) < positions ? nextX[i] : 0;
        float weight[2] = nextWeight, scale[2] = nextScale;
        head = h;
        if (ADDS_X)
            FETCH_WORDS(past, push.dx)
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        [[unroll]] for (uint k = 0; k < WIDTH / 16; k++) {
            LEFT_BLOCK left;
            [[unroll]] for (uint q = 0; q < 4; q++)
                SET_PAIR(left, q, scale[q / 2] * widened(x[k * 4 + q]))
            [[unroll]] for (uint n = 0; n < STATES / 16; n++) {
                RIGHT_BLOCK right;
                coopMatLoad(right, states, k * 16 * STATE_PITCH + n * 2, STATE_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                total[n] = coopMatMulAdd(left, right, total[n]);
            }
        }

        SUMS_BLOCK sums[WIDTH / 16];
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            sums[j] = SUMS_BLOCK(0.0);
        [[unroll]] for (uint k = 0; k < STATES / 16; k++) {
            [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
                RIGHT_BLOCK right;
                coopMatLoad(right, states, j * 16 * STATE_PITCH + k * 2, STATE_PITCH, gl_CooperativeMatrixLayoutColumnMajor);
                sums[j] = coopMatMulAdd(b[k], right, sums[j]);
            }
        }
        float dots[2] = float[2](0, 0);
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
            [[unroll]] for (uint q = 0; q < 4; q++) {
                vec2 found = PAIR(sums[j], q);
                dots[q / 2] += dot(found, widened(x[j * 4 + q]));
                if (WRITES_X && rowOf(q / 2) < positions)
                    Words(uint64_t(push.dx)).at[(X_AT(rowOf(q / 2)) + j * 16 + columnOf(q)) / 2] = roundedPair(fma(vec2(scale[q / 2]), found, ADDS_X ? widened(past[j * 4 + q]) : vec2(0)));
            }
        }
        [[unroll]] for (uint r = 0; r < 2; r++) {
            float dot = overRow(dots[r]);
            if (lane() % 4 == 0)
                push.dots.at[DECAY_AT(rowOf(r))] = weight[r] * dot;
        }
    }
    [[unroll]] for (uint n = 0; n < STATES / 16; n++) {
        [[unroll]] for (uint q = 0; q < 4; q++) {
            if (rowOf(q / 2) < positions)
                Twos(uint64_t(push.parts)).at[((share + BEFORE) * push.shareSize + B_AT(rowOf(q / 2)) + n * 16 + columnOf(q)) / 2] = PAIR(total[n], q);
        }
    }
}
