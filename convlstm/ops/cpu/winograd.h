// Winograd's convolution: the transforms F(4 x 4, R x R), with stride 1 and 'same' padding.
//
//     y = A^T [ (G w G^T) . (B^T d B) ] A
//
// from N x N inputs d and an R x R kernel w to 4 x 4 outputs y, N = 4 + R - 1. `.` multiplies element by element and sums over
// the channels: N*N matrix products. The matrices evaluate polynomials at 0, +-1, +-2, +-1/2 and infinity. For points x and -x
// the even parts are equal and the odd parts opposite, which halves the work.
//
// Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015.
#pragma once

#include "vector.h"

constexpr int TILE = 4;

template <int R>
struct CookToom {
    static constexpr int N = TILE + R - 1, PAIRS = (N - 2) / 2, POINTS = N * N;
    double x[PAIRS] = {}, scale[PAIRS] = {}, scale0 = 1;
    double row0[N] = {}, infinity[N] = {}, rows[PAIRS][N] = {};  // of B^T: at 0, at infinity, at each +x

    constexpr CookToom() {
        const double points[3] = {1, 2, 0.5};
        for (int k = 0; k < PAIRS; k++) x[k] = points[k];
        // row0 = prod (t^2 - x^2), infinity = t row0, rows[k] = t (t + x_k) prod of the others
        row0[0] = 1;
        int degree = 0;
        for (int k = 0; k < PAIRS; k++) multiply(row0, degree, -x[k] * x[k]);
        for (int i = N - 1; i > 0; i--) infinity[i] = row0[i - 1];
        for (int k = 0; k < PAIRS; k++) {
            double q[N] = {1};
            int d = 0;
            for (int other = 0; other < PAIRS; other++)
                if (other != k) multiply(q, d, -x[other] * x[other]);
            for (int i = 0; i < N; i++) rows[k][i] = (i >= 2 ? q[i - 2] : 0) + (i >= 1 ? x[k] * q[i - 1] : 0);
            scale[k] = 2 * x[k] * x[k];
            for (int other = 0; other < PAIRS; other++)
                if (other != k) scale[k] *= x[k] * x[k] - x[other] * x[other];
            scale0 *= -x[k] * x[k];
        }
    }
    static constexpr void multiply(double (&p)[N], int& degree, double constant) {  // by (t^2 + constant)
        for (int i = degree + 2; i >= 0; i--) p[i] = (i >= 2 ? p[i - 2] : 0) + (i <= degree ? constant * p[i] : 0);
        degree += 2;
    }
};

template <int R>
constexpr CookToom<R> MATRICES{};

constexpr double power(double x, int n) { return n == 0 ? 1 : x * power(x, n - 1); }


// Sum of coefficient[i] d[i] over the i of one parity. Zero coefficients cost nothing once the loop is unrolled.
template <int COUNT>
INLINE vec parity_sum(const double (&coefficients)[COUNT], const vec* d, int parity) {
    vec sum{};
    bool empty = true;
    UNROLL for (int i = parity; i < COUNT; i += 2) {
        const float a = static_cast<float>(coefficients[i]);
        if (a == 0) continue;
        sum = empty ? a * d[i] : sum + a * d[i];
        empty = false;
    }
    return sum;
}

// B^T: N inputs -> N
template <int R>
INLINE void input_1d(const vec* d, vec* out) {
    constexpr auto& m = MATRICES<R>;
    out[0] = parity_sum(m.row0, d, 0);
    UNROLL for (int k = 0; k < m.PAIRS; k++) {
        const vec even = parity_sum(m.rows[k], d, 0), odd = parity_sum(m.rows[k], d, 1);
        out[1 + 2 * k] = even + odd;
        out[2 + 2 * k] = even - odd;
    }
    out[m.N - 1] = parity_sum(m.infinity, d, 1);
}

// A^T or, with COUNT = R and the scales, G^T: N -> COUNT
template <int R, int COUNT, bool SCALED>
INLINE void from_points(const vec* d, vec* out) {
    constexpr auto& m = MATRICES<R>;
    vec sum[m.PAIRS], difference[m.PAIRS];
    UNROLL for (int k = 0; k < m.PAIRS; k++) {
        const float s = SCALED ? static_cast<float>(1 / m.scale[k]) : 1;
        sum[k] = d[1 + 2 * k] + d[2 + 2 * k];
        difference[k] = d[1 + 2 * k] - d[2 + 2 * k];
        if (SCALED) {
            sum[k] *= s;
            difference[k] *= s;
        }
    }
    UNROLL for (int i = 0; i < COUNT; i++) {
        vec y = i % 2 ? difference[0] : sum[0];  // the first pair of points is +-1
        if (i == 0) y += SCALED ? d[0] * static_cast<float>(1 / m.scale0) : d[0];
        UNROLL for (int k = 1; k < m.PAIRS; k++) y += static_cast<float>(power(m.x[k], i)) * (i % 2 ? difference[k] : sum[k]);
        if (i == COUNT - 1) y += d[m.N - 1];
        out[i] = y;
    }
}

