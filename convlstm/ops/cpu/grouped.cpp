// Convolution in groups of channels: y[n, i, j, o] = sum_abc x[n, i + a - kh/2, j + b - kw/2, c] w[o, a, b, c] for o and c of
// one group, with zeros around x.
//
// Where it needs fewer multiplications, Winograd's way is taken, in grouped_winograd.h. Otherwise: in an image with zeros around
// it, the values that a row of the kernel sees are adjacent: kw C floats from each pixel on. So the matrix products read the
// image itself.
#include "calls.h"
#include "grouped_winograd.h"

namespace {

struct Grouped {
    int N, H, W, C, O, G, kh, kw;  // C and O: channels of one group
    explicit Grouped(Numbers n)
        : N(n[0]), H(n[1]), W(n[2]), C(n[3] / n[5]), O(n[4] / n[5]), G(n[5]), kh(n[6]), kw(n[7]) {}

    int64_t pixels() const { return int64_t(H) * W; }
    int line() const { return W + kw - 1; }
    int64_t framed(int channels) const { return int64_t(H + kh - 1) * line() * channels; }
    static int panels(int outputs) { return (outputs + PANEL - 1) / PANEL; }

    // Copies one group of an image, with zeros around it.
    void frame(const float* image, int channels, float* to) const {
        std::fill(to, to + framed(channels), 0.0f);
        for (int i = 0; i < H; i++)
            for (int j = 0; j < W; j++)
                std::memcpy(to + (int64_t(i + kh / 2) * line() + j + kw / 2) * channels, image + (int64_t(i) * W + j) * G * channels,
                            sizeof(float) * channels);
    }

    // Returns kernels as [group][panel][a][b][input][PANEL outputs]. `turned` is for the gradient of x, with inputs and outputs
    // exchanged.
    float* filters(const float* w, bool turned) const {
        const int inputs = turned ? O : C, outputs = turned ? C : O;
        const int64_t one = int64_t(kh) * kw * inputs * PANEL;
        float* all = workspace(FILTERS_X, one * panels(outputs) * G);
        Threads::pool().run(G * panels(outputs), [&](int task) {
            const int g = task / panels(outputs), first = task % panels(outputs) * PANEL, there = std::min(PANEL, outputs - first);
            const int64_t of_o = int64_t(kh) * kw * C, step = turned ? 1 : of_o;  // from one output to the next
            float* to = all + task * one;
            for (int k = 0; k < kh * kw; k++) {
                const float* from = w + g * O * of_o + (turned ? kh * kw - 1 - k : k) * C + first * step;
                for (int input = 0; input < inputs; input++, to += PANEL) {
                    const float* own = from + input * (turned ? of_o : 1);
                    for (int n = 0; n < there; n++) to[n] = own[n * step];
                    std::fill(to + there, to + PANEL, 0.0f);
                }
            }
        });
        return all;
    }

    // A task is a group of an image.
    void convolve(const float* x, const float* w, float* y, bool turned) const {
        const int inputs = turned ? O : C, outputs = turned ? C : O, K = kw * inputs;
        multiplications += N * pixels() * G * inputs * outputs * kh * kw;
        const float* all = filters(w, turned);
        const int64_t own = framed(inputs) + pixels() * PANEL;
        float* memory = workspace(INPUTS, own * N * G);
        Threads::pool().run(N * G, [&](int task) {
            const int n = task / G, g = task % G;
            float *image = memory + task * own, *sums = image + framed(inputs);
            frame(x + (n * pixels() * G + g) * inputs, inputs, image);
            for (int panel = 0; panel < panels(outputs); panel++) {
                for (int a = 0; a < kh; a++) {
                    const float* U = all + (int64_t(g * panels(outputs) + panel) * kh + a) * K * PANEL;
                    for (int i = 0; i < H; i++) {
                        const float* from = image + int64_t(i + a) * line() * inputs;
                        float* to = sums + int64_t(i) * W * PANEL;
                        int j = 0;
                        for (; j + TILE_ROWS <= W; j += TILE_ROWS)
                            product<TILE_ROWS, false, false>(from + j * inputs, inputs, U, to + j * PANEL, PANEL, K, a > 0);
                        last_rows<false>(W - j, from + j * inputs, inputs, U, to + j * PANEL, PANEL, K, a > 0);
                    }
                }
                const int count = std::min(PANEL, outputs - panel * PANEL);
                for (int64_t p = 0; p < pixels(); p++)
                    std::memcpy(y + ((n * pixels() + p) * G + g) * outputs + panel * PANEL, sums + p * PANEL, sizeof(float) * count);
            }
        });
    }

