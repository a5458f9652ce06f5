#version 460
#extension GL_GOOGLE_include_directive : require
// C = A · B for processors that run shaders, where shared memory and barriers cost more than they save: an invocation computes ROWS rows of four columns, and
// the invocations of a workgroup lie side by side along a row.
#include "common.glsl"
#include "addend.glsl"

layout(constant_id = 1) const uint ROWS = 16; // 1, or a multiple of 4
layout(constant_id = 2) const bool TRANSPOSE_A = false;
layout(constant_id = 3) const bool TRANSPOSE_B = false;
// Whether the rows of a matrix are multiples of four elements, as they lie in memory.
layout(constant_id = 4) const bool WHOLE_A = false;
layout(constant_id = 5) const bool WHOLE_B = false;
layout(constant_id = 6) const bool WHOLE_C = false;
layout(constant_id = 7) const uint ADDEND = NOTHING; // D in C = A · B + D, as C or a row
layout(constant_id = 8) const bool IS_ROW = false;

layout(push_constant, scalar) uniform Push {
    Floats a;
    Floats b;
    Floats c;
    Floats d;
    uint m;
    uint n;
    uint k;
    uint rowGroups;
    uint columnGroups;
    uint batches;
    uint batchA; // elements from one matrix to the next; 0 where all batches share one
    uint batchB;
} push;

vec4 four(Floats x, uint i, bool whole) {
    if (whole)
        return Vectors(uint64_t(x)).at[i / 4];
    return vec4(x.at[i], x.at[i + 1], x.at[i + 2], x.at[i + 3]);
}

// B[k, n … n + 3]; columns outside the matrix repeat its last, and what they give is not stored.
vec4 rowOfB(uint from, uint k, uint n) {
    if (WHOLE_B || n + 4 <= push.n)
        return four(push.b, from + k * push.n + n, WHOLE_B);
    uint last = push.n - 1;
    from += k * push.n;
    return vec4(push.b.at[from + min(n, last)], push.b.at[from + min(n + 1, last)], push.b.at[from + min(n + 2, last)], push.b.at[from + min(n + 3, last)]);
}

void main() {
    uint group = groupNumber(), columnGroup = group % push.columnGroups, plane = group / push.columnGroups;
    uint batch = plane / push.rowGroups, m0 = plane % push.rowGroups * ROWS, n0 = (columnGroup * gl_WorkGroupSize.x + gl_LocalInvocationID.x) * 4;
    if (batch >= push.batches || n0 >= push.n)
        return;
    uint fromA = batch * push.batchA, fromB = batch * push.batchB, lastRow = push.m - 1, lastColumn = push.n - 1, whole = push.k & ~3u;

    vec4 sums[ROWS];
    [[unroll]] for (uint row = 0; row < ROWS; row++)
        sums[row] = vec4(0);
    // Whether the four-row loads of a transposed A stay inside.
    bool fullRows = ROWS % 4 == 0 && m0 + ROWS <= push.m;
    for (uint k = 0; k < whole; k += 4) {
        mat4 b; // b[z] is B[k + z, n0 … n0 + 3]
        if (TRANSPOSE_B) {
            mat4 columns;
            [[unroll]] for (uint j = 0; j < 4; j++)
                columns[j] = four(push.b, fromB + min(n0 + j, lastColumn) * push.k + k, WHOLE_B);
            b = transpose(columns);
        } else {
            [[unroll]] for (uint z = 0; z < 4; z++)
                b[z] = rowOfB(fromB, k + z, n0);
        }
        if (TRANSPOSE_A && fullRows) {
            [[unroll]] for (uint row = 0; row < ROWS; row += 4) {
                [[unroll]] for (uint z = 0; z < 4; z++) {
                    vec4 a = four(push.a, fromA + (k + z) * push.m + m0 + row, WHOLE_A);
                    [[unroll]] for (uint i = 0; i < 4 && i < ROWS; i++)
                        sums[row + i] = fma(vec4(a[i]), b[z], sums[row + i]);
                }
            }
        } else {
            [[unroll]] for (uint row = 0; row < ROWS; row++) {
                uint m = min(m0 + row, lastRow);
                vec4 a;
                if (TRANSPOSE_A) {
                    [[unroll]] for (uint z = 0; z < 4; z++)
                        a[z] = push.a.at[fromA + (k + z) * push.m + m];
                } else {
                    a = four(push.a, fromA + m * push.k + k, WHOLE_A);
                }
                [[unroll]] for (uint z = 0; z < 4; z++)
                    sums[row] = fma(vec4(a[z]), b[z], sums[row]);
            }
        }
    }
    for (uint k = whole; k < push.k; k++) {
        vec4 b;
        [[unroll]] for (uint j = 0; j < 4; j++) {
            uint n = min(n0 + j, lastColumn);
            b[j] = push.b.at[fromB + (TRANSPOSE_B ? n * push.k + k : k * push.n + n)];
        }
        [[unroll]] for (uint row = 0; row < ROWS; row++) {
            uint m = min(m0 + row, lastRow);
            sums[row] = fma(vec4(push.a.at[fromA + (TRANSPOSE_A ? k * push.m + m : m * push.k + k)]), b, sums[row]);
        }
    }

    [[unroll]] for (uint row = 0; row < ROWS; row++) {
        if (m0 + row < push.m) {
            uint to = (batch * push.m + m0 + row) * push.n + n0;
            if (ADDEND != NOTHING) {
                [[unroll]] for (uint j = 0; j < 4; j++)
                    if (n0 + j < push.n)
                        sums[row][j] += push.d.at[(IS_ROW ? n0 : to) + j];
            }
            if (WHOLE_C) {
                Vectors(uint64_t(push.c)).at[to / 4] = sums[row];
            } else {
                [[unroll]] for (uint j = 0; j < 4; j++)
                    if (n0 + j < push.n)
                        push.c.at[to + j] = sums[row][j];
            }
        }
    }
}
