// What the kernels of ScatterAdd share. It sorts the positions of the values by row, stably, so that every sum has its terms in a fixed order without atomics.
#include "words.glsl"

layout(buffer_reference, scalar, buffer_reference_align = 8) buffer Pairs { uvec2 at[]; }; // (row, position)

// Positions that are sorted by counting; longer runs come from merging.
const uint BLOCK = 256;

// The number of pairs from first up to last, sorted by row, whose row is below a bound.
uint countBelow(Pairs sorted, uint first, uint last, uint bound) {
    uint low = first, high = last;
    while (low < high) {
        uint middle = (low + high) / 2;
        if (sorted.at[middle].x < bound)
            low = middle + 1;
        else
            high = middle;
    }
    return low - first;
}
