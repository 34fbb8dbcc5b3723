// Frames filtered by kernels that differ from patch to patch.
#include <algorithm>

#include "calls.h"

namespace {

// A row of a patch is short: vectors of four floats, and rows that are padded with zeros to whole vectors.
typedef float four __attribute__((vector_size(16)));
typedef float four_in_memory __attribute__((vector_size(16), aligned(4), may_alias));
inline four load(const float* p) { return *reinterpret_cast<const four_in_memory*>(p); }
inline void store(float* p, four v) { *reinterpret_cast<four_in_memory*>(p) = v; }

struct PatchKernels {
    int N, H, W, C, K, R, S, above, before;       // frames, side of the kernels, grid of patches, zeros around
    int p, q, width, padded, rows, length, stride;  // a patch, its rows in floats, and the window that it sees
    explicit PatchKernels(Numbers n)
        : N(n[0]), H(n[1]), W(n[2]), C(n[3]), K(n[4]), R(n[5]), S(n[6]), above(n[7]), before(n[8]) {
        p = (H + 2 * above - K + 1) / R, q = (W + 2 * before - K + 1) / S;
        width = q * C, padded = (width + 3) / 4 * 4;
        rows = p + K - 1, length = (q + K - 1) * C, stride = length + padded - width;
    }
    int64_t window_floats() const { return int64_t(rows) * stride; }
    int64_t kernel(int n, int r, int s) const { return ((int64_t(n) * R + r) * S + s) * K * K; }
    // Row i of patch (r, s) in the outputs (N, R, S, p q C).
    int64_t output(int n, int r, int s, int i) const { return (((int64_t(n) * R + r) * S + s) * p + i) * width; }

    // The floats of the window's row that lie in the frame, and where they begin there.
    struct Overlap {
        int64_t place;
        int begin, count;
    };
    Overlap overlap(int n, int r, int s, int a) const {
        const int row = r * p - above + a, column = s * q - before;
        if (row < 0 || row >= H) return {0, 0, 0};
        const int begin = std::clamp(-column, 0, q + K - 1), end = std::clamp(W - column, begin, q + K - 1);
        return {((int64_t(n) * H + row) * W + column + begin) * C, begin * C, (end - begin) * C};
    }

    void take_window(const float* x, int n, int r, int s, float* window) const {
        std::fill(window, window + window_floats(), 0.0f);
        for (int a = 0; a < rows; a++) {
            const Overlap o = overlap(n, r, s, a);
            if (o.count > 0) std::memcpy(window + a * stride + o.begin, x + o.place, o.count * sizeof(float));
        }
    }

    // Four floats of `COUNT` rows of a patch from its window.
    template <int COUNT>
    void filter(const float* window, const float* k, four* y) const {
        for (int i = 0; i < COUNT; i++) y[i] = four{};
        for (int a = 0; a < K; a++)
            for (int b = 0; b < K; b++, k++)
                for (int i = 0; i < COUNT; i++) y[i] += *k * load(window + (a + i) * stride + b * C);
    }

    // A task is a row of patches.
    void forward(const float* x, const float* kernels, float* y) const {
        Threads::pool().run(N * R, [&](int task) {
            const int n = task / R, r = task % R;
            std::vector<float> window(window_floats());
            for (int s = 0; s < S; s++) {
                take_window(x, n, r, s, window.data());
                for (int i = 0; i < p; i += 4)
                    for (int c = 0; c < width; c += 4) {
                        const float* from = window.data() + i * stride + c;
                        const float* k = kernels + kernel(n, r, s);
                        const int count = std::min(4, p - i);
                        four sums[4];
                        if (count == 4) filter<4>(from, k, sums);
                        else if (count == 3) filter<3>(from, k, sums);
                        else if (count == 2) filter<2>(from, k, sums);
                        else filter<1>(from, k, sums);
                        for (int j = 0; j < count; j++)
                            std::memcpy(y + output(n, r, s, i + j) + c, &sums[j], std::min(4, width - c) * sizeof(float));
                    }
            }
        });
    }

    // dy -> the gradients of the kernels, and of the windows, which overlap. A task is a row of patches.
    void backward(const float* x, const float* kernels, const float* dy, float* dkernels, float* windows) const {
        Threads::pool().run(N * R, [&](int task) {
            const int n = task / R, r = task % R;
            std::vector<float> window(window_floats()), gradient(p * padded);
            for (int s = 0; s < S; s++) {
                float* dwindow = windows + (int64_t(task) * S + s) * window_floats();
                take_window(x, n, r, s, window.data());
                for (int i = 0; i < p; i++)
                    std::memcpy(&gradient[i * padded], dy + output(n, r, s, i), width * sizeof(float));
                kernel_gradient(window.data(), gradient.data(), dkernels + kernel(n, r, s));
                window_gradient(kernels + kernel(n, r, s), gradient.data(), dwindow);
            }
        });
    }

    void kernel_gradient(const float* window, const float* dy, float* dk) const {
        for (int a = 0; a < K; a++)
            for (int b = 0; b < K; b++) {
                four sum{};
                for (int i = 0; i < p; i++)
                    for (int c = 0; c < padded; c += 4) sum += load(dy + i * padded + c) * load(window + (a + i) * stride + b * C + c);
                *dk++ = (sum[0] + sum[1]) + (sum[2] + sum[3]);
            }
    }

    // b comes first, so that no load follows a store to half of its bytes.
    void window_gradient(const float* k, const float* dy, float* dwindow) const {
        std::fill(dwindow, dwindow + window_floats(), 0.0f);
        for (int b = 0; b < K; b++)
            for (int row = 0; row < rows; row++)
                for (int c = 0; c < padded; c += 4) {
                    float* to = dwindow + row * stride + b * C + c;
                    four sum = load(to);
                    for (int a = std::max(0, row - p + 1); a <= std::min(K - 1, row); a++)
                        sum += k[a * K + b] * load(dy + (row - a) * padded + c);
                    store(to, sum);
                }
    }

    // The gradient of a frame is the sum of those of the windows. A task is a row of pixels.
    void add(const float* windows, float* dx) const {
        Threads::pool().run(N * H, [&](int task) {
            const int n = task / H, row = task % H;
            std::fill(dx + int64_t(task) * W * C, dx + int64_t(task + 1) * W * C, 0.0f);
            for (int r = 0; r < R; r++) {
                const int a = row + above - r * p;
                if (a < 0 || a >= rows) continue;
                for (int s = 0; s < S; s++) {
                    const Overlap o = overlap(n, r, s, a);
                    const float* from = windows + ((int64_t(n) * R + r) * S + s) * window_floats() + a * stride + o.begin;
                    for (int c = 0; c < o.count; c++) dx[o.place + c] += from[c];
                }
            }
        });
    }
};

}  // namespace

extern "C" {

// x (N, H, W, C), kernels (N, R, S, K K) -> y (N, R, S, p q C). Numbers: N, H, W, C, K, R, S, rows and columns of zeros.
void convlstm_patch_kernels(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    PatchKernels(n).forward(in[0], in[1], out[0]);
}

// x, kernels, dy -> dx, dkernels
void convlstm_patch_kernels_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const PatchKernels all(n);
    float* windows = workspace(GRADIENT_X, int64_t(all.N) * all.R * all.S * all.window_floats());
    all.backward(in[0], in[1], in[2], out[1], windows);
    all.add(windows, out[0]);
}
}
