// Products of 64 by 64 tiles by 128 invocations: each keeps 8 by 4 results in registers; both operands pass through shared memory (about 10 KB, so that several
// workgroups fit a multiprocessor and hide each other's barriers), and the next slice is on its way from memory while one is multiplied.
// With MATRIX_UNITS defined each of four subgroups multiplies a quarter of the tile, 32 by 32, from operands rounded to 16 bits; sums are float32.
// Specialization constant 1 says whether rows of the operands consist of whole, aligned quads, and, above that bit, how activations (x, B, C, y and their gradients), states
// and the gradients of what chunks add to them are held: as float32, or in 16 bits where quads are whole. All else is float32.
#ifdef MATRIX_UNITS
#include "matrix.glsl"
#endif
#include "common.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint LAYOUT = 0;

const uint QUADS = LAYOUT & 1, ACTIVATIONS = LAYOUT >> 1 & 3, STATES = LAYOUT >> 3 & 3, DSTATES = LAYOUT >> 5 & 3;

const uint TILE = 64;
#ifdef MATRIX_UNITS
const uint DEPTH = 32;
#else
const uint DEPTH = 16;
#endif
const uint LOADS = DEPTH / 8; // quads of each operand that an invocation loads
const uint PITCH = TILE / 4 + 1; // in quads; one more than needed, so that transposing stores spread over the banks

vec4 sums[8];
// Four elements of an operand on their way to shared memory.
#ifdef MATRIX_UNITS
#define OPERAND uvec2
#else
#define OPERAND vec4
#endif
OPERAND nextLeft[LOADS];
OPERAND nextRight[LOADS];

// How an invocation's quads lie in an operand: along the depth, or across it, along rows of the left and columns of the right operand.
const bool ALONG = true;
const bool ACROSS = false;

uint invocation() { return gl_LocalInvocationID.x; }

// The invocation's part of the result: rows rowOf(0 … 7), columns column() … column() + 3.
uint across() { return invocation() % 16; }
uint down() { return invocation() / 16; }
uint rowOf(uint i) { return i / 4 * 32 + down() * 4 + i % 4; }
uint column() { return across() * 4; }

// The invocation's part in loading a slice: where the depth is the slow axis, quads fastOf() of lines slowOf(0), slowOf(1), …; where it is the fast axis,
// quads quadOf() of rows lineOf(0), lineOf(1), …
uint fastOf() { return invocation() % 16 * 4; }
uint slowOf(uint i) { return invocation() / 16 + 8 * i; }
uint quadOf() { return invocation() % (DEPTH / 4) * 4; }
uint lineOf(uint i) { return invocation() / (DEPTH / 4) + 128 / (DEPTH / 4) * i; }

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

vec4 fours(Floats from, uint index, int count, const uint type) {
    if (type == F32)
        return quad(from, index, count);
    return count > 0 ? readFour(from, index, count, type) : vec4(0);
}

vec4 activations(Floats from, uint index, int count) { return fours(from, index, count, ACTIVATIONS); }

void storeAs(const uint type, Floats to, uint index, int count, vec4 value) {
    if (type == F32)
        storeQuad(to, index, count, value);
    else if (count > 0)
        writeFour(to, index, count, type, value);
}

void storeActivations(Floats to, uint index, int count, vec4 value) { storeAs(ACTIVATIONS, to, index, count, value); }

// How many of a row's elements are left at a place; none where the row is outside.
int left(bool inside, uint extent, uint place) { return inside ? int(extent) - int(place) : 0; }

#ifdef MATRIX_UNITS

uvec2 operand(vec4 value) { return rounded(value); }

// Numbers that are rounded already are moved as they are.
uvec2 moved(Floats from, uint index, int count, const uint type) {
    if (type == NATIVE)
        return count > 0 ? HalfQuads(uint64_t(from)).at[index >> 2] : uvec2(0);
    return operand(fours(from, index, count, type));
}

// Packs of four numbers of 16 bits. A line along the depth has 8, one across it 16; two more, so that lines fall on different banks.
const uint LINE_ALONG = DEPTH / 4 + 2, LINE_ACROSS = TILE / 4 + 2, RIGHT_TILE = TILE * LINE_ALONG;
// Half of the sums on their way from matrices to invocations, in pairs of floats.
const uint LINE_SUMS = TILE / 2 + 2;

shared uvec2 packs[2 * RIGHT_TILE];
shared vec4 leftTile[16 * PITCH];
#define rightTile leftTile

SUMS_BLOCK blocks[2][2];

void clearBlocks() {
    [[unroll]] for (uint i = 0; i < 2; i++)
        [[unroll]] for (uint j = 0; j < 2; j++)
            blocks[i][j] = SUMS_BLOCK(0.0);
}

