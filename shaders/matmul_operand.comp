#version 460
#extension GL_GOOGLE_include_directive : require
// A float32 matrix as matrix units take it: rounded to bfloat16 (to the nearest, ties to even), with rows and columns of zeros up to whole slices and packs of eight.
// With PARTS 2 a second matrix behind the first holds what rounding took away, rounded too.
#include "common.glsl"

layout(constant_id = 1) const uint PARTS = 1;
layout(constant_id = 2) const uint WHOLE = 0; // rows are multiples of eight elements

layout(buffer_reference, scalar, buffer_reference_align = 16) writeonly buffer Packed { uvec4 at[]; };

layout(push_constant, scalar) uniform Push {
    Floats x; // [batches, rows, columns]
    Packed y; // [PARTS, batches, allRows, pitch]
    uint rows;
    uint columns;
    uint allRows;
    uint packs; // pitch / 8
    uint count; // packs of one part
} push;

uint round16(float value) {
    uint bits = floatBitsToUint(value);
    return isnan(value) ? 0x7FC0u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}

uint pair(float low, float high) { return round16(low) | round16(high) << 16; }

float rest(float value) {
    float rounded = uintBitsToFloat(round16(value) << 16);
    return isinf(rounded) ? 0.0 : value - rounded;
}

void main() {
    uint i = invocationNumber();
    if (i >= push.count)
        return;
    uint line = i / push.packs, row = line % push.allRows, column = i % push.packs * 8;
    float x[8];
    [[unroll]] for (uint e = 0; e < 8; e++)
        x[e] = 0.0;
    if (row < push.rows) {
        uint64_t from = (uint64_t(line / push.allRows) * push.rows + row) * push.columns + column;
        if (WHOLE != 0) {
            if (column < push.columns) {
                Vectors quads = Vectors(uint64_t(push.x) + 4 * from);
                vec4 low = quads.at[0], high = quads.at[1];
                [[unroll]] for (uint e = 0; e < 4; e++) {
                    x[e] = low[e];
                    x[e + 4] = high[e];
                }
            }
        } else {
            Floats elements = Floats(uint64_t(push.x) + 4 * from);
            [[unroll]] for (uint e = 0; e < 8; e++)
                if (column + e < push.columns)
                    x[e] = elements.at[e];
        }
    }
    push.y.at[i] = uvec4(pair(x[0], x[1]), pair(x[2], x[3]), pair(x[4], x[5]), pair(x[6], x[7]));
    if (PARTS == 2)
        push.y.at[push.count + i] = uvec4(pair(rest(x[0]), rest(x[1])), pair(rest(x[2]), rest(x[3])), pair(rest(x[4]), rest(x[5])), pair(rest(x[6]), rest(x[7])));
}
