// The transforms of kernels (O, R, R, C) to filters, the form that the products read, and back.
//
// The outputs of a ConvLSTM's convolution are the four gates. A vector of channels of each gate lies beside those of the
// others: [group of LANES channels][gate][lane], filled up with zeros in the last group.
#pragma once

#include "products.h"

struct Outputs {
    int channels;  // of one gate, or of all outputs if there are no gates
    bool gates;

    int groups() const { return (channels + LANES - 1) / LANES; }
    int packed() const { return gates ? 4 * LANES * groups() : channels; }
    int panels() const { return (packed() + PANEL - 1) / PANEL; }
    // The output's number in (O, R, R, C), or -1 for a filled-up lane.
    int number(int packed_index) const {
        if (!gates) return packed_index < channels ? packed_index : -1;
        const int channel = packed_index / (4 * LANES) * LANES + packed_index % LANES;
        return channel < channels ? packed_index / LANES % 4 * channels + channel : -1;
    }
};

inline int64_t filter_floats(int points, int K, int columns) {
    return int64_t(points) * K * round_up(columns, PANEL);
}

INLINE void transpose(vec* rows) {
    typedef int32_t mask __attribute__((vector_size(4 * LANES)));
    UNROLL for (int s = 1; s < LANES; s *= 2) {
        mask low, high;
        for (int l = 0; l < LANES; l++) {
            low[l] = l & s ? LANES + l - s : l;
            high[l] = l & s ? LANES + l : l + s;
        }
        UNROLL for (int i = 0; i < LANES; i++)
            if (!(i & s)) {
                const vec a = rows[i], b = rows[i + s];
                rows[i] = __builtin_shuffle(a, b, low);
                rows[i + s] = __builtin_shuffle(a, b, high);
            }
    }
}

// The taps of a kernel that a filter takes, from the first one on: at most R rows and columns, with zeros beyond them.
struct Taps {
    const float* first;
    int64_t row, column;  // floats from one to the next
    int rows, columns;
};
// All taps of an R x R kernel, in their order or `rotated`, which is the reverse.
template <int R>
Taps whole(const float* w, int ld, bool rotated) {
    return {rotated ? w + int64_t(R * R - 1) * ld : w, rotated ? -R * ld : R * ld, rotated ? -ld : ld, R, R};
}

// G w G^T of one output and a vector of inputs.
template <int R>
INLINE void filter(Taps taps, int channels, vec (*out)[CookToom<R>::N]) {
    constexpr int N = CookToom<R>::N;
    vec d[R][R], columns[R][N], line[R], result[N];
    for (int a = 0; a < R; a++) {
        for (int b = 0; b < R; b++)
            d[a][b] = a < taps.rows && b < taps.columns ? load(taps.first + a * taps.row + b * taps.column, channels) : vec{};
        to_points<R, R, true>(d[a], columns[a]);
    }
    for (int b = 0; b < N; b++) {
        UNROLL for (int a = 0; a < R; a++) line[a] = columns[a][b];
        to_points<R, R, true>(line, result);
        UNROLL for (int a = 0; a < N; a++) out[a][b] = result[a];
    }
}

// The inverse for gradients: G^T dU G from the points of one output and a vector of inputs, from[point * plane].
template <int R>
INLINE void filter_taps(const float* from, int64_t plane, vec (*taps)[R]) {
    constexpr int N = CookToom<R>::N;
    vec columns[R][N], line[N], out[R];
    for (int b = 0; b < N; b++) {
        for (int a = 0; a < N; a++) line[a] = load(from + (a * N + b) * plane);
        from_points<R, R, true>(line, out);
        for (int a = 0; a < R; a++) columns[a][b] = out[a];
    }
    for (int a = 0; a < R; a++) from_points<R, R, true>(columns[a], taps[a]);
}

// Computes the filters for the convolution: U[panel of outputs][point][input][PANEL].
template <int R>
void forward_filters(const float* w, Outputs outputs, int C, float* U) {
    constexpr int N = CookToom<R>::N, POINTS = N * N;
    const int halves = 2 * outputs.panels(), parts = (C + LANES - 1) / LANES;
    Threads::pool().run(halves * parts, [&](int task) {
        static thread_local vec all[POINTS][LANES];
        const int half = task / parts, c = task % parts * LANES, channels = std::min(C - c, LANES);
        for (int lane = 0; lane < LANES; lane++) {
            vec one[N][N] = {};
            if (const int o = outputs.number(half * LANES + lane); o >= 0)
                filter<R>(whole<R>(w + int64_t(o) * R * R * C + c, C, false), channels, one);
            for (int p = 0; p < POINTS; p++) all[p][lane] = one[p / N][p % N];
        }
        float* to = U + int64_t(half / 2) * POINTS * C * PANEL + half % 2 * LANES;
        for (int p = 0; p < POINTS; p++) {
            transpose(all[p]);
            for (int k = 0; k < channels; k++) store(to + (int64_t(p) * C + c + k) * PANEL, all[p][k]);
        }
    });
}

// Computes the filters for the gradient of the convolution's input, from reversed kernels:
// U[panel of inputs][point][output][PANEL].
template <int R>
void backward_filters(const float* w, Outputs outputs, int C, float* U) {
    constexpr int N = CookToom<R>::N, POINTS = N * N;
    const int K = outputs.packed(), halves = 2 * ((C + PANEL - 1) / PANEL);
    Threads::pool().run(K, [&](int k) {
        const int o = outputs.number(k);
        for (int half = 0; half < halves; half++) {
            const int c = half * LANES;
            vec one[N][N] = {};
            if (o >= 0 && c < C) filter<R>(whole<R>(w + int64_t(o) * R * R * C + c, C, true), C - c, one);
            float* to = U + (int64_t(half / 2) * POINTS * K + k) * PANEL + half % 2 * LANES;
            for (int p = 0; p < POINTS; p++) store(to + int64_t(p) * K * PANEL, one[p / N][p % N]);
        }
    });
}

// Computes the kernels' gradient, dw (+)= G^T dU G, from dU[panel of inputs][point][output][PANEL].
template <int R>
void filter_gradient(const float* dU, Outputs outputs, int C, float* dw, bool add = false) {
    constexpr int POINTS = CookToom<R>::POINTS;
    const int K = outputs.packed();
    Threads::pool().run(K, [&](int k) {
        const int o = outputs.number(k);
        for (int c = 0; o >= 0 && c < C; c += LANES) {
            const float* from = dU + (int64_t(c / PANEL) * POINTS * K + k) * PANEL + c % PANEL;
            vec taps[R][R];
            filter_taps<R>(from, int64_t(K) * PANEL, taps);
            for (int a = 0; a < R; a++)
                for (int b = 0; b < R; b++) {
                    float* to = dw + ((int64_t(o) * R + a) * R + b) * C + c;
                    store(to, add ? load(to, C - c) + taps[a][b] : taps[a][b], C - c);
                }
        }
    });
}
