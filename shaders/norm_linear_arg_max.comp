#version 460
#extension GL_GOOGLE_include_directive : require
#extension GL_KHR_shader_subgroup_arithmetic : require
// Where norm(A) · Bᵀ is largest in each of a few rows, as a model that writes asks it: a subgroup goes through rows of B, of which the next is on its way, and a workgroup leaves the key and the place of
// the largest product that it saw, to the last bit what matmul_few_rows computes.
#include "words.glsl"
#include "weights.glsl"
#include "order.glsl"
#include "bfloat16.glsl"

layout(constant_id = 0) const uint WORKGROUP = 256;
layout(constant_id = 1) const uint ROWS = 1;
layout(constant_id = 2) const uint TYPE = F32;
layout(constant_id = 3) const uint FLIGHT = 1; // loads of a row of B
layout(constant_id = 4) const uint LANES = 32; // the size of a subgroup
layout(constant_id = 5) const uint PACKS = 1;  // of a row of B
layout(constant_id = 6) const uint ROUNDED = 0; // A times the norm's weight is rounded to bfloat16, as matrix units take more rows

layout(push_constant, scalar) uniform Push {
    Vectors a;    // [ROWS, k]
    Vectors norm; // [k]
    Packs b;      // [n, k]
    Words pairs;  // [ROWS, groups, 2]
    uint n;
    uint groups;
    float epsilon;
} push;

const uint CHUNKS = PACK_LENGTH(TYPE) / 4, SUBGROUPS = WORKGROUP / LANES, WIDTH = FLIGHT * LANES, STAGES = (CHUNKS * WIDTH + WORKGROUP - 1) / WORKGROUP;

// A times the norm's weight, what belongs to chunk i of all packs together, so that neighbours read neighbours; zeros behind the last pack.
shared vec4 staged[ROWS * CHUNKS * WIDTH];
shared float ofSubgroup[ROWS * SUBGROUPS];
shared uint keys[ROWS * SUBGROUPS], places[ROWS * SUBGROUPS];

uvec4 loaded[FLIGHT];
float scales[FLIGHT];

void load(uint column) {
    [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
        // Past the end the last pack is read, and counts nothing: loads behind a branch would wait for each other.
        uint64_t pack = uint64_t(min(column, push.n - 1)) * PACKS + min(f * LANES + gl_SubgroupInvocationID, PACKS - 1);
        loaded[f] = push.b.at[uint(pack)];
        scales[f] = packScale(TYPE, push.b, uint64_t(push.n) * PACKS, pack);
    }
}

void main() {
    uint me = gl_LocalInvocationID.x, lane = gl_SubgroupInvocationID, group = groupNumber(), column = group * SUBGROUPS + gl_SubgroupID, stride = push.groups * SUBGROUPS;
    if (group >= push.groups)
        return;
    vec4 own[ROWS * STAGES], norms[STAGES];
    [[unroll]] for (uint i = 0; i < STAGES; i++) {
        uint e = i * WORKGROUP + me, k = min(e, PACKS * CHUNKS - 1);
        norms[i] = push.norm.at[k];
        [[unroll]] for (uint row = 0; row < ROWS; row++)
            own[row * STAGES + i] = push.a.at[row * PACKS * CHUNKS + k];
    }
    load(column);
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        float squares = 0;
        [[unroll]] for (uint i = 0; i < STAGES; i++) {
            uint e = i * WORKGROUP + me;
            vec4 a = e < PACKS * CHUNKS ? own[row * STAGES + i] : vec4(0);
            squares += dot(a, a);
            if (e < CHUNKS * WIDTH)
                staged[(row * CHUNKS + e % CHUNKS) * WIDTH + e / CHUNKS] = ROUNDED != 0 ? roundedToBfloat16(a * norms[i]) : a * norms[i];
        }
        float sum = subgroupAdd(squares);
        if (lane == 0)
            ofSubgroup[row * SUBGROUPS + gl_SubgroupID] = sum;
    }
    barrier();
    float scale[ROWS];
    uint best[ROWS], place[ROWS];
    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        float sum = 0;
        [[unroll]] for (uint i = 0; i < SUBGROUPS; i++)
            sum += ofSubgroup[row * SUBGROUPS + i];
        scale[row] = 1 / sqrt(sum / float(4 * PACKS * CHUNKS) + push.epsilon);
        best[row] = 0;
        place[row] = 0xFFFFFFFFu;
    }
    for (; column < push.n; column += stride) {
        uvec4 now[FLIGHT];
        float nowScales[FLIGHT], sums[ROWS];
        [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
            now[f] = loaded[f];
            nowScales[f] = scales[f];
        }
        load(column + stride);
        [[unroll]] for (uint row = 0; row < ROWS; row++)
            sums[row] = 0;
        [[unroll]] for (uint f = 0; f < FLIGHT; f++) {
            float parts[ROWS];
            [[unroll]] for (uint row = 0; row < ROWS; row++)
                parts[row] = 0;
            [[unroll]] for (uint chunk = 0; chunk < CHUNKS; chunk++) {
                vec4 b = numbers(TYPE, now[f], chunk);
                [[unroll]] for (uint row = 0; row < ROWS; row++) {
                    vec4 a = staged[(row * CHUNKS + chunk) * WIDTH + f * LANES + lane];
                    parts[row] = fma(a.x, b.x, fma(a.y, b.y, fma(a.z, b.z, fma(a.w, b.w, parts[row]))));
                }
            }
            [[unroll]] for (uint row = 0; row < ROWS; row++)
                sums[row] = fma(nowScales[f], parts[row], sums[row]);
        }
        [[unroll]] for (uint row = 0; row < ROWS; row++) {
            uint found = key(floatBitsToUint(fma(subgroupAdd(sums[row]), scale[row], 0.0)));
            // Columns come in order, so that the first of equals is there already.
            if (found > best[row] || place[row] == 0xFFFFFFFFu) {
                best[row] = found;
                place[row] = column;
            }
        }
    }
    if (lane == 0) {
        [[unroll]] for (uint row = 0; row < ROWS; row++) {
            keys[row * SUBGROUPS + gl_SubgroupID] = best[row];
            places[row * SUBGROUPS + gl_SubgroupID] = place[row];
        }
    }
    barrier();
    if (me < ROWS) {
        uint largest = 0, first = 0xFFFFFFFFu;
        for (uint i = me * SUBGROUPS; i < (me + 1) * SUBGROUPS; i++) {
            if (keys[i] > largest || (keys[i] == largest && places[i] < first)) {
                largest = keys[i];
                first = places[i];
            }
        }
        push.pairs.at[2 * (me * push.groups + group)] = largest;
        push.pairs.at[2 * (me * push.groups + group) + 1] = first;
    }
}
