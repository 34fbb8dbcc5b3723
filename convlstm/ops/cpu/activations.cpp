// Activations outside of a recurrence, value by value.
#include "elements.h"

namespace {

typedef int32_t whole __attribute__((vector_size(4 * LANES)));

// exp(v) for v <= 0 with a relative error of 2e-7, and 1e-37 instead of smaller values. NaN stays NaN.
INLINE vec exp_of_negative(vec v) {
    const vec least = fill(-85.0f), large = fill(12582912.0f);  // 1.5 * 2^23: the last bits of a sum with it are a whole number
    v = v < least ? least : v;
    const vec shifted = v * 1.44269504f + large, k = shifted - large;
    const vec r = (v - k * 0.693145752f) - k * 1.42860677e-6f;
    vec p = r * (1.0f / 720) + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    const whole exponent = (whole)shifted - (whole)large + 127;
    return p * (vec)(exponent << 23);
}

// The normal distribution's probability below x, and its density at x. Abramowitz and Stegun, 7.1.26: error 1e-7.
struct Normal {
    vec below, density;
    INLINE explicit Normal(vec x) {
        const vec u = x < 0.0f ? x * -0.707106781f : x * 0.707106781f;
        const vec t = 1.0f / (1.0f + 0.3275911f * u), e = exp_of_negative(-u * u);
        vec p = t * 1.061405429f - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        const vec beyond = 0.5f * p * t * e;
        below = x < 0.0f ? beyond : 1.0f - beyond;
        density = e * 0.398942280f;
    }
};

// A vector of `count` floats, the others so small that they count for nothing in a softmax.
INLINE vec load_or_nothing(const float* p, int count) {
    vec v = fill(-3e38f);
    std::memcpy(&v, p, sizeof(float) * std::min(count, LANES));
    return v;
}

INLINE float sum_of(vec v) {
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += v[lane];
    return sum;
}

}  // namespace

extern "C" {

// x -> x Phi(x). Numbers: count.
void convlstm_gelu(In in, Out out, Numbers n) {
    each_vector(n[0], [&](int64_t at, int count) {
        const vec x = load(in[0] + at, count);
        store(out[0] + at, x * Normal(x).below, count);
    });
}

// x, dy -> dx
void convlstm_gelu_backward(In in, Out out, Numbers n) {
    each_vector(n[0], [&](int64_t at, int count) {
        const vec x = load(in[0] + at, count);
        const Normal normal(x);
        store(out[0] + at, load(in[1] + at, count) * (normal.below + x * normal.density), count);
    });
}

// [f, g] (rows, 2 C) -> sigmoid(g) f (rows, C). Numbers: rows, C.
void convlstm_halves(In in, Out out, Numbers n) {
    const int C = int(n[1]);
    each_in_rows(n[0], C, [&](int64_t row, int c, int count) {
        const float* from = in[0] + row * 2 * C + c;
        store(out[0] + row * C + c, load(from, count) * sigmoid(load(from + C, count)), count);
    });
}

// [f, g], dy -> [df, dg]
void convlstm_halves_backward(In in, Out out, Numbers n) {
    const int C = int(n[1]);
    each_in_rows(n[0], C, [&](int64_t row, int c, int count) {
        const float* from = in[0] + row * 2 * C + c;
        const vec f = load(from, count), s = sigmoid(load(from + C, count)), d = load(in[1] + row * C + c, count);
        float* to = out[0] + row * 2 * C + c;
        store(to, d * s, count), store(to + C, d * f * s * (1.0f - s), count);
    });
}

// x (rows, C) -> exp(x) / the sum of exp(x) over the row. Numbers: rows, C.
void convlstm_softmax(In in, Out out, Numbers n) {
    const int C = int(n[1]);
    each_row(n[0], C, [&](int64_t row) {
        const float* from = in[0] + row * C;
        float* to = out[0] + row * C;
        vec most = fill(-3e38f), sums{};
        for (int c = 0; c < C; c += LANES) {
            const vec v = load_or_nothing(from + c, C - c);
            most = v > most ? v : most;
        }
        float top = most[0];
        for (int lane = 1; lane < LANES; lane++) top = std::max(top, most[lane]);
        for (int c = 0; c < C; c += LANES) {
            const vec e = exp_of_negative(load_or_nothing(from + c, C - c) - top);
            store(to + c, e, C - c);
            sums += e;
        }
        const float scale = 1.0f / sum_of(sums);
        for (int c = 0; c < C; c += LANES) store(to + c, scale * load(to + c, C - c), C - c);
    });
}

// The softmax y, dy -> dx
void convlstm_softmax_backward(In in, Out out, Numbers n) {
    const int C = int(n[1]);
    each_row(n[0], C, [&](int64_t row) {
        const float *y = in[0] + row * C, *dy = in[1] + row * C;
        vec sums{};
        for (int c = 0; c < C; c += LANES) sums += load(y + c, C - c) * load(dy + c, C - c);
        const float sum = sum_of(sums);
        for (int c = 0; c < C; c += LANES) store(out[0] + row * C + c, load(y + c, C - c) * (load(dy + c, C - c) - sum), C - c);
    });
}
}
