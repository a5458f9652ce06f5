// Element 4b + j is word j of Philox4x32-10 of the counter (b, stream) under the key seed, its upper 24 bits times 2⁻²⁴. One block for each invocation.
// Source: Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011).
#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

layout(push_constant, scalar) uniform Push {
    Vectors y;
    uint count;
    uint streamLow;
    uint streamHigh;
    uint seedLow;
    uint seedHigh;
} push;

void main() {
    uint i = invocationNumber(), first = 4 * i;
    if (first >= push.count)
        return;
    uvec4 block = uvec4(i, 0, push.streamLow, push.streamHigh);
    uvec2 key = uvec2(push.seedLow, push.seedHigh);
    for (uint round = 0; round < 10; round++) {
        uvec2 high, low;
        umulExtended(uvec2(0xD2511F53u, 0xCD9E8D57u), block.xz, high, low);
        block = uvec4(high.y ^ block.y ^ key.x, low.y, high.x ^ block.w ^ key.y, low.x);
        key += uvec2(0x9E3779B9u, 0xBB67AE85u);
    }
    vec4 unit = vec4(block >> 8) * (1.0 / 16777216.0);
    if (first + 4 <= push.count) {
        push.y.at[i] = unit;
    } else {
        for (uint j = 0; first + j < push.count; j++)
            Floats(push.y).at[first + j] = unit[j];
    }
}
