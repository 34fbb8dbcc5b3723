// What a convolution sees of its input, for each of its outputs: rows of kh x kw x C, group by group.
#include <algorithm>

#include "calls.h"
#include "vector.h"

namespace {

struct Patches {
    int N, H, W, C, G, kh, kw, down, right, above, before, rows, columns;  // strides, padding, and the outputs' grid
    explicit Patches(Numbers n)
        : N(n[0]), H(n[1]), W(n[2]), C(n[3]), G(n[4]), kh(n[5]), kw(n[6]), down(n[7]), right(n[8]), above(n[9]), before(n[10]) {
        rows = (H + 2 * above - kh) / down + 1, columns = (W + 2 * before - kw) / right + 1;
    }
    int width() const { return C / G; }
    int64_t length() const { return int64_t(kh) * kw * width(); }

    int64_t patch(int g, int n, int i, int j) const {
        return (((int64_t(g) * N + n) * rows + i) * columns + j) * length();
    }

    // A task is a row of outputs.
    void take(const float* x, float* all) const {
        Threads::pool().run(N * rows, [&](int task) {
            const int n = task / rows, i = task % rows;
            for (int g = 0; g < G; g++)
                for (int j = 0; j < columns; j++) {
                    float* to = all + patch(g, n, i, j);
                    for (int a = 0; a < kh; a++, to += kw * width()) {
                        const int row = i * down - above + a, column = j * right - before;
                        const float* from = x + ((int64_t(n) * H + row) * W + column) * C + g * width();
                        if (row < 0 || row >= H) std::fill(to, to + kw * width(), 0.0f);
                        else if (G == 1 && column >= 0 && column + kw <= W) copy(from, to, kw * C);
                        else
                            for (int b = 0; b < kw; b++)
                                if (column + b < 0 || column + b >= W) std::fill(to + b * width(), to + (b + 1) * width(), 0.0f);
                                else copy(from + int64_t(b) * C, to + b * width(), width());
                    }
                }
        });
    }

    static void copy(const float* from, float* to, int count) {
        int c = 0;
        for (; c + LANES <= count; c += LANES) store(to + c, load(from + c));
        for (; c < count; c++) to[c] = from[c];
    }

    // The gradient of x is the sum of what its pixels are in the patches. A task is a row of pixels.
    void add(const float* all, float* dx) const {
        Threads::pool().run(N * H, [&](int task) {
            const int n = task / H, row = task % H;
            float* to = dx + int64_t(task) * W * C;
            std::fill(to, to + int64_t(W) * C, 0.0f);
            for (int a = 0; a < kh; a++) {
                const int from = row + above - a;
                if (from < 0 || from % down || from / down >= rows) continue;
                for (int g = 0; g < G; g++)
                    for (int j = 0; j < columns; j++)
                        for (int b = 0; b < kw; b++) {
                            const int column = j * right - before + b;
                            if (column < 0 || column >= W) continue;
                            const float* own = all + patch(g, n, from / down, j) + (a * kw + b) * width();
                            float* pixel = to + int64_t(column) * C + g * width();
                            int c = 0;
                            for (; c + LANES <= width(); c += LANES) store(pixel + c, load(pixel + c) + load(own + c));
                            for (; c < width(); c++) pixel[c] += own[c];
                        }
            }
        });
    }
};

}  // namespace

extern "C" {

// x (N, H, W, C) -> patches (G, N H' W', kh kw C / G). Numbers: N, H, W, C, G, kh, kw, strides, padding, for rows and columns.
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
