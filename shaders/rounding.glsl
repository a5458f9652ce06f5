// A float32 as two numbers of bfloat16: rounded, to the nearest, ties to even, and what that took away.

uint round16(float value) {
    uint bits = floatBitsToUint(value);
    return isnan(value) ? 0x7FC0u : (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
}

uint pair(float low, float high) { return round16(low) | round16(high) << 16; }

float rest(float value) {
    float rounded = uintBitsToFloat(round16(value) << 16);
    return isinf(rounded) ? 0.0 : value - rounded;
}
