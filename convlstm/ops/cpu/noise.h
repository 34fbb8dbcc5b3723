// White noise in Fourier space, from a counter: the same key gives the same numbers on every machine and in any order.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "vector.h"

typedef uint32_t words __attribute__((vector_size(4 * LANES)));

// Threefry-2x32 with 20 rounds (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, 2011).
INLINE void threefry(uint32_t key0, uint32_t key1, words& a, words& b) {
    const uint32_t keys[3] = {key0, key1, key0 ^ key1 ^ 0x1BD11BDAu};
    constexpr int TURNS[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
    a += keys[0], b += keys[1];
    UNROLL for (uint32_t group = 0; group < 5; group++) {
        UNROLL for (int turn = 0; turn < 4; turn++) {
            const int by = TURNS[group % 2][turn];
            a += b;
            b = (b << by) | (b >> (32 - by));
            b ^= a;
        }
        a += keys[(group + 1) % 3];
        b += keys[(group + 2) % 3] + (group + 1);
    }
}

// The spectrum (H, W / 2 + 1) of white noise whose numbers have the variance 1: the halves of a word are the real and the
// imaginary part, by the quantiles of a distribution. `re` and `im` have room for 2 LANES numbers more.
inline void white_noise(const float* key, uint32_t lead, const float* quantiles, int H, int W, float* re, float* im) {
    uint32_t keys[2];
    std::memcpy(keys, key, sizeof(keys));
    const int C = W / 2 + 1;
    const int64_t count = int64_t(H) * C;
    alignas(64) uint32_t bits[2][LANES];
    for (int64_t first = 0; first < count; first += 2 * LANES) {
        words a, b;
        for (int lane = 0; lane < LANES; lane++) a[lane] = uint32_t(first / 2) + lane, b[lane] = lead;
        threefry(keys[0], keys[1], a, b);
        std::memcpy(bits[0], &a, sizeof(a));
        std::memcpy(bits[1], &b, sizeof(b));
        const int64_t end = std::min<int64_t>(2 * LANES, count - first);
        for (int64_t i = 0; i < end; i++) {
            const uint32_t word = bits[i % 2][i / 2];
            re[first + i] = quantiles[word & 0xFFFF];
            im[first + i] = quantiles[word >> 16];
        }
    }
    // In the columns that are their own mirror image, a row and the one opposite are conjugates of each other.
    for (int c : {0, W % 2 ? 0 : C - 1}) {
        for (int row = 0; row <= H / 2; row++) {
            const int64_t p = int64_t(row) * C + c, q = int64_t((H - row) % H) * C + c;
            const float x = (re[p] + re[q]) * float(M_SQRT1_2), y = (im[p] - im[q]) * float(M_SQRT1_2);
            re[p] = re[q] = x;
            im[p] = y, im[q] = -y;
        }
        if (W % 2 || C == 1) break;
    }
}
