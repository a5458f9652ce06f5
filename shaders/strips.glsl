// Products of a whole chunk on matrix units. A workgroup takes a chunk of at most 128 positions for some heads of a group, one after the other; each subgroup of 32 takes
// strips of 16 rows. What heads share stays in registers, and the next head's tiles are on their way from memory while one is multiplied.
// x, B, C, y, states and their gradients have 16 bits, see matrix.glsl, rows of whole eights; all else is float32. A lane has one row of its strip and 8 columns of every 16.
#include "matrix.glsl"
#include "common.glsl"

// The push constant block of each ends with these: some extents are constants, and a group may be shared by several workgroups.
#define P_EXTENT WIDTH
#define N_EXTENT STATES
#define EXTENTS uint sequenceLength; uint heads; uint groups; uint chunk; uint chunks; uint tiles; uint count; uint shares; uint headsPerShare;
#include "scan.glsl"

layout(constant_id = 0) const uint INVOCATIONS = 256;
layout(constant_id = 1) const uint WIDTH = 64;   // P, a multiple of 32
layout(constant_id = 2) const uint STATES = 128; // N, a multiple of 32

const uint ROWS = INVOCATIONS / 2;                                      // the positions of a chunk, filled up
const uint WIDTH_PITCH = WIDTH / 8 + 1, STATE_PITCH = STATES / 8 + 1;   // of tiles in shared memory, in eights; odd, so that rows fall on different banks
const uint SLOT_PITCH = 5, SLOT = 16 * SLOT_PITCH;                      // a subgroup's place for 16 rows of 32 numbers of 16 bits, or of 16 floats
const uint WIDTH_SHARE = WIDTH / 16;                                    // eights of a tile [ROWS, P] that an invocation moves
const uint STATE_SHARE = (WIDTH * STATES / 8 + INVOCATIONS - 1) / INVOCATIONS; // the same of a tile [P, N]

layout(buffer_reference, scalar, buffer_reference_align = 16) buffer Eights { uvec4 at[]; };

// Lanes of a subgroup see what the others left in shared memory. Not subgroupBarrier, which orders accesses of buffers, too, and so waits for all that are under way.
void meet() { controlBarrier(gl_ScopeSubgroup, gl_ScopeSubgroup, gl_StorageSemanticsShared, gl_SemanticsAcquireRelease); }

uint lane() { return gl_SubgroupInvocationID; }

// The subgroup's strip. The further down the diagonal, the longer its rows are: subgroups that a multiprocessor's schedulers share get the shortest with the longest.
uint strip() {
    const uint all = INVOCATIONS / 32;
    return gl_SubgroupID < all / 2 ? gl_SubgroupID : all + all / 2 - 1 - gl_SubgroupID;
}

uint row() { return strip() * 16 + lane() / 2; }
uint half_() { return lane() % 2; }

// The lane's place in its subgroup's slot: of 16 columns of 16 bits, the first or the second of two, or of 16 floats.
uint slot() { return gl_SubgroupID * SLOT; }
uint packedAt(uint block) { return slot() + lane() / 2 * SLOT_PITCH + block * 2 + half_(); }
uint floatsAt() { return slot() + lane() / 2 * SLOT_PITCH + half_() * 2; }

vec4 lowFour(uvec4 eight) { return widened(eight.xy); }
vec4 highFour(uvec4 eight) { return widened(eight.zw); }
uvec4 roundedEight(vec4 low, vec4 high) { return uvec4(rounded(low), rounded(high)); }

// What is fetched for the next head is touched no earlier than that: anything done to it would wait for it. So rows past the end are fetched, too, from the last, and left out then.
uvec4 eightAt(Floats from, uint index) { return Eights(uint64_t(from)).at[index >> 3]; }
uvec4 onlyIf(bool inside, uvec4 eight) { return inside ? eight : uvec4(0); }

uint clampedRow(uint s) { return min(s, positions - 1); }

// Which part, group and heads are the workgroup's.
uint share, firstHead, endHead;

#define LOCATE_SHARE \
    uint number = groupNumber(), headsPerGroup = push.heads / push.groups; \
    if (number >= push.count) \
        return; \
    share = number % push.shares; \
    number /= push.shares; \
    group = number % push.groups; \
    LOCATE(number / push.groups) \
    firstHead = group * headsPerGroup + share * push.headsPerShare; \
    endHead = group * headsPerGroup + min((share + 1) * push.headsPerShare, headsPerGroup);

// A tile [ROWS, P] of x or its like, on its way to shared memory.
uvec4 nextRows[WIDTH_SHARE];

#define FETCH_ROWS(FROM) \
    [[unroll]] for (uint i = 0; i < WIDTH_SHARE; i++) { \
        uint e = gl_LocalInvocationID.x + i * INVOCATIONS, s = e / (WIDTH / 8); \
        nextRows[i] = eightAt(FROM, X_AT(clampedRow(s)) + e % (WIDTH / 8) * 8); \
    }

#define KEEP_ROWS(TILE) \
    [[unroll]] for (uint i = 0; i < WIDTH_SHARE; i++) { \
        uint e = gl_LocalInvocationID.x + i * INVOCATIONS; \
        TILE[e / (WIDTH / 8) * WIDTH_PITCH + e % (WIDTH / 8)] = onlyIf(e / (WIDTH / 8) < positions, nextRows[i]); \
    }

// A tile [P, N] of states.
uvec4 nextState[STATE_SHARE];

#define FETCH_STATE(FROM) \
    [[unroll]] for (uint i = 0; i < STATE_SHARE; i++) \
        nextState[i] = Eights(uint64_t(FROM)).at[STATE_AT / 8 + min(gl_LocalInvocationID.x + i * INVOCATIONS, WIDTH * STATES / 8 - 1)];

#define KEEP_STATE(TILE) \
    [[unroll]] for (uint i = 0; i < STATE_SHARE; i++) { \
        uint e = gl_LocalInvocationID.x + i * INVOCATIONS; \
        if (e < WIDTH * STATES / 8) \
            TILE[e / (STATES / 8) * STATE_PITCH + e % (STATES / 8)] = nextState[i]; \
    }

// The strip's rows of B or C as left operands.
#define LOAD_GROUP_STRIP(BLOCKS, SCRATCH, FROM) \
    [[unroll]] for (uint k = 0; k < STATES / 16; k++) { \
        SCRATCH[packedAt(0)] = onlyIf(row() < positions, eightAt(FROM, B_AT(clampedRow(row())) + k * 16 + half_() * 8)); \
        meet(); \
        coopMatLoad(BLOCKS[k], SCRATCH, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor); \
        meet(); \
    }

// The lane's part of a block of sums.
#define SUMS_TO_LANE(SUMS, SCRATCH, LOW, HIGH) \
    coopMatStore(SUMS, SCRATCH, slot(), SLOT_PITCH, gl_CooperativeMatrixLayoutRowMajor); \
    meet(); \
    LOW = uintBitsToFloat(SCRATCH[floatsAt()]); \
    HIGH = uintBitsToFloat(SCRATCH[floatsAt() + 1]); \
    meet();

// What the decay needs of one position s for every head: the sum of dt·A in two parts, and dt.
uint decayPlace() { return min(gl_LocalInvocationID.x, ROWS - 1); }

vec4 decays(vec4 highM, vec4 lowM, vec4 highS, vec4 lowS) { return exp(min((highM - highS) + (lowM - lowS), vec4(0))); }
