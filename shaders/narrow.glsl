// Numbers of 16 bits, two in a word, the first in the lower half; and how tensors hold elements. By integer arithmetic, because devices differ in what they do to subnormal numbers.

const uint F32 = 0, I32 = 1, BF16 = 2, F16 = 3;

float widen(uint type, uint bits) {
    if (type == BF16)
        return uintBitsToFloat(bits << 16);
    uint magnitude = bits & 0x7FFFu, sign = (bits ^ magnitude) << 16;
    // Multiples of 2⁻²⁴ as what 2⁻¹⁴ has more, without conversions, which are slow; selected, not branched to.
    uint small = floatBitsToUint(uintBitsToFloat((magnitude << 13) + 0x38800000u) - 6.103515625e-5), large = (magnitude << 13) + mix(0x70000000u, 0x38000000u, magnitude < 0x7C00u);
    return uintBitsToFloat(sign | mix(large, small, magnitude < 0x400u));
}

vec2 widenPair(uint type, uint word) {
    return type == BF16 ? vec2(uintBitsToFloat(word << 16), uintBitsToFloat(word & 0xFFFF0000u)) : vec2(widen(type, word & 0xFFFFu), widen(type, word >> 16));
}

// To the nearest, ties to even; NaN stays NaN, and what is too large becomes infinite.
uint narrow(uint type, float value) {
    uint bits = floatBitsToUint(value), magnitude = bits & 0x7FFFFFFFu, sign = bits >> 16 & 0x8000u;
    if (type == BF16)
        return mix((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16, bits >> 16 | 0x40u, magnitude > 0x7F800000u);
    uint small = floatBitsToUint(uintBitsToFloat(magnitude) + 0.5) - 0x3F000000u, half_ = (magnitude - 0x38000000u + 0xFFFu + (magnitude >> 13 & 1u)) >> 13;
    half_ = mix(half_, small, magnitude < 0x38800000u);
    half_ = mix(half_, 0x7C00u, magnitude >= 0x47800000u);
    return sign | mix(half_, 0x7E00u | magnitude >> 13 & 0x1FFu, magnitude > 0x7F800000u);
}

uint narrowPair(uint type, vec2 values) { return narrow(type, values.x) | narrow(type, values.y) << 16; }
