// Depthwise convolution: y[n, i, j, c] = sum_ab x[n, i + d (a - kh/2), j + d (b - kw/2), c] w[a, b, c], zeros around x.
//
// A task is a block of channels, a whole line of the cache, of one frame (of all frames for the kernel's gradient). Its reads
// are close together, and no order of a sum depends on the threads.
#include <algorithm>

#include "calls.h"
#include "vector.h"

namespace {

constexpr int BLOCK = std::max(16, LANES), VECTORS = BLOCK / LANES, ACROSS = 4;  // channels, and columns at a time

// A vector of a block; only `left` lanes are valid unless the block is whole.
template <bool WHOLE>
INLINE vec part(const float* p, int left) {
    if (WHOLE) return load(p);
    return left > 0 ? load(p, left) : vec{};
}

struct Depthwise {
    int N, H, W, C, kh, kw, d;
    explicit Depthwise(Numbers n) : N(n[0]), H(n[1]), W(n[2]), C(n[3]), kh(n[4]), kw(n[5]), d(n[6]) {}
    int blocks() const { return (C + BLOCK - 1) / BLOCK; }
    int64_t frame() const { return int64_t(H) * W * C; }

    // The first and the end of the positions i for which i + shift lies within [0, length).
    static int first(int shift) { return std::max(0, -shift); }
    static int end(int shift, int length) { return std::min(length, length - shift); }

    // Computes some columns of a row of y, for one block. `turned` reverses the kernel, for the gradient of x.
    template <int WIDTH, bool WHOLE>
    void columns(const float* x, const float* w, float* y, int i, int j, int width, bool turned) const {
        vec sum[WIDTH][VECTORS]{};
        for (int a = 0; a < kh; a++) {
            const int row = i + d * (a - kh / 2);
            if (row < 0 || row >= H) continue;
            for (int b = 0; b < kw; b++) {
                const int column = j + d * (b - kw / 2);
                if (column <= -WIDTH || column >= W) continue;
                vec kernel[VECTORS];
                const float* of = w + (turned ? kh * kw - 1 - (a * kw + b) : a * kw + b) * BLOCK;
                UNROLL for (int v = 0; v < VECTORS; v++) kernel[v] = load(of + v * LANES);
                const bool inside = column >= 0 && column + WIDTH <= W;
                const float* from = x + (int64_t(row) * W + column) * C;
                UNROLL for (int s = 0; s < WIDTH; s++)
                    if (inside || (column + s >= 0 && column + s < W))
                        UNROLL for (int v = 0; v < VECTORS; v++)
                            sum[s][v] += part<WHOLE>(from + s * C + v * LANES, width - v * LANES) * kernel[v];
            }
        }
        float* to = y + (int64_t(i) * W + j) * C;
        UNROLL for (int s = 0; s < WIDTH; s++)
            UNROLL for (int v = 0; v < VECTORS; v++)
                if (v * LANES < width) store(to + s * C + v * LANES, sum[s][v], width - v * LANES);
    }

    template <bool WHOLE>
    void image(const float* x, const float* w, float* y, int width, bool turned) const {
        for (int i = 0; i < H; i++) {
            int j = 0;
            for (; j + ACROSS <= W; j += ACROSS) columns<ACROSS, WHOLE>(x, w, y, i, j, width, turned);
            for (; j < W; j++) columns<1, WHOLE>(x, w, y, i, j, width, turned);
        }
    }

    void run(const float* x, const float* w, float* y, bool turned) const {
        Threads::pool().run(N * blocks(), [&](int task) {
            const int c = task % blocks() * BLOCK, width = std::min(BLOCK, C - c);
            const int64_t at = task / blocks() * frame() + c;
            std::vector<float> kernel(int64_t(kh) * kw * BLOCK, 0.0f);
            for (int k = 0; k < kh * kw; k++) std::memcpy(&kernel[int64_t(k) * BLOCK], w + int64_t(k) * C + c, sizeof(float) * width);
            if (width == BLOCK) image<true>(x + at, kernel.data(), y + at, width, turned);
            else image<false>(x + at, kernel.data(), y + at, width, turned);
        });
    }

    template <bool WHOLE>
    void kernel_gradient_of(const float* x, const float* dy, float* sums, int width) const {
        for (int a = 0; a < kh; a++)
            for (int b = 0; b < kw; b++) {
                const int down = d * (a - kh / 2), right = d * (b - kw / 2), j = first(right);
                vec sum[VECTORS]{};
                for (int i = first(down); i < end(down, H); i++) {
                    const float* from = x + (int64_t(i + down) * W + j + right) * C;
                    const float* by = dy + (int64_t(i) * W + j) * C;
                    for (int left = end(right, W) - j; left > 0; left--, from += C, by += C)
                        UNROLL for (int v = 0; v < VECTORS; v++)
                            sum[v] += part<WHOLE>(from + v * LANES, width - v * LANES) * part<WHOLE>(by + v * LANES, width - v * LANES);
                }
                float* to = sums + (a * kw + b) * BLOCK;
                UNROLL for (int v = 0; v < VECTORS; v++) store(to + v * LANES, load(to + v * LANES) + sum[v]);
            }
    }

    void kernel_gradient(const float* x, const float* dy, float* dw) const {
        Threads::pool().run(blocks(), [&](int task) {
            const int c = task * BLOCK, width = std::min(BLOCK, C - c);
            std::vector<float> sums(int64_t(kh) * kw * BLOCK, 0.0f);
            for (int n = 0; n < N; n++) {
                const int64_t at = n * frame() + c;
                if (width == BLOCK) kernel_gradient_of<true>(x + at, dy + at, sums.data(), width);
                else kernel_gradient_of<false>(x + at, dy + at, sums.data(), width);
            }
            for (int k = 0; k < kh * kw; k++) std::memcpy(dw + int64_t(k) * C + c, &sums[int64_t(k) * BLOCK], sizeof(float) * width);
        });
    }
};

}  // namespace

extern "C" {

// x, w -> y. Numbers: N, H, W, C, kh, kw, dilation.
void convlstm_depthwise(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Depthwise(n).run(in[0], in[1], out[0], false);
}

// x, w, dy -> dx, dw. Numbers as in convlstm_depthwise.
void convlstm_depthwise_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const Depthwise s(n);
    s.run(in[2], in[1], out[0], true);
    s.kernel_gradient(in[0], in[2], out[1]);
}
}
