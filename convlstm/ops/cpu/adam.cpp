// A step of Adam, element by element.
#include <cmath>

#include "elements.h"

extern "C" {

// w, g, m, v, [b1, 1 - b1, b2, 1 - b2, kept, rate, corrected, eps] -> w', m', v'. Numbers: count.
//
//     m' = b1 m + (1 - b1) g, v' = b2 v + (1 - b2) g^2
//     w' = kept w - rate m' / (corrected sqrt(v') + eps)
void convlstm_adam(In in, Out out, Numbers n) {
    const float* f = in[4];
    const float b1 = f[0], new1 = f[1], b2 = f[2], new2 = f[3], kept = f[4], rate = f[5], corrected = f[6], eps = f[7];
    each_vector(n[0], [&](int64_t at, int count) {
        const vec g = load(in[1] + at, count);
        const vec m = b1 * load(in[2] + at, count) + new1 * g, v = b2 * load(in[3] + at, count) + new2 * (g * g);
        vec root;
        for (int lane = 0; lane < LANES; lane++) root[lane] = std::sqrt(v[lane]);
        store(out[0] + at, kept * load(in[0] + at, count) - rate * m / (corrected * root + eps), count);
        store(out[1] + at, m, count);
        store(out[2] + at, v, count);
    });
}
}
