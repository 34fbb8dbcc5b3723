// Linear layers, y = x W^T + b: products of large matrices. The BLAS that MLX calls reaches two thirds of their speed on
// processors that are not its maker's, and is held to one thread where results must not depend on the number of threads.
#include "calls.h"
#include "filters.h"

namespace {

constexpr int64_t PACKED_FLOATS = 2'000'000;  // of the packed rows that exist at a time
constexpr int ROWS_AT_ONCE = 8 * TILE_ROWS, PANELS_AT_ONCE = 8;  // of a task: its part of C stays in the second cache

// A matrix whose element (i, k) lies at base[i * row + k * inner]; one of the two distances is 1.
struct Matrix {
    const float* base;
    int64_t row, inner;
};

// Packs up to WIDTH rows of a matrix from row i on: to[k][WIDTH], zeros in the place of missing rows.
template <int WIDTH>
void pack(Matrix m, int64_t i, int rows, int K, float* to) {
    const float* from = m.base + i * m.row;
    for (int first = 0; first < WIDTH; first += LANES) {
        constexpr int LAST = WIDTH % LANES ? WIDTH % LANES : LANES;
        const int count = std::clamp(rows - first, 0, LANES), width = first + LANES > WIDTH ? LAST : LANES;
        if (m.row == 1)
            for (int k = 0; k < K; k++) {
                const vec v = load(from + k * m.inner + first, count);
                std::memcpy(to + int64_t(k) * WIDTH + first, &v, sizeof(float) * width);
            }
        else
            for (int k = 0; k < K; k += LANES) {
                vec block[LANES] = {};
                for (int lane = 0; lane < count; lane++) block[lane] = load(from + (first + lane) * m.row + k, K - k);
                transpose(block);
                for (int l = 0; l < std::min(LANES, K - k); l++)
                    std::memcpy(to + int64_t(k + l) * WIDTH + first, &block[l], sizeof(float) * width);
            }
    }
}

// C[i, :] (+)= sum_k A[k][TILE_ROWS] B[k][PANEL] for up to TILE_ROWS rows. The panel after B is fetched ahead by the `first`.
INLINE void multiply_tile(int rows, const float* A, const float* B, float* C, int64_t ldc, int K, bool add, bool first) {
    if (rows < TILE_ROWS) last_rows<true>(rows, A, TILE_ROWS, B, C, ldc, K, add);
    else if (first) product<TILE_ROWS, true, true>(A, TILE_ROWS, B, C, ldc, K, add, A);
    else product<TILE_ROWS, true, false>(A, TILE_ROWS, B, C, ldc, K, add);
}

// C[i, j] = sum_k A(i, k) B(j, k) + bias for M rows and N columns; a bias may be null. With `sums`, C is added to instead.
void multiply_matrices(int64_t M, int N, int K, Matrix A, Matrix B, const float* bias, float* C, bool sums = false) {
    auto& threads = Threads::pool();
    const int panels = (N + PANEL - 1) / PANEL;
    multiplications += M * N * K;
    float* columns = workspace(FILTERS_X, int64_t(panels) * PANEL * K);
    threads.run(panels, [&](int p) {
        pack<PANEL>(B, int64_t(p) * PANEL, std::min(PANEL, N - p * PANEL), K, columns + int64_t(p) * PANEL * K);
    });
    const int64_t most = std::max<int64_t>(PACKED_FLOATS / K / ROWS_AT_ONCE, 1) * ROWS_AT_ONCE;
    float* packed = workspace(INPUTS, std::min<int64_t>(most, round_up(int(std::min(M, most)), TILE_ROWS)) * K);
    const int groups = (panels + PANELS_AT_ONCE - 1) / PANELS_AT_ONCE;
    for (int64_t start = 0; start < M; start += most) {
        const int count = int(std::min(M - start, most)), tiles = (count + TILE_ROWS - 1) / TILE_ROWS;
        threads.run(tiles, [&](int tile) {
            const int i = tile * TILE_ROWS;
            pack<TILE_ROWS>(A, start + i, std::min(TILE_ROWS, count - i), K, packed + int64_t(i) * K);
        });
        threads.run((count + ROWS_AT_ONCE - 1) / ROWS_AT_ONCE * groups, [&](int task) {
            const int top = task / groups * ROWS_AT_ONCE, end = std::min(count, top + ROWS_AT_ONCE);
            const int left = task % groups * PANELS_AT_ONCE, right = std::min(panels, left + PANELS_AT_ONCE);
            for (int k = 0; k < K; k += INNER)
                for (int p = left; p < right; p++)
                    for (int i = top; i < end; i += TILE_ROWS) {
                        const int rows = std::min(TILE_ROWS, end - i), inner = std::min(INNER, K - k);
                        const int width = std::min(PANEL, N - p * PANEL);
                        const float *a = packed + int64_t(i) * K + int64_t(k) * TILE_ROWS;
                        const float* b = columns + (int64_t(p) * K + k) * PANEL;
                        float* c = C + (start + i) * N + p * PANEL;
                        if (k == 0 && bias)
                            for (int r = 0; r < rows; r++) std::memcpy(c + int64_t(r) * N, bias + p * PANEL, sizeof(float) * width);
                        const bool add = k > 0 || bias || sums, first = i == top;
                        if (width == PANEL) multiply_tile(rows, a, b, c, N, inner, add, first);
                        else {  // the last columns go through a panel of their own
                            alignas(64) float part[TILE_ROWS * PANEL] = {};
                            for (int r = 0; add && r < rows; r++)
                                std::memcpy(part + r * PANEL, c + int64_t(r) * N, sizeof(float) * width);
                            multiply_tile(rows, a, b, part, PANEL, inner, add, first);
                            for (int r = 0; r < rows; r++)
                                std::memcpy(c + int64_t(r) * N, part + r * PANEL, sizeof(float) * width);
                        }
                    }
        });
    }
}

// Sums the rows of (M, N).
void sum_rows(int64_t M, int N, const float* from, float* to) {
    constexpr int WIDTH = 4 * LANES;
    Threads::pool().run((N + WIDTH - 1) / WIDTH, [&](int task) {
        const int first = task * WIDTH;
        vec sum[4] = {};
        for (int64_t i = 0; i < M; i++)
            for (int v = 0; v < 4; v++)
                if (const int c = first + v * LANES; c < N) sum[v] += load(from + i * N + c, N - c);
        for (int v = 0; v < 4; v++)
            if (const int c = first + v * LANES; c < N) store(to + c, sum[v], N - c);
    });
}

}  // namespace

extern "C" {

// x (M, K), W (N, K), [b (N)] -> y (M, N). Numbers: M, K, N, b (0: none, 1: given).
void convlstm_linear(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const int64_t M = n[0], K = n[1], N = n[2];
    multiply_matrices(M, int(N), int(K), {in[0], K, 1}, {in[1], K, 1}, n[3] ? in[2] : nullptr, out[0]);
}

// x, W, dy -> dx, dW, [db]. Numbers as in convlstm_linear.
void convlstm_linear_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const int64_t M = n[0], K = n[1], N = n[2];
    multiply_matrices(M, int(K), int(N), {in[2], N, 1}, {in[1], 1, K}, nullptr, out[0]);
    const int64_t most = std::max<int64_t>(PACKED_FLOATS / (N + K) / INNER, 1) * INNER;
    for (int64_t start = 0; start < M; start += most)
        multiply_matrices(N, int(K), int(std::min(most, M - start)), {in[2] + start * N, 1, N}, {in[0] + start * K, 1, K}, nullptr,
                          out[1], start > 0);
    if (n[3]) sum_rows(M, int(N), in[2], out[2]);
}
}
