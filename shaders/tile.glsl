// Products of 64 by 64 tiles by 128 invocations: each keeps 8 by 4 results in registers; both operands pass through shared memory 16 deep (9 KB, so that several
// workgroups fit a multiprocessor and hide each other's barriers), and the next 16 are on their way from memory while these are multiplied.
// Specialization constant 1 says whether rows of the operands consist of whole, aligned quads of floats.
#include "common.glsl"

layout(constant_id = 1) const uint QUADS = 0;

const uint TILE = 64;
const uint DEPTH = 16;
const uint PITCH = TILE / 4 + 1; // in quads; one more than needed, so that transposing stores spread over the banks

shared vec4 leftTile[DEPTH * PITCH];
shared vec4 rightTile[DEPTH * PITCH];

vec4 sums[8];
vec4 nextLeft[2];
vec4 nextRight[2];

uint invocation() { return gl_LocalInvocationID.x; }

// The invocation's part of the result: rows rowOf(0 … 7), columns column() … column() + 3.
uint across() { return invocation() % 16; }
uint down() { return invocation() / 16; }
uint rowOf(uint i) { return i / 4 * 32 + down() * 4 + i % 4; }
uint column() { return across() * 4; }

// The invocation's part in loading 16 deep: where the depth is the slow axis, quads fastOf() of lines slowOf(0), slowOf(1); where it is the fast axis,
// quads quadOf() of rows lineOf(0), lineOf(1).
uint fastOf() { return invocation() % 16 * 4; }
uint slowOf(uint i) { return invocation() / 16 + 8 * i; }
uint quadOf() { return invocation() % 4 * 4; }
uint lineOf(uint i) { return invocation() / 4 + 32 * i; }

// Four elements of a row from an index on, of which only count are there; the others are 0.
vec4 quad(Floats from, uint index, int count) {
    if (QUADS != 0)
        return count > 0 ? Vectors(uint64_t(from)).at[index >> 2] : vec4(0);
    vec4 result = vec4(0);
    [[unroll]] for (int z = 0; z < 4; z++)
        if (z < count)
            result[z] = from.at[index + z];
    return result;
}

void storeQuad(Floats to, uint index, int count, vec4 value) {
    if (QUADS != 0) {
        if (count > 0)
            Vectors(uint64_t(to)).at[index >> 2] = value;
        return;
    }
    [[unroll]] for (int z = 0; z < 4; z++)
        if (z < count)
            to.at[index + z] = value[z];
}

// How many of a row's elements are left at a place; none where the row is outside.
int left(bool inside, uint extent, uint place) { return inside ? int(extent) - int(place) : 0; }

void storeLeftColumns() {
    [[unroll]] for (uint i = 0; i < 2; i++)
        leftTile[slowOf(i) * PITCH + fastOf() / 4] = nextLeft[i];
}

void storeRightColumns() {
    [[unroll]] for (uint i = 0; i < 2; i++)
        rightTile[slowOf(i) * PITCH + fastOf() / 4] = nextRight[i];
}

void storeLeftRows() {
    [[unroll]] for (uint i = 0; i < 2; i++)
        [[unroll]] for (uint z = 0; z < 4; z++)
            leftTile[(quadOf() + z) * PITCH + lineOf(i) / 4][lineOf(i) % 4] = nextLeft[i][z];
}

void storeRightRows() {
    [[unroll]] for (uint i = 0; i < 2; i++)
        [[unroll]] for (uint z = 0; z < 4; z++)
            rightTile[(quadOf() + z) * PITCH + lineOf(i) / 4][lineOf(i) % 4] = nextRight[i][z];
}

void clearSums() {
    [[unroll]] for (uint i = 0; i < 8; i++)
        sums[i] = vec4(0);
}

void multiply() {
    // A part at a time: whole, it takes some drivers seconds to compile.
    for (uint from = 0; from < DEPTH; from += 8) {
        [[unroll]] for (uint k = 0; k < 8; k++) {
            uint line = (from + k) * PITCH;
            vec4 top = leftTile[line + down()], bottom = leftTile[line + 8 + down()], right = rightTile[line + across()];
            [[unroll]] for (uint i = 0; i < 4; i++) {
                sums[i] = fma(vec4(top[i]), right, sums[i]);
                sums[4 + i] = fma(vec4(bottom[i]), right, sums[4 + i]);
            }
        }
    }
}

// sums += left · right over an extent. LOAD(k) fetches the operands from depth k on into nextLeft and nextRight, zeros past the end.
#define PRODUCT(EXTENT, LOAD, STORE_LEFT, STORE_RIGHT) \
    LOAD(0); \
    for (uint k = 0; k < (EXTENT); k += DEPTH) { \
        barrier(); \
        STORE_LEFT(); \
        STORE_RIGHT(); \
        barrier(); \
        LOAD(k + DEPTH); \
        multiply(); \
    }

// Sums along the rows of the tile of what each invocation has for its 8 rows; invocation r < 64 gets that of row r. In a fixed order.
float sumRows(float values[8]) {
    barrier();
    leftTile[across() * PITCH + down()] = vec4(values[0], values[1], values[2], values[3]);
    leftTile[across() * PITCH + 8 + down()] = vec4(values[4], values[5], values[6], values[7]);
    barrier();
    float sum = 0;
    uint r = invocation() % TILE;
    [[unroll]] for (uint i = 0; i < 16; i++)
        sum += leftTile[i * PITCH + r / 4][r % 4];
    return sum;
}

// The same along columns: invocation c < 64 gets column c.
float sumColumns(vec4 values) {
    barrier();
    rightTile[down() * PITCH + across()] = values;
    barrier();
    float sum = 0;
    uint c = invocation() % TILE;
    [[unroll]] for (uint i = 0; i < 8; i++)
        sum += rightTile[i * PITCH + c / 4][c % 4];
    return sum;
}