void clearSums() {
    [[unroll]] for (uint i = 0; i < 8; i++)
        sums[i] = vec4(0);
    clearBlocks();
}

void store(const bool left, const bool right) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        packs[left ? lineOf(i) * LINE_ALONG + quadOf() / 4 : slowOf(i) * LINE_ACROSS + fastOf() / 4] = nextLeft[i];
        packs[RIGHT_TILE + (right ? lineOf(i) * LINE_ALONG + quadOf() / 4 : slowOf(i) * LINE_ACROSS + fastOf() / 4)] = nextRight[i];
    }
}

void multiply(const bool left, const bool right) {
    uint row = gl_SubgroupID % 2 * 32, column = gl_SubgroupID / 2 * 32;
    [[unroll]] for (uint k = 0; k < DEPTH; k += 16) {
        LEFT_BLOCK a[2];
        [[unroll]] for (uint i = 0; i < 2; i++) {
            if (left)
                coopMatLoad(a[i], packs, (row + 16 * i) * LINE_ALONG + k / 4, LINE_ALONG, gl_CooperativeMatrixLayoutRowMajor);
            else
                coopMatLoad(a[i], packs, k * LINE_ACROSS + (row + 16 * i) / 4, LINE_ACROSS, gl_CooperativeMatrixLayoutColumnMajor);
        }
        [[unroll]] for (uint j = 0; j < 2; j++) {
            RIGHT_BLOCK b;
            if (right)
                coopMatLoad(b, packs, RIGHT_TILE + (column + 16 * j) * LINE_ALONG + k / 4, LINE_ALONG, gl_CooperativeMatrixLayoutColumnMajor);
            else
                coopMatLoad(b, packs, RIGHT_TILE + k * LINE_ACROSS + (column + 16 * j) / 4, LINE_ACROSS, gl_CooperativeMatrixLayoutRowMajor);
            [[unroll]] for (uint i = 0; i < 2; i++)
                blocks[i][j] = coopMatMulAdd(a[i], b, blocks[i][j]);
        }
    }
}

// Adds to sums what was multiplied since they were cleared or finished.
void finishSums() {
    [[unroll]] for (uint part = 0; part < 2; part++) {
        barrier();
        if (gl_SubgroupID % 2 == part) {
            [[unroll]] for (uint i = 0; i < 2; i++)
                [[unroll]] for (uint j = 0; j < 2; j++)
                    coopMatStore(blocks[i][j], packs, 16 * i * LINE_SUMS + (gl_SubgroupID / 2 * 32 + 16 * j) / 2, LINE_SUMS, gl_CooperativeMatrixLayoutRowMajor);
        }
        barrier();
        [[unroll]] for (uint i = 0; i < 4; i++) {
            uint at = (down() * 4 + i) * LINE_SUMS + across() * 2;
            sums[part * 4 + i] += uintBitsToFloat(uvec4(packs[at], packs[at + 1]));
        }
    }
    clearBlocks();
}

#else

vec4 operand(vec4 value) { return value; }

vec4 moved(Floats from, uint index, int count, const uint type) { return fours(from, index, count, type); }

shared vec4 leftTile[DEPTH * PITCH];
shared vec4 rightTile[DEPTH * PITCH];

void clearSums() {
    [[unroll]] for (uint i = 0; i < 8; i++)
        sums[i] = vec4(0);
}

// Both tiles lie in shared memory with the depth outermost.
void store(const bool left, const bool right) {
    [[unroll]] for (uint i = 0; i < LOADS; i++) {
        if (left) {
            [[unroll]] for (uint z = 0; z < 4; z++)
                leftTile[(quadOf() + z) * PITCH + lineOf(i) / 4][lineOf(i) % 4] = nextLeft[i][z];
        } else {
            leftTile[slowOf(i) * PITCH + fastOf() / 4] = nextLeft[i];
        }
        if (right) {
            [[unroll]] for (uint z = 0; z < 4; z++)
                rightTile[(quadOf() + z) * PITCH + lineOf(i) / 4][lineOf(i) % 4] = nextRight[i][z];
        } else {
            rightTile[slowOf(i) * PITCH + fastOf() / 4] = nextRight[i];
        }
    }
}

void multiply(const bool left, const bool right) {
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

void finishSums() {}

#endif

// sums += left · right over an extent, once they are finished. LOAD(k) fetches the operands from depth k on into nextLeft and nextRight, zeros past the end;
// LEFT and RIGHT say how they lie there.
#define PRODUCT(EXTENT, LOAD, LEFT, RIGHT) \
    LOAD(0); \
    for (uint k = 0; k < (EXTENT); k += DEPTH) { \
        barrier(); \
        store(LEFT, RIGHT); \
        barrier(); \
        LOAD(k + DEPTH); \
        multiply(LEFT, RIGHT); \
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
