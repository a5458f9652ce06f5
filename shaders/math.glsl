// Elementary functions of float32 to a few units in the last place, of additions, products and bit operations only, so that drivers agree: the built-in ones may
// be off by thousands of units. NaN is recognised by its bits, because drivers may compile comparisons as if there were none. Subnormal results may be 0.

bool isNotANumber(float x) { return (floatBitsToUint(x) & 0x7fffffffu) > 0x7f800000u; }

bool isInfinite(float x) { return (floatBitsToUint(x) & 0x7fffffffu) == 0x7f800000u; }

// 2ⁿ for n in [−126, 127].
float powerOfTwo(int n) { return uintBitsToFloat(uint(n + 127) << 23); }

// x = n ln 2 + r with |r| ≤ ½ ln 2; the result is eʳ − 1. For |x| below a few hundred.
float reducedExpMinusOne(float x, out int n) {
    precise float rounded = roundEven(x * 1.44269504);
    // ln 2 in two parts; the product with the first is exact. No fma here: drivers without one may rearrange it, whatever `precise` says.
    precise float first = rounded * 0.693359375, second = rounded * 2.12194440e-4, r = (x - first) + second;
    n = int(rounded);
    // Taylor's series: the first term left out is below r⁸/8! = 5e-9.
    precise float q = fma(r, 1.0 / 5040.0, 1.0 / 720.0);
    q = fma(q, r, 1.0 / 120.0);
    q = fma(q, r, 1.0 / 24.0);
    q = fma(q, r, 1.0 / 6.0);
    q = fma(q, r, 0.5);
    precise float y = fma(r * r, q, r);
    return y;
}

// eˣ.
float accurateExp(float x) {
    // Beyond these the result is 0 or ∞ anyhow.
    int n;
    precise float y = 1.0 + reducedExpMinusOne(clamp(x, -105.0, 89.0), n);
    // In two steps, because 2ⁿ itself may be no normal number.
    int firstPart = n >> 1;
    y = y * powerOfTwo(firstPart) * powerOfTwo(n - firstPart);
    return isNotANumber(x) ? x : y;
}

// eˣ − 1 for x ≤ 0, without cancellation near 0.
float expMinusOneOfNegative(float x) {
    int n;
    float part = reducedExpMinusOne(max(x, -40.0), n), scale = powerOfTwo(n);
    precise float y = fma(scale, part, scale - 1.0);
    return isNotANumber(x) ? x : y;
}

// n ln 2 + ln(1 + f) for 1 + f in [√½, √2]: 2 artanh(s) = f − f²/2 + s · (f²/2 + R) with s = f / (2 + f) and R = 2s²/3 + 2s⁴/5 + …; only the small last term suffers
// from the division's error. The first term left out of R is below 4e-9 of it.
float scaledLog(float f, float n) {
    precise float s = f / (2.0 + f), square = s * s, halfSquare = 0.5 * f * f;
    precise float r = fma(square, 2.0 / 11.0, 2.0 / 9.0);
    r = fma(r, square, 2.0 / 7.0);
    r = fma(r, square, 2.0 / 5.0);
    r = fma(r, square, 2.0 / 3.0);
    precise float small = (s * fma(r, square, halfSquare) - n * 2.12194440e-4) - halfSquare, y = (small + f) + n * 0.693359375;
    return y;
}

// ln x; −∞ at 0 and NaN below.
float accurateLog(float x) {
    uint bits = floatBitsToUint(x);
    if ((bits & 0x7fffffffu) == 0u)
        return uintBitsToFloat(0xff800000u);
    if (bits >= 0x7f800000u)
        return bits == 0x7f800000u || isNotANumber(x) ? x : uintBitsToFloat(0x7fc00000u);
    int n = -127;
    if (bits < 0x00800000u) {
        // A subnormal number is its bits times 2⁻¹⁴⁹; arithmetic might take it for 0.
        bits = floatBitsToUint(float(bits));
        n -= 149;
    }
    // The mantissa in [√½, √2): 0x3f3504f3 is √½.
    bits += 0x3f800000u - 0x3f3504f3u;
    n += int(bits >> 23);
    float mantissa = uintBitsToFloat((bits & 0x007fffffu) + 0x3f3504f3u);
    return scaledLog(mantissa - 1.0, float(n));
}

// ln(1 + x) for x > −1, to full relative precision however small x is.
float logOnePlus(float x) {
    if (abs(x) < 0.29)
        return scaledLog(x, 0.0);
    // What the rounding of 1 + x lost is added back to first order.
    precise float sum = 1.0 + x, lost = x - (sum - 1.0);
    return isInfinite(sum) || isNotANumber(sum) ? sum : accurateLog(sum) + (sum > 0.0 ? lost / sum : 0.0);
}

// The gates are written in u = e^−|x|, which cannot overflow.
float sigmoid(float x) {
    float u = accurateExp(-abs(x));
    return (x < 0.0 ? u : 1.0) / (1.0 + u);
}

float silu(float x) {
    float u = accurateExp(-abs(x));
    return (x < 0.0 ? x * u : x) / (1.0 + u);
}

// The derivative of silu: s · (1 + x · (1 − s)) with s = σ(x).
float siluDerivative(float x) {
    float u = accurateExp(-abs(x)), large = 1.0 / (1.0 + u), small = u * large;
    return x < 0.0 ? small * fma(x, large, 1.0) : large * fma(x, small, 1.0);
}

float softplus(float x) { return isNotANumber(x) ? x : max(x, 0.0) + logOnePlus(accurateExp(-abs(x))); }

float tanh_(float x) {
    // −2|x| ≤ 0: tanh |x| = −m / (2 + m) with m = e^(−2|x|) − 1.
    float m = expMinusOneOfNegative(-2.0 * abs(x)), y = -m / (2.0 + m);
    return x < 0.0 ? -y : y;
}
