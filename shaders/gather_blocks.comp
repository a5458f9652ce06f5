// y[s] = table[indices[s]] in float32, rows of numbers in fewer bits; a row that does not exist is zeros. Four numbers for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"
#include "weights.glsl"

layout(constant_id = 1) const uint TYPE = Q8_0;

layout(push_constant, scalar) uniform Push {
    Packs table;
    Words indices;
    Vectors y;
    uint count; // of y
    uint width; // of a row
    uint rows;
} push;

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first >= push.count)
        return;
    uint row = push.indices.at[first / push.width], length = PACK_LENGTH(TYPE), packs = push.width / length, at = first % push.width;
    uint64_t pack = uint64_t(row) * packs + at / length;
    push.y.at[i] = row < push.rows ? packScale(TYPE, push.table, uint64_t(push.rows) * packs, pack) * numbers(TYPE, push.table.at[uint(pack)], at % length / 4) : vec4(0);
}
