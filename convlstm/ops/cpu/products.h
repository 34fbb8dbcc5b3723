// The N*N matrix products in the middle of a Winograd convolution, in blocks whose results stay in the cache.
#pragma once

#include <algorithm>

#include "threads.h"
#include "winograd.h"

constexpr int LINE = 16;          // floats in a line of the cache
constexpr int BLOCK = 2 * PANEL;  // columns transformed back together: a vector of each of the four gates
constexpr int PRODUCT_FLOATS = 100'000;      // of the products of one block, for all points: the size of the second cache
// Of the transformed inputs that exist at a time. A convolution reads them once for each block of columns, so they stay in the
// third cache, unless that leaves few rows; a correlation reads them once.
constexpr int64_t INPUT_FLOATS = 1'200'000, CORRELATED_FLOATS = 3'000'000;
constexpr int FEWEST_ROWS = 96;
constexpr int INNER = 128;                   // the length of an innermost product
constexpr int GRADIENT_CHANNELS = 8 * PANEL;  // of the outputs whose gradients are transformed at a time

constexpr int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Floats between the rows of a matrix with `columns`: an odd number of cache lines, so that rows do not collide in the cache.
constexpr int row_length(int columns) {
    const int length = round_up(columns, PANEL);
    return length / 16 % 2 ? length : length + 16;
}

// C[i, :] (+)= sum_k A(i, k) B[k, :] for ROWS rows and one panel of columns, B[k] being the PANEL floats at B + k * PANEL.
// A(i, k) is A[i * lda + k] or, TRANSPOSED, A[k * lda + i]. AHEAD prefetches the data after B and K lines of the cache at `next`.
template <int ROWS, bool TRANSPOSED, bool AHEAD>
INLINE void product(const float* A, int64_t lda, const float* B, float* C, int64_t ldc, int K, bool add,
                    const float* next = nullptr) {
    vec sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) {
        sum[i][0] = add ? load(C + i * ldc) : vec{};
        sum[i][1] = add ? load(C + i * ldc + LANES) : vec{};
    }
    for (int k = 0; k < K; k++) {
        const vec b0 = load(B), b1 = load(B + LANES);
        if (AHEAD) {
            UNROLL for (int place = 0; place < PANEL; place += LINE) __builtin_prefetch(B + K * PANEL + place, 0, 2);
            __builtin_prefetch(next + k * LINE, 0, 2);
        }
        UNROLL for (int i = 0; i < ROWS; i++) {
            const float a = TRANSPOSED ? A[i] : A[i * lda];
            sum[i][0] += a * b0;
            sum[i][1] += a * b1;
        }
        A += TRANSPOSED ? lda : 1;
        B += PANEL;
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
        store(C + i * ldc, sum[i][0]);
        store(C + i * ldc + LANES, sum[i][1]);
    }
}

template <bool TRANSPOSED, int ROWS = TILE_ROWS - 1>
INLINE void last_rows(int rows, const float* A, int64_t lda, const float* B, float* C, int64_t ldc, int K, bool add) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) product<ROWS, TRANSPOSED, false>(A, lda, B, C, ldc, K, add);
        else last_rows<TRANSPOSED, ROWS - 1>(rows, A, lda, B, C, ldc, K, add);
    }
}

// C (+)= A B for a block of one or two panels, `apart` floats from each other, and any number of rows. The next call's A is
// at `next`.
inline void multiply(int rows, const float* A, int64_t lda, const float* B, int64_t apart, int panels, float* C, int K,
                     bool add, const float* next = nullptr) {
    for (int k = 0; k < K; k += INNER) {
        const int inner = std::min(INNER, K - k);
        for (int panel = 0; panel < panels; panel++)
            for (int i = 0; i < rows; i += TILE_ROWS) {
                const float *a = A + i * lda + k, *b = B + panel * apart + int64_t(k) * PANEL;
                float* c = C + i * BLOCK + panel * PANEL;
                if (rows - i < TILE_ROWS) last_rows<false>(rows - i, a, lda, b, c, BLOCK, inner, add || k > 0);
                else if (i == 0)
                    product<TILE_ROWS, false, true>(a, lda, b, c, BLOCK, inner, add || k > 0,
                                                    next + (k * panels + panel * inner) * LINE);
                else product<TILE_ROWS, false, false>(a, lda, b, c, BLOCK, inner, add || k > 0);
            }
    }
}

