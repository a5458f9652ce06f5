#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// C = A · Bᵀ for a few rows of A, as in decoding, where reading B [N, K] is what takes the time, in float32 or in fewer bits: a subgroup for COLUMNS rows of B and all of A. What is read of B is
// asked for before anything else, since it does not depend on the operation before. With NORM it is C = norm(A) · Bᵀ + residual: the mean of squares divides the whole row, so it is applied to the product.
#include "words.glsl"
#include "weights.glsl"
#include "bfloat16.glsl"

layout(constant_id = 0) const uint WORKGROUP = 64;
layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint COLUMNS = 1;
layout(constant_id = 3) const uint TYPE = F32;
layout(constant_id = 4) const uint FLIGHT = 1; // loads of a row of B under way at once
layout(constant_id = 5) const uint LANES = 32; // the size of a subgroup
layout(constant_id = 6) const uint PACKS = 0;  // of a row of B, where it is worth a pipeline of its own: A is held in shared memory then
layout(constant_id = 7) const uint NORM = 0;
layout(constant_id = 8) const uint RESIDUAL = 0;
layout(constant_id = 9) const uint ROUNDED = 0; // A times the norm's weight is rounded to bfloat16, as matrix units take more rows

layout(push_constant, scalar) uniform Push {
    Vectors a;    // [batches, ROWS, k]
    Vectors norm; // [k]
    Packs b;      // [batches, n, k]
    Floats residual;
    Floats c;
    uint n;
    uint packs; // of a row of B
    uint batches;
    uint batchA; // vectors of A, and packs of B, from one matrix to the next; 0 where all batches share one
    uint batchB;
    float epsilon;
} push;

const uint CHUNKS = PACK_LENGTH(TYPE) / 4, SUBGROUPS = WORKGROUP / LANES, PASS = FLIGHT * LANES, WIDTH = (PACKS + PASS - 1) / PASS * PASS, RESULTS = ROWS * COLUMNS, KEPT = (RESULTS + LANES - 1) / LANES;

// Of A in shared memory: what an invocation brings there of a row.
const uint STAGES = PACKS != 0 ? (CHUNKS * WIDTH + WORKGROUP - 1) / WORKGROUP : 1;

// A times the norm's weight, what belongs to chunk i of all packs together, so that neighbours read neighbours; zeros behind the last pack.
shared vec4 staged[ROWS * CHUNKS * WIDTH + 1];
shared float ofSubgroup[ROWS * SUBGROUPS];

vec4 operand(vec4 a, vec4 norm) { return ROUNDED != 0 ? roundedToBfloat16(a * norm) : a * norm; }

