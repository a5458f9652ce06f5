// With U = b·stateᵀ for every head, by strips of 16 positions: dots_s = weight_s · U_s·x_s, where WRITES_X dx_s = scale_s · U_s, or ADDS_X so much more, and Σ over heads of
// (scale_s · x_s)·state, in as many parts as workgroups share a group, behind BEFORE others. That is what the gradient of a state (x, B) or a state (the gradient of y, C) says of its factors.
#include "strips.glsl"

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

shared uvec4 states[WIDTH * STATE_PITCH];
shared uvec4 scratch[ROWS * SLOT_PITCH];

uvec4 nextX[WIDTH / 16];
float nextWeight, nextScale;

void fetch() {
    FETCH_STATE(push.state)
    [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
        nextX[j] = eightAt(push.x, X_AT(clampedRow(row())) + j * 16 + half_() * 8);
    nextWeight = push.weight.at[DECAY_AT(row())];
    nextScale = push.scale.at[DECAY_AT(row())];
}

void main() {
    LOCATE_SHARE

    LEFT_BLOCK b[STATES / 16];
    LOAD_GROUP_STRIP(b, scratch, push.b)
    SUMS_BLOCK total[STATES / 16];
    [[unroll]] for (uint n = 0; n < STATES / 16; n++)
        total[n] = SUMS_BLOCK(0.0);
    head = firstHead;
    fetch();
    for (uint h = firstHead; h < endHead; h++) {
        barrier();
        KEEP_STATE(states)
        barrier();
        uvec4 x[WIDTH / 16];
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
            x[j] = onlyIf(row() < positions, nextX[j]);
        float weight = nextWeight, scale = nextScale;
        uvec4 past[WIDTH / 16];
        if (ADDS_X) {
            head = h;
            [[unroll]] for (uint j = 0; j < WIDTH / 16; j++)
                past[j] = eightAt(push.dx, X_AT(clampedRow(row())) + j * 16 + half_() * 8);
        }
        head = min(h + 1, endHead - 1);
        fetch();
        head = h;

        [[unroll]] for (uint k = 0; k < WIDTH / 16; k += 2) {
            [[unroll]] for (uint z = 0; z < 2; z++)
                scratch[packedAt(z)] = roundedEight(scale * lowFour(x[k + z]), scale * highFour(x[k + z]));
            meet();
            LEFT_BLOCK left[2];
            coopMatLoad(left[0], scratch, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            coopMatLoad(left[1], scratch, slot() + 2, SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor);
            meet();
            [[unroll]] for (uint z = 0; z < 2; z++) {
                [[unroll]] for (uint n = 0; n < STATES / 16; n++) {
                    RIGHT_BLOCK right;
                    coopMatLoad(right, states, (k + z) * 16 * STATE_PITCH + n * 2, STATE_PITCH, gl_CooperativeMatrixLayoutRowMajor);
                    total[n] = coopMatMulAdd(left[z], right, total[n]);
                }
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
        vec4 dots = vec4(0);
        [[unroll]] for (uint j = 0; j < WIDTH / 16; j++) {
            vec4 low, high;
            SUMS_TO_LANE(sums[j], scratch, low, high)
            dots = fma(low, lowFour(x[j]), fma(high, highFour(x[j]), dots));
            if (WRITES_X && row() < positions) {
                vec4 pastLow = ADDS_X ? lowFour(past[j]) : vec4(0), pastHigh = ADDS_X ? highFour(past[j]) : vec4(0);
                Eights(uint64_t(push.dx)).at[(X_AT(row()) + j * 16 + half_() * 8) / 8] = roundedEight(fma(vec4(scale), low, pastLow), fma(vec4(scale), high, pastHigh));
            }
        }
        float dot = dots.x + dots.y + dots.z + dots.w;
        dot += subgroupShuffleXor(dot, 1);
        if (half_() == 0)
            push.dots.at[DECAY_AT(row())] = weight * dot;
    }
    [[unroll]] for (uint n = 0; n < STATES / 16; n++) {
        vec4 low, high;
        SUMS_TO_LANE(total[n], scratch, low, high)
        if (row() < positions) {
            uint at = ((share + BEFORE) * push.shareSize + B_AT(row()) + n * 16 + half_() * 8) / 4;
            Vectors(uint64_t(push.parts)).at[at] = low;
            Vectors(uint64_t(push.parts)).at[at + 1] = high;
        }
    }
}
