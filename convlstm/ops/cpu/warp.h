// A field read along flows, times a matrix: y = W [warp(h, flow 1), ..., warp(h, flow L)].
//
//     warp(h, (v, u))[i, j] = h at (i - v, j - u), bilinear, zeros around the field
//
// It works on a few hundred pixels at a time, so that the warped fields never exist as a whole; the gradient reads the field
// again. The order of every sum is independent of the threads.
#pragma once

#include <cmath>

#include "products.h"

constexpr int WARP_ROWS = 512;  // pixels at a time
constexpr int WARP_GROUP = 16;  // pixels of a task

struct Field {
    int N, H, W, O, L;
    int pixels() const { return H * W; }
    int wide() const { return L * O; }
    int width() const { return round_up(wide(), PANEL); }
};

// The four pixels around a position: their offsets in the frame, and the weight of each. Beyond the border both are 0.
struct Corners {
    int32_t at[4];
    float weight[4], inside[4], a, b;

    Corners(const Field& s, int pixel, const float* flow) {
        const float y = float(pixel / s.W) - flow[0], x = float(pixel % s.W) - flow[1];
        const float top = std::floor(y), left = std::floor(x);
        a = y - top, b = x - left;
        for (int k = 0; k < 4; k++) {
            const float row = top + float(k / 2), column = left + float(k % 2);
            const bool is = row >= 0 && row < float(s.H) && column >= 0 && column < float(s.W);  // false for NaN
            at[k] = is ? (int32_t(row) * s.W + int32_t(column)) * s.O : 0;
            inside[k] = is;
            // A product, so that a NaN in the flow reaches the result.
            weight[k] = (k / 2 ? a : 1 - a) * (k % 2 ? b : 1 - b) * inside[k];
        }
    }
};

// Calls row(r) for all rows, in tasks of WARP_GROUP rows.
template <class Row>
void for_rows(int count, Row&& row) {
    Threads::pool().run((count + WARP_GROUP - 1) / WARP_GROUP, [&](int task) {
        for (int r = task * WARP_GROUP; r < std::min(count, (task + 1) * WARP_GROUP); r++) row(r);
    });
}

// Reads the field along one pixel's flows, link by link. Up to LANES further floats are overwritten.
inline void warped(const float* frame, const Field& s, const Corners* links, float* to) {
    for (int l = 0; l < s.L; l++) {
        const Corners& c = links[l];
        for (int o = 0; o < s.O; o += LANES) {
            vec sum{};
            UNROLL for (int k = 0; k < 4; k++) sum += c.weight[k] * load(frame + c.at[k] + o, s.O - o);
            store(to + l * s.O + o, sum);
        }
    }
}

// Copies W (M, K) as panels of its rows, B[panel][k][PANEL].
inline void panels_of_rows(const float* W, int M, int K, float* B) {
    Threads::pool().run((M + PANEL - 1) / PANEL, [&](int panel) {
        float* to = B + int64_t(panel) * K * PANEL;
        for (int lane = 0; lane < PANEL; lane++)
            for (int k = 0; k < K; k++) to[int64_t(k) * PANEL + lane] = panel * PANEL + lane < M ? W[int64_t(panel * PANEL + lane) * K + k] : 0;
    });
}

// Copies W (M, K) as panels of its columns, B[panel][m][PANEL].
inline void panels_of_columns(const float* W, int M, int K, float* B) {
    Threads::pool().run((K + PANEL - 1) / PANEL, [&](int panel) {
        for (int m = 0; m < M; m++)
            for (int half = 0; half < PANEL; half += LANES) {
                const int k = panel * PANEL + half;
                store(B + (int64_t(panel) * M + m) * PANEL + half, k < K ? load(W + int64_t(m) * K + k, K - k) : vec{});
            }
    });
}

// Computes C (count, columns) = A B for panels B[panel][k][PANEL] of K rows; lda and ldc are the lengths of A's and C's rows.
inline void product_of_rows(int count, const float* A, int64_t lda, const float* B, int K, int columns, float* C, int64_t ldc) {
    constexpr int ROWS = 128 / TILE_ROWS * TILE_ROWS;
    const int panels = (columns + PANEL - 1) / PANEL, blocks = (panels + 1) / 2, parts = (count + ROWS - 1) / ROWS;
    multiplications += int64_t(count) * K * columns;
    Threads::pool().run(blocks * parts, [&](int task) {
        alignas(64) static thread_local float M[ROWS * BLOCK];
        const int block = task / parts, from = task % parts * ROWS, rows = std::min(count - from, ROWS);
        const int64_t apart = int64_t(K) * PANEL;
        multiply(rows, A + from * lda, lda, B + 2 * block * apart, apart, std::min(panels - 2 * block, 2), M, K, false);
        for (int row = 0; row < rows; row++)
            for (int c = block * BLOCK; c < std::min(columns, (block + 1) * BLOCK); c += LANES)
                store(C + (from + row) * ldc + c, load(M + row * BLOCK + c - block * BLOCK), columns - c);
    });
}

// h (N, H, W, O), flow (N, H, W, 2 L), W (M, L O) -> y (N, H, W, M)
inline void warp_product(const Field& s, int M, const float* h, const float* flow, const float* W, float* y) {
    // With room for the last link's last vector, which would otherwise write into another thread's row.
    const int K = s.wide(), ld = row_length(K + LANES);
    float* B = workspace(FILTERS_X, int64_t(round_up(M, PANEL)) * K);
    float* A = workspace(INPUTS, int64_t(WARP_ROWS) * ld);
    panels_of_rows(W, M, K, B);
    for (int n = 0; n < s.N; n++)
        for (int start = 0; start < s.pixels(); start += WARP_ROWS) {
            const int count = std::min(s.pixels() - start, WARP_ROWS);
            const int64_t first = int64_t(n) * s.pixels() + start;
            for_rows(count, [&](int r) {
                const float* frame = h + int64_t(n) * s.pixels() * s.O;
                for (int l = 0; l < s.L; l++) {
                    const Corners c(s, start + r, flow + ((first + r) * s.L + l) * 2);
                    Field one = s;
                    one.L = 1;
                    warped(frame, one, &c, A + int64_t(r) * ld + l * s.O);
                }
            });
            product_of_rows(count, A, ld, B, K, M, y + first * M, M);
        }
}

