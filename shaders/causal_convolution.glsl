// What the causal convolution and its derivative share: the inputs that a run of positions of one channel sees, and which of them belong to the same document.
#include "common.glsl"
#include "math.glsl"

layout(constant_id = 1) const uint TAPS = 4;
layout(constant_id = 2) const bool HAS_BIAS = false;
layout(constant_id = 3) const bool HAS_INITIAL = false;
layout(constant_id = 4) const bool HAS_SEQUENCE = false;
layout(constant_id = 5) const bool SILU = false;

// Positions that an invocation computes from inputs which it reads once.
const uint TIME = 8;
const int BEFORE = int(TAPS) - 1;
