#version 460
#extension GL_GOOGLE_include_directive : require
#include "common.glsl"
#include "order.glsl"

// One workgroup for each piece of a row: every invocation takes each so many elements, then a tree in shared memory. Where a row has several pieces, a second dispatch
// does the same with what the first found of each.
layout(constant_id = 1) const uint IN_PAIRS = 0;  // the input is what was found of pieces
layout(constant_id = 2) const uint OUT_PAIRS = 0; // the output is: keys and places

layout(push_constant, scalar) uniform Push {
    Integers x;
    Integers y;
    uint rows;
    uint columns;
    uint pieces;
    uint piece; // columns of one
} push;

const uint WORKGROUP = 256;
shared uint keys[WORKGROUP];
shared uint places[WORKGROUP];

void main() {
    uint number = groupNumber(), row = number / push.pieces, me = gl_LocalInvocationID.x;
    if (row >= push.rows)
        return;
    uint start = number % push.pieces * push.piece, end = min(push.columns, start + push.piece);
    uint best = 0u, place = 0xFFFFFFFFu;
    for (uint i = start + me; i < end; i += WORKGROUP) {
        uint at = row * push.columns + i;
        uint now = IN_PAIRS != 0 ? uint(push.x.at[2 * at]) : key(uint(push.x.at[at])), where = IN_PAIRS != 0 ? uint(push.x.at[2 * at + 1]) : i;
        if (now > best || (now == best && where < place)) {
            best = now;
            place = where;
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
    if (me == 0u) {
        if (OUT_PAIRS != 0) {
            push.y.at[2 * number] = int(keys[0]);
            push.y.at[2 * number + 1] = int(places[0]);
        } else {
            push.y.at[row] = int(places[0]);
        }
    }
}
