// The N*N products of matrices in the middle of a Winograd convolution, blocked so that what they yield stays in cache.
#pragma once

#include <algorithm>

#include "threads.h"
#include "winograd.h"

constexpr int PANEL = 2 * LANES;  // columns of one innermost product
constexpr int BLOCK = 2 * PANEL;  // columns that are transformed back together: a vector of each of the four gates
constexpr int PRODUCT_FLOATS = 100'000;    // of the products of one block, for all points: what the second cache holds
constexpr int64_t INPUT_FLOATS = 3'000'000;  // of the transformed inputs that are kept at a time

constexpr int round_up(int n, int to) { return (n + to - 1) / to * to; }

// Floats between the rows of a matrix with `columns`: an odd number of cache lines, so that rows do not collide in it.
constexpr int row_length(int columns) {
    const int length = round_up(columns, PANEL);
    return length / 16 % 2 ? length : length + 16;
}

// C[i, :] (+)= sum_k A(i, k) B[k, :] for ROWS rows and one panel of columns. A(i, k) is A[i * lda + k], or, TRANSPOSED,
// A[k * lda + i].
template <int ROWS, bool TRANSPOSED>
INLINE void product(const float* A, int64_t lda, const float* B, int64_t ldb, float* C, int64_t ldc, int K, bool add) {
    vec sum[ROWS][2];
    UNROLL for (int i = 0; i < ROWS; i++) {
        sum[i][0] = add ? load(C + i * ldc) : vec{};
        sum[i][1] = add ? load(C + i * ldc + LANES) : vec{};
    }
    for (int k = 0; k < K; k++) {
        const vec b0 = load(B), b1 = load(B + LANES);
        UNROLL for (int i = 0; i < ROWS; i++) {
            const float a = TRANSPOSED ? A[i] : A[i * lda];
            sum[i][0] += a * b0;
            sum[i][1] += a * b1;
        }
        A += TRANSPOSED ? lda : 1;
        B += ldb;
    }
    UNROLL for (int i = 0; i < ROWS; i++) {
        store(C + i * ldc, sum[i][0]);
        store(C + i * ldc + LANES, sum[i][1]);
    }
}

template <bool TRANSPOSED, int ROWS = TILE_ROWS - 1>
void last_rows(int rows, const float* A, int64_t lda, const float* B, int64_t ldb, float* C, int64_t ldc, int K, bool add) {
    if constexpr (ROWS > 0) {
        if (rows == ROWS) product<ROWS, TRANSPOSED>(A, lda, B, ldb, C, ldc, K, add);
        else last_rows<TRANSPOSED, ROWS - 1>(rows, A, lda, B, ldb, C, ldc, K, add);
    }
}

// The same for any number of rows.
template <bool TRANSPOSED>
void multiply(int rows, const float* A, int64_t lda, const float* B, int64_t ldb, float* C, int64_t ldc, int K, bool add) {
    int i = 0;
    for (; i + TILE_ROWS <= rows; i += TILE_ROWS)
        product<TILE_ROWS, TRANSPOSED>(A + i * (TRANSPOSED ? 1 : lda), lda, B, ldb, C + i * ldc, ldc, K, add);
    last_rows<TRANSPOSED>(rows - i, A + i * (TRANSPOSED ? 1 : lda), lda, B, ldb, C + i * ldc, ldc, K, add);
}

// Winograd convolution of `rows` tiles with K channels.
//
// source(row, to, plane) transforms the inputs of a tile to to[point * plane + channel]. U holds the filters as
// [panel][point][K][PANEL]. sink(row, block, from, plane) takes the products of a tile and a block of columns,
// from[point * plane + column].
template <int R, class Source, class Sink>
void convolve(int rows, int K, const float* U, int panels, Source&& source, Sink&& sink) {
    constexpr int POINTS = CookToom<R>::POINTS;
    constexpr int AT_ONCE = std::max(PRODUCT_FLOATS / (POINTS * BLOCK) / TILE_ROWS, 1) * TILE_ROWS;
    auto& threads = Threads::pool();
    const int ld = row_length(K), blocks = (panels + 1) / 2;
    const int most = std::max<int64_t>(INPUT_FLOATS / (int64_t(POINTS) * ld) / AT_ONCE, 1) * AT_ONCE;
    const int64_t plane = int64_t(std::min(round_up(rows, TILE_ROWS), most)) * ld + 16;
    float* V = workspace(INPUTS, POINTS * plane);

    for (int start = 0; start < rows; start += most) {
        const int count = std::min(rows - start, most);
        constexpr int GROUP = 2;
        threads.run((count + GROUP - 1) / GROUP, [&](int task) {
            for (int row = task * GROUP; row < std::min(count, (task + 1) * GROUP); row++)
                source(start + row, V + int64_t(row) * ld, plane);
        });
        const int chunks = (count + AT_ONCE - 1) / AT_ONCE;
        const int each = round_up((count + chunks - 1) / chunks, TILE_ROWS);
        threads.run(blocks * chunks, [&](int task) {
            alignas(64) static thread_local float M[POINTS * (AT_ONCE * BLOCK + 16)];
            const int block = task / chunks, from = task % chunks * each, to = std::min(count, from + each);
            constexpr int64_t M_PLANE = AT_ONCE * BLOCK + 16;
            for (int p = 0; p < POINTS; p++)
                for (int panel = 2 * block; panel < std::min(panels, 2 * block + 2); panel++)
                    multiply<false>(to - from, V + p * plane + int64_t(from) * ld, ld,
                                    U + (int64_t(panel) * POINTS + p) * K * PANEL, PANEL,
                                    M + p * M_PLANE + panel % 2 * PANEL, BLOCK, K, false);
            for (int row = from; row < to; row++) sink(start + row, block, M + int64_t(row - from) * BLOCK, M_PLANE);
        });
    }
}

// The filters' gradient: G[panel of inputs][point][output][PANEL] (+)= the products of the gradients of the outputs and
// the inputs, summed over `rows` tiles.
template <int R, class Inputs, class Outputs>
void correlate(int rows, int in_channels, Inputs&& inputs, int out_channels, Outputs&& outputs, float* G, bool add) {
    constexpr int POINTS = CookToom<R>::POINTS;
    auto& threads = Threads::pool();
    const int ldv = row_length(in_channels), ldd = row_length(out_channels), panels = (in_channels + PANEL - 1) / PANEL;
    const int most = std::max<int64_t>(INPUT_FLOATS / (int64_t(POINTS) * (ldv + ldd)), 16);
    const int at_once = std::min(rows, most);
    const int64_t v_plane = int64_t(at_once) * ldv + 16, d_plane = int64_t(at_once) * ldd + 16;
    float* V = workspace(INPUTS, POINTS * v_plane);
    float* D = workspace(PRODUCTS, POINTS * d_plane);
    for (int start = 0; start < rows; start += most) {
        const int count = std::min(rows - start, most);
        threads.run(2 * count, [&](int task) {
            const int row = task / 2;
            if (task % 2) inputs(start + row, V + int64_t(row) * ldv, v_plane);
            else outputs(start + row, D + int64_t(row) * ldd, d_plane);
        });
        const bool more = add || start > 0;
        threads.run(POINTS, [&](int p) {
            for (int panel = 0; panel < panels; panel++)
                multiply<true>(out_channels, D + p * d_plane, ldd, V + p * v_plane + panel * PANEL, ldv,
                               G + (int64_t(panel) * POINTS + p) * out_channels * PANEL, PANEL, count, more);
        });
    }
}
