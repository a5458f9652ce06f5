// Numbers of 16 bits, two in a word, the first in the lower half; and how tensors hold elements. By integer arithmetic, because devices differ in what they do to subnormal numbers.

const uint F32 = 0, I32 = 1, BF16 = 2, F16 = 3;

float widen(uint type, uint bits) {
    if (type == BF16)
        return uintBitsToFloat(bits << 16);
    uint magnitude = bits & 0x7FFFu, sign = (bits ^ magnitude) << 16;
    if (magnitude < 0x400u)
        return uintBitsToFloat(sign | floatBitsToUint(float(magnitude) * 5.9604644775390625e-8));
    return uintBitsToFloat(sign | (magnitude << 13) + (magnitude < 0x7C00u ? 0x38000000u : 0x70000000u));
}

vec2 widenPair(uint type, uint word) {
    return type == BF16 ? vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xFFFF0000u)) : vec2(widen(type, word & 0xFFFFu), widen(type, word >> 16));
}

// To the nearest, ties to even; NaN stays NaN, and what is too large becomes infinite.
uint narrow(uint type, float value) {
    uint bits = floatBitsToUint(value), magnitude = bits & 0x7FFFFFFFu, sign = bits >> 16 & 0x8000u;
    if (type == BF16)
        return magnitude > 0x7F800000u ? bits >> 16 | 0x40u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
    if (magnitude > 0x7F800000u)
        return sign | 0x7E00u | magnitude >> 13 & 0x1FFu;
    if (magnitude >= 0x47800000u)
        return sign | 0x7C00u;
    if (magnitude < 0x38800000u)
        return sign | uint(roundEven(uintBitsToFloat(magnitude) * 16777216.0));
    return sign | (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
}

uint narrowPair(uint type, vec2 values) { return narrow(type, values.x) | narrow(type, values.y) << 16; }
