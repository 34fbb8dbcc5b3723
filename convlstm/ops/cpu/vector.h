// One vector register of floats, as wide as on the machine that compiles the file, and the functions of the gates.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
constexpr int LANES = 16, TILE_ROWS = 12;
#elif defined(__AVX__)
constexpr int LANES = 8, TILE_ROWS = 6;
#elif defined(__aarch64__)
constexpr int LANES = 4, TILE_ROWS = 12;  // 32 registers
#else
constexpr int LANES = 4, TILE_ROWS = 6;
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float in_memory __attribute__((vector_size(4 * LANES), aligned(4), may_alias));  // at any address, not only at whole ones

#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")

INLINE vec load(const float* p) { return *reinterpret_cast<const in_memory*>(p); }
INLINE void store(float* p, vec v) { *reinterpret_cast<in_memory*>(p) = v; }
INLINE vec fill(float value) {
    vec v;
    for (int lane = 0; lane < LANES; lane++) v[lane] = value;
    return v;
}

// The first `count` lanes: load fills the others with zeros, store leaves them out.
INLINE vec load(const float* p, int count) {
    if (count >= LANES) return load(p);
    vec v{};
    std::memcpy(&v, p, sizeof(float) * count);
    return v;
}
INLINE void store(float* p, vec v, int count) {
    if (count >= LANES) store(p, v);
    else std::memcpy(p, &v, sizeof(float) * count);
}

// x p(x^2) / q(x^2) with p of degree 6 and q of degree 3 on [-7.9, 7.9]; largest error 4e-7. NaN stays NaN.
INLINE vec tanh(vec x) {
    const vec bound = fill(7.9f);
    x = x > bound ? bound : x;
    x = x < -bound ? -bound : x;
    const vec y = x * x;
    vec p = y * -2.76076847742355e-16f + 2.00018790482477e-13f;
    p = p * y + -8.60467152213735e-11f;
    p = p * y + 5.12229709037114e-08f;
    p = p * y + 1.48572235717979e-05f;
    p = p * y + 6.37261928875436e-04f;
    p = p * y + 4.89352455891786e-03f;
    vec q = y * 1.19825839466702e-06f + 1.18534705686654e-04f;
    q = q * y + 2.26843463243900e-03f;
    q = q * y + 4.89352518554385e-03f;
    return x * p / q;
}
INLINE vec sigmoid(vec x) { return 0.5f * tanh(0.5f * x) + 0.5f; }
