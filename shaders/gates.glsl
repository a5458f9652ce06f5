// Gates of four elements. For results of 16 bits the device's own exponential is good enough, and cheaper.
#include "math.glsl"

vec4 sigmoids(vec4 x) { return 1.0 / (1.0 + exp(-x)); }

vec4 silu(vec4 x, const uint result) {
    if (result == BF16 || result == F16)
        return x * sigmoids(x);
    return vec4(silu(x.x), silu(x.y), silu(x.z), silu(x.w));
}

vec4 siluDerivative(vec4 x, const uint result) {
    if (result == BF16 || result == F16) {
        vec4 s = sigmoids(x);
        return s * (1.0 + x * (1.0 - s));
    }
    return vec4(siluDerivative(x.x), siluDerivative(x.y), siluDerivative(x.z), siluDerivative(x.w));
}