// A or, with COUNT = R and the scales, G: COUNT -> N
template <int R, int COUNT, bool SCALED>
INLINE void to_points(const vec* d, vec* out) {
    constexpr auto& m = MATRICES<R>;
    out[0] = SCALED ? d[0] * static_cast<float>(1 / m.scale0) : d[0];
    UNROLL for (int k = 0; k < m.PAIRS; k++) {
        const double s = SCALED ? 1 / m.scale[k] : 1;
        vec even = static_cast<float>(s) * d[0], odd = static_cast<float>(s * m.x[k]) * d[1];
        UNROLL for (int i = 2; i < COUNT; i++) (i % 2 ? odd : even) += static_cast<float>(s * power(m.x[k], i)) * d[i];
        out[1 + 2 * k] = even + odd;
        out[2 + 2 * k] = even - odd;
    }
    out[m.N - 1] = d[COUNT - 1];
}

// A frame and its division into tiles.
struct Grid {
    int height, width;
    int rows() const { return (height + TILE - 1) / TILE; }
    int columns() const { return (width + TILE - 1) / TILE; }
    int tiles() const { return rows() * columns(); }
};

// The window of a frame that begins at a pixel, which may lie outside.
struct Corner {
    int top, left;
};
// The window of a tile and `reach` pixels around it.
inline Corner corner(Grid grid, int tile, int reach) {
    return {tile / grid.columns() * TILE - reach, tile % grid.columns() * TILE - reach};
}

// Reads up to LANES channels of SIDE x SIDE pixels of a frame (H, W, ld), with zeros outside.
template <int SIDE>
INLINE void read_window(const float* frame, Grid grid, int ld, Corner corner, int channels, vec (*d)[SIDE]) {
    const auto [top, left] = corner;
    const bool inside = top >= 0 && left >= 0 && top + SIDE <= grid.height && left + SIDE <= grid.width;
    if (inside && channels >= LANES) {
        for (int a = 0; a < SIDE; a++)
            UNROLL for (int b = 0; b < SIDE; b++) d[a][b] = load(frame + ((top + a) * grid.width + left + b) * static_cast<int64_t>(ld));
        return;
    }
    for (int a = 0; a < SIDE; a++)
        for (int b = 0; b < SIDE; b++) {
            const int y = top + a, x = left + b;
            const bool known = y >= 0 && x >= 0 && y < grid.height && x < grid.width;
            d[a][b] = known ? load(frame + (y * grid.width + x) * static_cast<int64_t>(ld), channels) : vec{};
        }
}

constexpr int PANEL = 2 * LANES;  // columns of one innermost product

// The place of one tile's transforms: channel c of a point lies at to[point * plane + c / PANEL * step + c % PANEL]. The unused
// lanes of the last vector are zeros.
struct Place {
    float* to;
    int64_t plane, step = PANEL;
    float* at(int point, int c) const { return to + point * plane + c / PANEL * step + c % PANEL; }
};

// Computes B^T d B for all channels of one window.
template <int R>
void input_window(const float* frame, Grid grid, int ld, Corner corner, int channels, Place place) {
    constexpr int N = CookToom<R>::N;
    for (int c = 0; c < channels; c += LANES) {
        vec d[N][N], columns[N][N], out[N], line[N];
        read_window<N>(frame + c, grid, ld, corner, channels - c, d);
        for (int a = 0; a < N; a++) input_1d<R>(d[a], columns[a]);
        for (int b = 0; b < N; b++) {
            UNROLL for (int a = 0; a < N; a++) line[a] = columns[a][b];
            input_1d<R>(line, out);
            UNROLL for (int a = 0; a < N; a++) store(place.at(a * N + b, c), out[a]);
        }
    }
}

template <int R>
void input_tile(const float* frame, Grid grid, int ld, int tile, int channels, Place place) {
    input_window<R>(frame, grid, ld, corner(grid, tile, R / 2), channels, place);
}

// Computes A dy A^T for all channels of one tile of 4 x 4.
template <int R>
void gradient_tile(const float* frame, Grid grid, int ld, int tile, int channels, Place place) {
    constexpr int N = CookToom<R>::N;
    for (int c = 0; c < channels; c += LANES) {
        vec d[TILE][TILE], columns[TILE][N], out[N], line[TILE];
        read_window<TILE>(frame + c, grid, ld, corner(grid, tile, 0), channels - c, d);
        for (int a = 0; a < TILE; a++) to_points<R, TILE, false>(d[a], columns[a]);
        for (int b = 0; b < N; b++) {
            UNROLL for (int a = 0; a < TILE; a++) line[a] = columns[a][b];
            to_points<R, TILE, false>(line, out);
            UNROLL for (int a = 0; a < N; a++) store(place.at(a * N + b, c), out[a]);
        }
    }
}

// Computes A^T M A for LANES channels of one tile, from[p * plane].
template <int R>
INLINE void output_tile(const float* from, int64_t plane, vec (*y)[TILE]) {
    constexpr int N = CookToom<R>::N;
    vec columns[TILE][N], line[N], out[TILE];
    for (int b = 0; b < N; b++) {
        UNROLL for (int a = 0; a < N; a++) line[a] = load(from + (a * N + b) * plane);
        from_points<R, TILE, false>(line, out);
        UNROLL for (int a = 0; a < TILE; a++) columns[a][b] = out[a];
    }
    for (int a = 0; a < TILE; a++) from_points<R, TILE, false>(columns[a], y[a]);
}