    // A task is a row of a group's kernels, for a panel of outputs.
    void kernel_gradient(const float* x, const float* dy, float* dw) const {
        const int K = kw * C, count = panels(O);
        multiplications += N * pixels() * G * C * O * kh * kw;
        float* images = workspace(INPUTS, framed(C) * N * G);
        float* packed = workspace(PRODUCTS, int64_t(G) * count * N * pixels() * PANEL);  // [group][panel][image][pixel][PANEL]
        Threads::pool().run(N * G, [&](int task) {
            const int n = task / G, g = task % G;
            frame(x + (n * pixels() * G + g) * C, C, images + task * framed(C));
            for (int panel = 0; panel < count; panel++) {
                const int there = std::min(PANEL, O - panel * PANEL);
                float* to = packed + (int64_t(g * count + panel) * N + n) * pixels() * PANEL;
                for (int64_t p = 0; p < pixels(); p++, to += PANEL) {
                    std::memcpy(to, dy + ((n * pixels() + p) * G + g) * O + panel * PANEL, sizeof(float) * there);
                    std::fill(to + there, to + PANEL, 0.0f);
                }
            }
        });
        float* all = workspace(SUMS, int64_t(G) * kh * count * K * PANEL);
        Threads::pool().run(G * kh * count, [&](int task) {
            const int g = task / (kh * count), a = task / count % kh, panel = task % count;
            float* sums = all + int64_t(task) * K * PANEL;
            for (int n = 0; n < N; n++)
                for (int i = 0; i < H; i++) {
                    const float* from = images + (n * G + g) * framed(C) + int64_t(i + a) * line() * C;
                    const float* by = packed + ((int64_t(g * count + panel) * N + n) * pixels() + int64_t(i) * W) * PANEL;
                    const bool add = n > 0 || i > 0;
                    int k = 0;
                    for (; k + TILE_ROWS <= K; k += TILE_ROWS)
                        product<TILE_ROWS, true, false>(from + k, C, by, sums + k * PANEL, PANEL, W, add);
                    last_rows<true>(K - k, from + k, C, by, sums + k * PANEL, PANEL, W, add);
                }
            for (int o = 0; o < std::min(PANEL, O - panel * PANEL); o++) {
                float* to = dw + (int64_t(g * O + panel * PANEL + o) * kh + a) * K;
                for (int k = 0; k < K; k++) to[k] = sums[k * PANEL + o];
            }
        });
    }
};

// Calls work(convolution).
template <class Work>
void in_fewest_multiplications(Numbers n, Work&& work) {
    const Grouped direct(n);
    const GroupedShape s{direct.N, direct.H, direct.W, direct.C, direct.O, direct.G, direct.kh};
    const bool square = direct.kh == direct.kw && s.side > 1;
    if (square && s.side == 3 && pays<3>(s)) work(GroupedWinograd<3>(s));
    else if (square && s.side > 3 && pays<5>(s)) work(GroupedWinograd<5>(s));
    else work(direct);
}

}  // namespace

extern "C" {

// x (N, H, W, C), w (O, kh, kw, C / G) -> y (N, H, W, O). Numbers: N, H, W, C, O, G, kh, kw.
void convlstm_grouped(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    in_fewest_multiplications(n, [&](const auto& convolution) { convolution.convolve(in[0], in[1], out[0], false); });
}

// x, w, dy -> dx, dw
void convlstm_grouped_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    in_fewest_multiplications(n, [&](const auto& convolution) {
        convolution.convolve(in[2], in[1], out[0], true);
        convolution.kernel_gradient(in[0], in[2], out[1]);
    });
}
}