// C[PANEL, :] (+)= A^T B for panels A and B of K rows.
inline void multiply_panels(int rows, const float* A, const float* B, float* C, int K, bool add) {
    int i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
        product<TILE_ROWS, true, false>(A + i, PANEL, B, C + i * PANEL, PANEL, K, add);
    last_rows<true>(rows - i, A + i, PANEL, B, C + i * PANEL, PANEL, K, add);
}

// Factors A and B of products with the same K, whose sum is computed.
struct Factors {
    static constexpr int MOST = 64;
    const float *A[MOST], *B[MOST];
    int count = 0;
    void add(const float* a, const float* b) { A[count] = a, B[count++] = b; }
};

// Adds to `rows` of C the products of one panel, which stay in registers.
template <int ROWS, bool TRANSPOSED>
INLINE void product_sum(const Factors& factors, int64_t first, int64_t lda, float* C, int K, bool add) {
    vec sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) {
        sum[i][0] = add ? load(C + i * PANEL) : vec{};
        sum[i][1] = add ? load(C + i * PANEL + LANES) : vec{};
    }
    for (int n = 0; n < factors.count; n++) {
        const float *A = factors.A[n] + first, *B = factors.B[n];
        for (int k = 0; k < K; k++, A += TRANSPOSED ? lda : 1, B += PANEL) {
            const vec b0 = load(B), b1 = load(B + LANES);
            UNROLL for (int i = 0; i < ROWS; i++) {
                const float a = TRANSPOSED ? A[i] : A[i * lda];
                sum[i][0] += a * b0;
                sum[i][1] += a * b1;
            }
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
        store(C + i * PANEL, sum[i][0]);
        store(C + i * PANEL + LANES, sum[i][1]);
    }
}

template <bool TRANSPOSED, int ROWS = TILE_ROWS - 1>
INLINE void last_rows_sum(int rows, const Factors& factors, int64_t first, int64_t lda, float* C, int K, bool add) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) product_sum<ROWS, TRANSPOSED>(factors, first, lda, C, K, add);
        else last_rows_sum<TRANSPOSED, ROWS - 1>(rows, factors, first, lda, C, K, add);
    }
}

// C[rows, PANEL] (+)= sum_n A_n B_n, A as in `product`.
template <bool TRANSPOSED>
void multiply_sum(int rows, const Factors& factors, int64_t lda, float* C, int K, bool add) {
    int i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
        product_sum<TILE_ROWS, TRANSPOSED>(factors, TRANSPOSED ? i : i * lda, lda, C + i * PANEL, K, add);
    last_rows_sum<TRANSPOSED>(rows - i, factors, TRANSPOSED ? i : i * lda, lda, C + i * PANEL, K, add);
}

// Multiplications of all products of matrices so far, for benchmarks. Use it only with the threads' `busy` held.
inline int64_t multiplications = 0;

// Filters U[panel][point][K][PANEL] for the K channels from `first` on.
struct Part {
    const float* U;
    int first, K;
};
// Outputs of a convolution, each the sum over the parts.
struct Columns {
    int panels, part_count;
    Part parts[2];
    int blocks() const { return (panels + 1) / 2; }
};

