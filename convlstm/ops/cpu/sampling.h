// Fields read between their pixels, bilinear.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "vector.h"

// How positions beyond a frame are read: its border's pixels, or round its columns.
struct Frame {
    int H, W;
    bool circular;
    int row() const { return W + 1; }  // length of a row with the pixel that follows its last one
    int64_t size() const { return int64_t(H + 1) * row(); }
};

// Copies a frame of C floats a pixel with a further row and a further column, which repeat the border or go round.
template <int C>
inline void padded(const Frame& f, const float* from, float* to) {
    for (int y = 0; y <= f.H; y++) {
        const float* source = from + int64_t(std::min(y, f.H - 1)) * f.W * C;
        float* row = to + int64_t(y) * f.row() * C;
        std::memcpy(row, source, sizeof(float) * f.W * C);
        std::memcpy(row + f.W * C, source + (f.circular ? 0 : f.W - 1) * C, sizeof(float) * C);
    }
}

constexpr int GROUP = 64;  // pixels at a time

// The pixels of a padded frame around positions: the first of four, and the shares of the next row and column.
struct Places {
    int32_t at[GROUP];
    float a[GROUP], b[GROUP];

    void find(const Frame& f, int count, const float* ys, const float* xs) {
        const float bottom = float(f.H - 1), right = float(f.W - 1), far = 2e6f;
        const int length = f.row();
        for (int i = 0; i < count; i++) {
            float y = ys[i] > 0 ? ys[i] : 0;  // 0 for NaN
            y = y < bottom ? y : bottom;
            const int top = int(y);
            a[i] = y - float(top);
            at[i] = top * length;
        }
        if (f.circular) {
            for (int i = 0; i < count; i++) {
                const float x = xs[i] > -far ? (xs[i] < far ? xs[i] : far) : -far, left = std::floor(x);
                const int column = int(left) % f.W;
                b[i] = x - left;
                at[i] += column < 0 ? column + f.W : column;
            }
        } else {
            for (int i = 0; i < count; i++) {
                float x = xs[i] > 0 ? xs[i] : 0;
                x = x < right ? x : right;
                const int left = int(x);
                b[i] = x - float(left);
                at[i] += left;
            }
        }
    }

    // The value of a padded frame of floats at the position i.
    float of(const float* frame, int row, int i) const {
        const float *upper = frame + at[i], *lower = upper + row;
        const float left = upper[0] + a[i] * (lower[0] - upper[0]), right = upper[1] + a[i] * (lower[1] - upper[1]);
        return left + b[i] * (right - left);
    }

    // The values of a padded frame of two floats a pixel.
    void of(const float* frame, int row, int i, float& first, float& second) const {
        typedef float four __attribute__((vector_size(16), aligned(4), may_alias));
        const float* from = frame + 2 * int64_t(at[i]);
        const four upper = *reinterpret_cast<const four*>(from), lower = *reinterpret_cast<const four*>(from + 2 * row);
        const four both = upper + a[i] * (lower - upper);
        first = both[0] + b[i] * (both[2] - both[0]);
        second = both[1] + b[i] * (both[3] - both[1]);
    }
};
