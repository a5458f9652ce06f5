#version 460
#extension GL_GOOGLE_include_directive : require
// AdamW's settings with the factor of the gradients such that their norm is no more than allowed, and 0 where a number is not finite. One workgroup.
#include "common.glsl"
#include "workgroup.glsl"

layout(push_constant, scalar) uniform Push {
    Floats settings; // η, c₁, c₂, s
    Floats squares;
    Floats others;
    Floats clipped;
    uint squareCount;
    uint otherCount;
    float norm;
    float hair;
} push;

// By its bits: compilers may take for granted that numbers are finite.
bool isFinite(float x) { return (floatBitsToUint(x) & 0x7f800000u) != 0x7f800000u; }

void main() {
    uint lane = gl_LocalInvocationID.x;
    float faults = 0, largest = 0;
    for (uint i = lane; i < push.squareCount; i += WORKGROUP) {
        float x = push.squares.at[i];
        faults += isFinite(x) ? 0.0 : 1.0;
        largest = max(largest, isFinite(x) ? x : 0.0);
    }
    for (uint i = lane; i < push.otherCount; i += WORKGROUP)
        faults += isFinite(push.others.at[i]) ? 0.0 : 1.0;
    faults = sumOverWorkgroup(faults);
    largest = maxOverWorkgroup(largest);
    // A sum of finite squares may be too large: 2⁻⁶⁴ of it is not.
    float sum = 0, share = largest > 1e18 ? 1.0 / 18446744073709551616.0 : 1.0, root = largest > 1e18 ? 4294967296.0 : 1.0;
    for (uint i = lane; i < push.squareCount; i += WORKGROUP)
        sum += push.squares.at[i] * share;
    sum = sumOverWorkgroup(sum);
    if (lane < 3)
        push.clipped.at[lane] = push.settings.at[lane];
    if (lane == 3) {
        float scale = push.settings.at[3], norm = scale * root * sqrt(sum);
        push.clipped.at[3] = faults > 0 ? 0.0 : scale * min(1.0, push.norm / (norm + push.hair));
    }
}