// h, flow, W, dy -> dh, dflow, dW
inline void warp_product_backward(const Field& s, int M, const float* h, const float* flow, const float* W, const float* dy,
                                  float* dh, float* dflow, float* dW) {
    const int K = s.wide(), panels = s.width() / PANEL;
    float* B = workspace(FILTERS_X, int64_t(s.width()) * M);
    float* V = workspace(INPUTS, int64_t(s.width()) * WARP_ROWS);                // [panel][row][PANEL]
    float* D = workspace(PRODUCTS, int64_t(round_up(M, PANEL)) * WARP_ROWS);     // likewise
    float* G = workspace(GRADIENT_X, int64_t(s.width()) * M);                    // [panel][m][PANEL]
    float* dA = workspace(GATES, int64_t(WARP_ROWS) * s.width() + LANES);
    static_assert(sizeof(Corners) % sizeof(float) == 0);
    auto* corners = reinterpret_cast<Corners*>(workspace(SUMS, int64_t(WARP_ROWS) * s.L * sizeof(Corners) / sizeof(float)));
    panels_of_columns(W, M, K, B);
    std::memset(dh, 0, int64_t(s.N) * s.pixels() * s.O * sizeof(float));
    bool more = false;
    for (int n = 0; n < s.N; n++)
        for (int start = 0; start < s.pixels(); start += WARP_ROWS, more = true) {
            const int count = std::min(s.pixels() - start, WARP_ROWS);
            const int64_t first = int64_t(n) * s.pixels() + start, step = int64_t(count) * PANEL;
            const float *frame = h + int64_t(n) * s.pixels() * s.O, *dy_here = dy + first * M;
            for_rows(count, [&](int r) {
                static thread_local std::vector<float> line;
                line.resize(s.width() + LANES);
                Corners* own = corners + int64_t(r) * s.L;
                for (int l = 0; l < s.L; l++) own[l] = Corners(s, start + r, flow + ((first + r) * s.L + l) * 2);
                warped(frame, s, own, line.data());
                for (int k = K; k < s.width(); k++) line[k] = 0;
                for (int k = 0; k < s.width(); k += LANES) store(V + k / PANEL * step + int64_t(r) * PANEL + k % PANEL, load(&line[k]));
                for (int m = 0; m < round_up(M, PANEL); m += LANES)
                    store(D + m / PANEL * step + int64_t(r) * PANEL + m % PANEL, m < M ? load(dy_here + int64_t(r) * M + m, M - m) : vec{});
            });
            multiplications += int64_t(count) * M * K;
            Threads::pool().run(panels, [&](int panel) {
                for (int m = 0; m < M; m += PANEL)
                    multiply_panels(std::min(PANEL, M - m), D + m / PANEL * step, V + panel * step,
                                    G + (int64_t(panel) * M + m) * PANEL, count, more);
            });
            product_of_rows(count, dy_here, M, B, M, K, dA, s.width());
            for_rows(count, [&](int r) {
                for (int l = 0; l < s.L; l++) {
                    const Corners& c = corners[int64_t(r) * s.L + l];
                    vec sums[4] = {};
                    for (int o = 0; o < s.O; o += LANES) {
                        const vec d = load(dA + int64_t(r) * s.width() + l * s.O + o, s.O - o);
                        UNROLL for (int k = 0; k < 4; k++) sums[k] += d * load(frame + c.at[k] + o, s.O - o);
                    }
                    float d[4] = {};
                    for (int k = 0; k < 4; k++) {
                        for (int lane = 0; lane < LANES; lane++) d[k] += sums[k][lane];
                        d[k] *= c.inside[k];
                    }
                    float* to = dflow + ((first + r) * s.L + l) * 2;
                    to[0] = (1 - c.b) * (d[0] - d[2]) + c.b * (d[1] - d[3]);
                    to[1] = (1 - c.a) * (d[0] - d[1]) + c.a * (d[2] - d[3]);
                }
            });
            // Several flows may read the same pixel, so each task has its own channels.
            Threads::pool().run((s.O + PANEL - 1) / PANEL, [&](int task) {
                float* to = dh + int64_t(n) * s.pixels() * s.O;
                for (int r = 0; r < count; r++)
                    for (int l = 0; l < s.L; l++) {
                        const Corners& c = corners[int64_t(r) * s.L + l];
                        const float* from = dA + int64_t(r) * s.width() + l * s.O;
                        for (int o = task * PANEL; o < std::min(s.O, (task + 1) * PANEL); o += LANES) {
                            const vec d = load(from + o, s.O - o);
                            UNROLL for (int k = 0; k < 4; k++) {
                                float* pixel = to + c.at[k] + o;
                                store(pixel, load(pixel, s.O - o) + c.weight[k] * d, s.O - o);
                            }
                        }
                    }
            });
        }
    Threads::pool().run(panels, [&](int panel) {
        for (int m = 0; m < M; m++)
            for (int k = panel * PANEL; k < std::min(K, (panel + 1) * PANEL); k += LANES)
                store(dW + int64_t(m) * K + k, load(G + (int64_t(panel) * M + m) * PANEL + k % PANEL), K - k);
    });
}
