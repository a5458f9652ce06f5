// y = x in another type: float32 from integers or numbers in fewer bits, and numbers of 16 bits from float32; four elements for each invocation.
#version 460
#extension GL_GOOGLE_include_directive : require
#include "words.glsl"
#include "weights.glsl"

layout(constant_id = 1) const uint FROM = I32;
layout(constant_id = 2) const uint TO = F32;

layout(buffer_reference, scalar, buffer_reference_align = 8) buffer WordPairs { uvec2 at[]; };

layout(push_constant, scalar) uniform Push {
    Words x;
    Words y;
    uint count;
} push;

bool isNarrow(uint type) { return type == BF16 || type == F16; }

float element(uint e) {
    if (isNarrow(FROM))
        return widen(FROM, push.x.at[e / 2] >> 16 * (e % 2) & 0xFFFFu);
    return FROM == I32 ? float(int(push.x.at[e])) : uintBitsToFloat(push.x.at[e]);
}

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first >= push.count)
        return;
    vec4 values = vec4(0);
    if (FROM == Q8_0 || FROM == Q4_0) {
        uint length = PACK_LENGTH(FROM), pack = first / length;
        Packs packs = Packs(uint64_t(push.x));
        Vectors(uint64_t(push.y)).at[i] = packScale(FROM, packs, push.count / length, pack) * numbers(FROM, packs.at[pack], first % length / 4);
        return;
    }
    if (first + 4 <= push.count) {
        if (isNarrow(FROM)) {
            uvec2 words = WordPairs(uint64_t(push.x)).at[i];
            values = vec4(widenPair(FROM, words.x), widenPair(FROM, words.y));
        } else {
            uvec4 words = WordVectors(uint64_t(push.x)).at[i];
            values = FROM == I32 ? vec4(ivec4(words)) : uintBitsToFloat(words);
        }
        if (isNarrow(TO))
            WordPairs(uint64_t(push.y)).at[i] = uvec2(narrowPair(TO, values.xy), narrowPair(TO, values.zw));
        else
            Vectors(uint64_t(push.y)).at[i] = values;
        return;
    }
    for (uint e = first; e < push.count; e++)
        values[e - first] = element(e);
    // Memory ends with a whole word: the last may hold one number of 16 bits.
    for (uint e = first; e < push.count; e += isNarrow(TO) ? 2 : 1) {
        if (isNarrow(TO))
            push.y.at[e / 2] = narrowPair(TO, vec2(values[e - first], values[e - first + 1]));
        else
            push.y.at[e] = floatBitsToUint(values[e - first]);
    }
}