void main() {
    uint packs = PACKS != 0 ? PACKS : push.packs, pitch = packs * CHUNKS, me = gl_LocalInvocationID.x, lane = gl_SubgroupInvocationID;
    uint groups = (push.n + SUBGROUPS * COLUMNS - 1) / (SUBGROUPS * COLUMNS), batch = 0, group = groupNumber();
    // A division takes a tenth of the time that such a kernel has.
    if (push.batches > 1) {
        batch = group / groups;
        group -= batch * groups;
    }
    if (batch >= push.batches || group >= groups)
        return;
    uint column = (group * SUBGROUPS + gl_SubgroupID) * COLUMNS;
    float sums[RESULTS], squares[ROWS], kept[KEPT];
    [[unroll]] for (uint s = 0; s < RESULTS; s++)
        sums[s] = 0;
    [[unroll]] for (uint row = 0; row < ROWS; row++)
        squares[row] = 0;
    for (uint first = 0; first < packs; first += PASS) {
        // A comes from the cache, sooner than B from memory, and is staged while B is on its way: it must be asked for first.
        vec4 own[ROWS * STAGES], norms[STAGES];
        if (PACKS != 0 && first == 0) {
            [[unroll]] for (uint i = 0; i < STAGES; i++) {
                uint e = i * WORKGROUP + me, p = e % WIDTH, k = min(p, PACKS - 1) * CHUNKS + min(e / WIDTH, CHUNKS - 1);
                norms[i] = NORM != 0 ? push.norm.at[k] : vec4(1);
                [[unroll]] for (uint row = 0; row < ROWS; row++)
                    own[row * STAGES + i] = push.a.at[batch * push.batchA + row * pitch + k];
            }
        }
        uvec4 loaded[FLIGHT * COLUMNS];
        float scales[FLIGHT * COLUMNS];
        [[unroll]] for (uint f = 0; f < FLIGHT * COLUMNS; f++) {
            // Past the end the last pack is read, and counts nothing: loads behind a branch would wait for each other.
            uint64_t pack = uint64_t(min(column + f % COLUMNS, push.n - 1)) * packs + min(first + f / COLUMNS * LANES + lane, packs - 1);
            loaded[f] = push.b.at[uint(batch * push.batchB + pack)];
            scales[f] = packScale(TYPE, push.b, uint64_t(push.n) * packs, pack);
        }
        if (first == 0) {
            [[unroll]] for (uint i = 0; i < KEPT; i++) {
                uint s = i * LANES + lane, j = column + s % COLUMNS;
                kept[i] = RESIDUAL != 0 && s < RESULTS && j < push.n ? push.residual.at[s / COLUMNS * push.n + j] : 0;
            }
            if (PACKS != 0) {
                [[unroll]] for (uint row = 0; row < ROWS; row++) {
                    [[unroll]] for (uint i = 0; i < STAGES; i++) {
                        uint e = i * WORKGROUP + me;
                        vec4 a = e < CHUNKS * WIDTH && e % WIDTH < PACKS ? own[row * STAGES + i] : vec4(0);
                        squares[row] += dot(a, a);
                        if (e < CHUNKS * WIDTH)
                            staged[row * CHUNKS * WIDTH + e] = operand(a, norms[i]);
                    }
                    if (NORM != 0) {
                        float sum = subgroupAdd(squares[row]);
                        if (lane == 0)
                            ofSubgroup[row * SUBGROUPS + gl_SubgroupID] = sum;
                    }
                }
                barrier();
            }
        }
        [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
            uint p = first + f * LANES + lane, at = min(p, packs - 1);
            float parts[RESULTS];
            [[unroll]] for (uint s = 0; s < RESULTS; s++)
                parts[s] = 0;
            [[unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++) {
                uint k = at * CHUNKS + chunk;
                vec4 b[COLUMNS];
                [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                    b[j] = numbers(TYPE, loaded[f * COLUMNS + j], chunk);
                [[unroll]] for (uint row = 0; row < ROWS; row++) {
                    vec4 a;
                    if (PACKS != 0) {
                        a = staged[(row * CHUNKS + chunk) * WIDTH + p];
                    } else {
                        a = push.a.at[batch * push.batchA + row * pitch + k] * (p < packs ? 1 : 0);
                        squares[row] += dot(a, a);
                        a = operand(a, NORM != 0 ? push.norm.at[k] : vec4(1));
                    }
                    [[unroll]] for (uint j = 0; j < COLUMNS; j++)
                        parts[row * COLUMNS + j] = fma(a.x, b[j].x, fma(a.y, b[j].y, fma(a.z, b[j].z, fma(a.w, b[j].w, parts[row * COLUMNS + j]))));
                }
            }
            [[unroll]] for (uint s = 0; s < RESULTS; s++)
                sums[s] = fma(scales[f * COLUMNS + s % COLUMNS], parts[s], sums[s]);
        }
    }
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        float scale = 1;
        if (NORM != 0) {
            float sum = 0;
            if (PACKS != 0) {
                [[unroll]] for (uint i = 0; i < SUBGROUPS; i++)
                    sum += ofSubgroup[row * SUBGROUPS + i];
            } else {
                sum = subgroupAdd(squares[row]);
            }
            scale = 1 / sqrt(sum / float(4 * pitch) + push.epsilon);
        }
        [[unroll]] for (uint j = 0; j < COLUMNS; j++) {
            uint s = row * COLUMNS + j;
            float sum = subgroupAdd(sums[s]);
            if (lane == s % LANES)
                kept[s / LANES] = fma(sum, scale, kept[s / LANES]);
        }
    }
    [[unroll]] for (uint i = 0; i < KEPT; i++) {
        uint s = i * LANES + lane, j = column + s % COLUMNS;
        if (s < RESULTS && j < push.n)
            push.c.at[(batch * ROWS + s / COLUMNS) * push.n + j] = kept[i];
    }
}
