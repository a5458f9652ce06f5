// Where the kernels of the chunked scan find what belongs to a chunk, a head and a group. The push constant block of each ends with EXTENTS.
// B batch, L length, H heads, P head width, G groups, N state. A chunk is cut into tiles of 64 positions, the last one filled up.
// Scratch of the decay is [B, chunks, H, 64 · tiles]; products of positions are [B, chunks, G, pairs of tiles, 64, 64], pair m(m+1)/2 + s for tiles s ≤ m.
#ifndef P_EXTENT
#define P_EXTENT push.width
#define N_EXTENT push.states
#define EXTENTS uint sequenceLength; uint heads; uint width; uint groups; uint states; uint chunk; uint chunks; uint tiles; uint count;
#endif

uint part;      // number of the chunk in the batch
uint head;
uint group;
uint positions; // of this chunk
uint firstRow;  // its first position in [B · L]

#define LOCATE(PART) \
    part = (PART); \
    positions = min(push.chunk, push.sequenceLength - part % push.chunks * push.chunk); \
    firstRow = part / push.chunks * push.sequenceLength + part % push.chunks * push.chunk;

// Element 0 of a position in x [B, L, H, P], dt [B, L, H], B or C [B, L, G, N], and the decay's scratch; of this head in states [B, chunks, H, P, N].
#define X_AT(s) (((firstRow + (s)) * push.heads + head) * P_EXTENT)
#define DT_AT(s) ((firstRow + (s)) * push.heads + head)
#define B_AT(s) (((firstRow + (s)) * push.groups + group) * N_EXTENT)
#define DECAY_AT(s) ((part * push.heads + head) * push.tiles * 64 + (s))
#define STATE_AT ((part * push.heads + head) * P_EXTENT * N_EXTENT)
#define PAIRS (push.tiles * (push.tiles + 1) / 2)
#define PAIR_AT(m, s) (((part * push.groups + group) * PAIRS + (m) * ((m) + 1) / 2 + (s)) * 4096)