// Winograd convolution of `rows` tiles with `channels` channels, to one or more sets of columns.
//
// source(row, place) transforms the inputs of a tile. sink(row, set, block, from, plane) takes the products of a tile and a
// block of columns, from[point * plane + column].
template <int R, int SETS, class Source, class Sink>
void convolve(int rows, int channels, const Columns (&sets)[SETS], Source&& source, Sink&& sink) {
    constexpr int POINTS = CookToom<R>::POINTS;
    constexpr int AT_ONCE = std::max(PRODUCT_FLOATS / (POINTS * BLOCK) / TILE_ROWS, 1) * TILE_ROWS;
    constexpr int64_t M_PLANE = AT_ONCE * BLOCK + 16;
    auto& threads = Threads::pool();
    int blocks = 0;
    for (const auto& set : sets) {
        blocks += set.blocks();
        for (int k = 0; k < set.part_count; k++) multiplications += int64_t(POINTS) * rows * set.panels * PANEL * set.parts[k].K;
    }
    const int ld = row_length(channels);
    const int most = std::max<int64_t>(INPUT_FLOATS / (int64_t(POINTS) * ld), FEWEST_ROWS) / AT_ONCE * AT_ONCE;
    const int64_t plane = int64_t(std::min(round_up(rows, TILE_ROWS), most)) * ld + 16;
    float* V = workspace(INPUTS, POINTS * plane);

    for (int start = 0; start < rows; start += most) {
        const int count = std::min(rows - start, most);
        constexpr int GROUP = 2;
        threads.run((count + GROUP - 1) / GROUP, [&](int task) {
            for (int row = task * GROUP; row < std::min(count, (task + 1) * GROUP); row++)
                source(start + row, Place{V + int64_t(row) * ld, plane});
        });
        const int chunks = (count + AT_ONCE - 1) / AT_ONCE;
        const int each = round_up((count + chunks - 1) / chunks, TILE_ROWS);
        threads.run(blocks * chunks, [&](int task) {
            alignas(64) static thread_local float M[POINTS * M_PLANE];
            int block = task / chunks, n = 0;
            for (; block >= sets[n].blocks(); n++) block -= sets[n].blocks();
            const auto& set = sets[n];
            const int from = task % chunks * each, to = std::min(count, from + each);
            const int panels = std::min(set.panels - 2 * block, 2);
            for (int p = 0; p < POINTS; p++)
                for (int k = 0; k < set.part_count; k++) {
                    const auto& [U, first, K] = set.parts[k];
                    multiply(to - from, V + p * plane + int64_t(from) * ld + first, ld,
                             U + (int64_t(2 * block) * POINTS + p) * K * PANEL, int64_t(POINTS) * K * PANEL, panels,
                             M + p * M_PLANE, K, k > 0, V + (p + 1) * plane + int64_t(from) * ld + first * panels * LINE);
                }
            for (int row = from; row < to; row++) sink(start + row, n, block, M + int64_t(row - from) * BLOCK, M_PLANE);
        });
    }
}

// Inputs of a correlation: the gradient of their filters is G[panel][point][output][PANEL].
struct Inputs {
    int channels;
    float* G;
    int panels() const { return (channels + PANEL - 1) / PANEL; }
};

// Gradient of filters, (+)= the products of the outputs' gradients and of one or more sets of inputs, summed over `rows` tiles.
//
// inputs(row, set, place) transforms a tile of the inputs, outputs(row, first, count, place) some channels of the gradients.
template <int R, int SETS, class Input, class Output>
void correlate(int rows, const Inputs (&sets)[SETS], Input&& inputs, int out_channels, Output&& outputs, bool add) {
    constexpr int POINTS = CookToom<R>::POINTS;
    auto& threads = Threads::pool();
    int panels = 0;
    for (const auto& set : sets) panels += set.panels();
    multiplications += int64_t(POINTS) * rows * panels * PANEL * out_channels;
    const int most_outputs = std::min(out_channels, GRADIENT_CHANNELS);
    const int widest = std::max(panels * PANEL, round_up(most_outputs, PANEL));
    const int at_once = std::min<int64_t>(rows, std::max<int64_t>(CORRELATED_FLOATS / (int64_t(POINTS) * widest), 16));
    // Both lie as [point][panel][row][PANEL].
    const int64_t step = int64_t(at_once) * PANEL, v_plane = panels * step + 16;
    const int64_t d_plane = (most_outputs + PANEL - 1) / PANEL * step + 16;
    float* V = workspace(INPUTS, POINTS * v_plane);
    float* D = workspace(PRODUCTS, POINTS * d_plane);
    for (int start = 0; start < rows; start += at_once) {
        const int count = std::min(rows - start, at_once);
        const bool more = add || start > 0;
        threads.run(count, [&](int row) {
            Place place{V + int64_t(row) * PANEL, v_plane, step};
            for (int n = 0; n < SETS; place.to += sets[n++].panels() * step) inputs(start + row, n, place);
        });
        for (int first = 0; first < out_channels; first += most_outputs) {
            const int channels = std::min(most_outputs, out_channels - first);
            threads.run(count, [&](int row) {
                outputs(start + row, first, channels, Place{D + int64_t(row) * PANEL, d_plane, step});
            });
            threads.run(POINTS, [&](int p) {
                const float* B = V + p * v_plane;
                for (const auto& set : sets)
                    for (int panel = 0; panel < set.panels(); panel++, B += step)
                        for (int o = 0; o < channels; o += PANEL)
                            multiply_panels(std::min(PANEL, channels - o), D + p * d_plane + o / PANEL * step, B,
                                            set.G + ((int64_t(panel) * POINTS + p) * out_channels + first + o) * PANEL,
                                            count, more);
            });
        }
    }
}
