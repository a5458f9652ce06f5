// What a product adds to its results where it writes them: ADDEND says how it is held, in a shader's own specialization constants.
#include "elements.glsl"

const uint NOTHING = 255;
