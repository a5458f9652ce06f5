#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"

// One workgroup for each row: every invocation takes each so many elements, then a tree in shared memory.
layout(push_constant, scalar) uniform Push {
    Floats x;
    Integers y;
    uint rows;
    uint columns;
} push;

const uint WORKGROUP = 256;
shared uint keys[WORKGROUP];
shared uint places[WORKGROUP];

// Unsigned integers in the order of the floats, with every NaN above infinity and -0 equal to 0.
uint key(float value) {
    uint bits = floatBitsToUint(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u)
        return 0xFFFFFFFFu;
    if (bits == 0x80000000u)
        bits = 0u;
    return (bits & 0x80000000u) != 0u ? ~bits : bits | 0x80000000u;
}

void main() {
    uint row = groupNumber(), me = gl_LocalInvocationID.x;
    if (row >= push.rows)
        return;
    uint best = 0u, place = 0xFFFFFFFFu;
    for (uint i = me; i < push.columns; i += WORKGROUP) {
        uint now = key(push.x.at[row * push.columns + i]);
        if (now > best || place == 0xFFFFFFFFu) {
            best = now;
            place = i;
        }
    }
    keys[me] = best;
    places[me] = place;
    for (uint half_ = WORKGROUP / 2u; half_ > 0u; half_ /= 2u) {
        barrier();
        if (me < half_ && (keys[me + half_] > keys[me] || (keys[me + half_] == keys[me] && places[me + half_] < places[me]))) {
            keys[me] = keys[me + half_];
            places[me] = places[me + half_];
        }
    }
    if (me == 0u)
        push.y.at[row] = int(places[0]);
}
