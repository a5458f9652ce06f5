#version 460
#extension GL_GOOGLE_include_directive : require
// A matrix as products like to read it, in lines of packs of eight elements that are filled up with zeros: as it lies in memory or turned, so that its lines become columns; in its type or,
// from float32, rounded to 16 bits (to the nearest, ties to even). With PARTS 2 a second matrix behind the first holds what rounding took away, rounded too.
#include "common.glsl"
#include "elements.glsl"

layout(constant_id = 1) const uint FROM = F32; // or RAGGED
layout(constant_id = 2) const uint TO = BF16;
layout(constant_id = 3) const uint PARTS = 1;
layout(constant_id = 4) const bool TURNED = false;

layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer Packed { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Floats x; // [batches, rows, columns]
    Packed y; // [PARTS, batches, lines, packs]
    uint rows;
    uint columns;
    uint lines;
    uint packs;
    uint count; // packs of one part
} push;

// A workgroup turns a square of elements in shared memory; a line is one longer, so that its elements in a column fall on different banks.
const uint SIDE = 64, ROW = SIDE + 1;

shared float square[TURNED ? SIDE * ROW : 1];

vec4 quad(uint batch, uint row, uint column) {
    if (row >= push.rows || column >= push.columns)
        return vec4(0);
    uint64_t from = (uint64_t(batch) * push.rows + row) * push.columns + column;
    return readFour(Floats(uint64_t(push.x) + (FROM == F32 || FROM == RAGGED ? 4 : 2) * from), 0, int(push.columns - column), FROM);
}

uvec4 packed(vec4 low, vec4 high) { return uvec4(narrowPair(TO, low.xy), narrowPair(TO, low.zw), narrowPair(TO, high.xy), narrowPair(TO, high.zw)); }

vec4 rest(vec4 values) {
    [[unroll]] for (uint e = 0; e < 4; e++) {
        float rounded = widen(TO, narrow(TO, values[e]));
        values[e] = isinf(rounded) ? 0.0 : values[e] - rounded;
    }
    return values;
}

void write(uint place, vec4 low, vec4 high) {
    if (TO == F32) {
        push.y.at[2 * place] = floatBitsToUint(low);
        push.y.at[2 * place + 1] = floatBitsToUint(high);
        return;
    }
    push.y.at[place] = packed(low, high);
    if (PARTS == 2)
        push.y.at[push.count + place] = packed(rest(low), rest(high));
}

void main() {
    if (!TURNED) {
        uint i = invocationNumber(), line = i / push.packs, column = i % push.packs * 8;
        if (i < push.count)
            write(i, quad(line / push.lines, line % push.lines, column), quad(line / push.lines, line % push.lines, column + 4));
        return;
    }
    uint down = (push.lines + SIDE - 1) / SIDE, across = (8 * push.packs + SIDE - 1) / SIDE, group = groupNumber(), batch = group / across / down;
    if (batch * push.lines * push.packs >= push.count)
        return;
    uint firstLine = group / across % down * SIDE, firstPack = group % across * (SIDE / 8);
    for (uint i = gl_LocalInvocationID.x; i < SIDE * SIDE / 4; i += gl_WorkGroupSize.x) {
        uint row = i / (SIDE / 4), column = i % (SIDE / 4) * 4;
        vec4 values = quad(batch, firstPack * 8 + row, firstLine + column);
        [[unroll]] for (uint e = 0; e < 4; e++)
            square[(column + e) * ROW + row] = values[e];
    }
    barrier();
    for (uint i = gl_LocalInvocationID.x; i < SIDE * SIDE / 8; i += gl_WorkGroupSize.x) {
        uint line = i / (SIDE / 8), pack = i % (SIDE / 8), at = line * ROW + pack * 8;
        if (firstLine + line < push.lines && firstPack + pack < push.packs)
            write(
                (batch * push.lines + firstLine + line) * push.packs + firstPack + pack,
                vec4(square[at], square[at + 1], square[at + 2], square[at + 3]), vec4(square[at + 4], square[at + 5], square[at + 6], square[at + 7]));
    }
}
