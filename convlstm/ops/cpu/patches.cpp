// Patches: the kh x kw x C inputs that each output of a convolution sees, as rows of a matrix.
#include <algorithm>

#include "calls.h"
#include "vector.h"

namespace {

struct Patches {
    int N, H, W, C, kh, kw, down, right, above, before, rows, columns;  // strides, padding, and the outputs' grid
    explicit Patches(Numbers n)
        : N(n[0]), H(n[1]), W(n[2]), C(n[3]), kh(n[4]), kw(n[5]), down(n[6]), right(n[7]), above(n[8]), before(n[9]) {
        rows = (H + 2 * above - kh) / down + 1, columns = (W + 2 * before - kw) / right + 1;
    }
    int64_t patch(int n, int i, int j) const { return ((int64_t(n) * rows + i) * columns + j) * kh * kw * C; }

    // A task is a row of outputs.
    void take(const float* x, float* all) const {
        Threads::pool().run(N * rows, [&](int task) {
            const int n = task / rows, i = task % rows;
            for (int j = 0; j < columns; j++) {
                float* to = all + patch(n, i, j);
                for (int a = 0; a < kh; a++, to += kw * C) {
                    const int row = i * down - above + a, column = j * right - before;
                    const float* from = x + ((int64_t(n) * H + row) * W + column) * C;
                    const int left = std::clamp(-column, 0, kw), end = std::clamp(W - column, left, kw);
                    if (row < 0 || row >= H) std::fill(to, to + kw * C, 0.0f);
                    else {
                        std::fill(to, to + left * C, 0.0f);
                        copy(from + left * C, to + left * C, (end - left) * C);
                        std::fill(to + end * C, to + kw * C, 0.0f);
                    }
                }
            }
        });
    }

    static void copy(const float* from, float* to, int count) {
        int c = 0;
        for (; c + LANES <= count; c += LANES) store(to + c, load(from + c));
        for (; c < count; c++) to[c] = from[c];
    }

    // The gradient of a pixel of x is the sum of the gradients of all patches' values that are this pixel. A task is a row of
    // pixels.
    void add(const float* all, float* dx) const {
        Threads::pool().run(N * H, [&](int task) {
            const int n = task / H, row = task % H;
            float* to = dx + int64_t(task) * W * C;
            std::fill(to, to + int64_t(W) * C, 0.0f);
            for (int a = 0; a < kh; a++) {
                const int from = row + above - a;
                if (from < 0 || from % down || from / down >= rows) continue;
                for (int j = 0; j < columns; j++) {
                    // The pixels of a patch's row are adjacent.
                    const int column = j * right - before, left = std::clamp(-column, 0, kw), end = std::clamp(W - column, left, kw);
                    const float* own = all + patch(n, from / down, j) + (a * kw + left) * C;
                    float* pixel = to + int64_t(column + left) * C;
                    const int count = (end - left) * C;
                    int c = 0;
                    for (; c + LANES <= count; c += LANES) store(pixel + c, load(pixel + c) + load(own + c));
                    for (; c < count; c++) pixel[c] += own[c];
                }
            }
        });
    }
};

}  // namespace

extern "C" {

// x (N, H, W, C) -> patches (N H' W', kh kw C). Numbers: N, H, W, C, kh, kw, strides, padding, for rows and columns.
void convlstm_patches(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Patches(n).take(in[0], out[0]);
}

// dpatches -> dx
void convlstm_patches_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Patches(n).add(in[0], out[0]);
}
}
