// Group normalisation of x + bias with an activation, and batch normalisation.
//
// A task is a group of one frame, or a block of channels of all frames: it soon reads again the values that it has summed.
#include <algorithm>
#include <cmath>

#include "calls.h"
#include "vector.h"

namespace {

constexpr int VECTORS = 4, BLOCK = VECTORS * LANES, ROWS = 64;  // channels at a time; rows that are summed in floats

enum Activation { NONE, SILU, LEAKY_RELU };

template <Activation A>
INLINE vec activated(vec z) {
    if (A == SILU) return z * sigmoid(z);
    return A == LEAKY_RELU ? z > 0.0f ? z : 0.2f * z : z;
}
template <Activation A>
INLINE vec slope(vec z) {
    if (A == SILU) {
        const vec s = sigmoid(z);
        return s * (1.0f + z * (1.0f - s));
    }
    return A == LEAKY_RELU ? z > 0.0f ? fill(1.0f) : fill(0.2f) : fill(1.0f);
}

// A vector of a block; zeros beyond its `left` channels.
INLINE vec part(const float* p, int left) { return left > 0 ? load(p, left) : vec{}; }

// Rows of C channels, of which `width` channels from `first` on are used.
struct Part {
    int64_t rows;
    int C, first, width;

    // Calls use(start of the row, channel, number of the vector in its block, channels left) for every vector of every row.
    // Blocks are the outer loop. `before` and `after` are called around `at_once` rows of a block.
    template <class Before, class Use, class After>
    void each(int64_t at_once, Before&& before, Use&& use, After&& after) const {
        for (int c = first; c < first + width; c += BLOCK)
            for (int64_t row = 0; row < rows; row += at_once) {
                before(c);
                for (int64_t r = row; r < std::min(rows, row + at_once); r++)
                    UNROLL for (int v = 0; v < VECTORS; v++)
                        if (const int channel = c + v * LANES, left = first + width - channel; left > 0) use(r * C, channel, v, left);
                after(c);
            }
    }

    // Sums value(start of the row, channel, left) over the rows, for each channel.
    template <class Value>
    void sums(double* to, Value&& value) const {
        std::fill(to, to + width, 0.0);
        vec sum[VECTORS];
        each(
            ROWS, [&](int) { UNROLL for (int v = 0; v < VECTORS; v++) sum[v] = vec{}; },
            [&](int64_t at, int channel, int v, int left) { sum[v] += value(at, channel, left); },
            [&](int c) {
                for (int n = 0; n < std::min(BLOCK, first + width - c); n++) to[c - first + n] += sum[n / LANES][n % LANES];
            });
    }
};

double total(const std::vector<double>& values) {
    double sum = 0;
    for (double value : values) sum += value;
    return sum;
}

struct GroupNorm {
    int N;
    int64_t rows;  // of a frame
    int C, G;
    const float *x, *bias, *weight, *shift;

    int width() const { return C / G; }
    INLINE vec value(const float* frame, int64_t at, int channel, int left) const {
        return load(frame + at + channel, left) + load(bias + channel, left);
    }

    template <Activation A>
    void forward(float epsilon, float* y, float* statistics) const {
        Threads::pool().run(N * G, [&](int task) {
            const int64_t at_frame = task / G * rows * C;
            const float* frame = x + at_frame;
            const Part part{rows, C, task % G * width(), width()};
            const double count = double(rows) * width();
            std::vector<double> sums(width());
            part.sums(sums.data(), [&](int64_t at, int channel, int left) { return value(frame, at, channel, left); });
            const vec mean = fill(float(total(sums) / count));
            part.sums(sums.data(), [&](int64_t at, int channel, int left) {
                const vec d = value(frame, at, channel, left) - mean;
                return d * d;
            });
            const double scale = 1 / std::sqrt(total(sums) / count + epsilon);
            statistics[2 * task] = mean[0], statistics[2 * task + 1] = float(scale);
            vec by[VECTORS], plus[VECTORS];
            part.each(
                rows,
                [&](int c) {
                    for (int v = 0; v < VECTORS; v++) {
                        const int channel = c + v * LANES, left = part.first + width() - channel;
                        by[v] = ::part(weight + channel, left) * float(scale);
                        plus[v] = (::part(bias + channel, left) - mean) * by[v] + ::part(shift + channel, left);
                    }
                },
                [&](int64_t at, int channel, int v, int left) {
                    store(y + at_frame + at + channel, activated<A>(load(frame + at + channel, left) * by[v] + plus[v]), left);
                },
                [](int) {});
        });
    }

    // dx and dy may share their memory.
    template <Activation A>
    void backward(const float* statistics, const float* dy, float* dx, float* dbias, float* dweight, float* dshift) const {
        float* sums = workspace(SUMS, int64_t(3) * N * C);  // for each frame: sums of dz, of dz times the normalised x, of dx
        Threads::pool().run(N * G, [&](int task) {
            const int n = task / G;
            const int64_t at_frame = n * rows * C;
            const float* frame = x + at_frame;
            const Part part{rows, C, task % G * width(), width()};
            const vec mean = fill(statistics[2 * task]), scale = fill(statistics[2 * task + 1]);
            std::vector<double> of_dz(width(), 0.0), of_both(width(), 0.0), of_dx(width(), 0.0);
            vec first[VECTORS], second[VECTORS];
            const auto add = [&](int c, const vec* sum, std::vector<double>& to) {
                for (int i = 0; i < std::min(BLOCK, part.first + width() - c); i++) to[c - part.first + i] += sum[i / LANES][i % LANES];
            };
            const auto nothing = [&](int) { UNROLL for (int v = 0; v < VECTORS; v++) first[v] = second[v] = vec{}; };
            part.each(
                ROWS, nothing,
                [&](int64_t at, int channel, int v, int left) {
                    const vec normal = (value(frame, at, channel, left) - mean) * scale;
                    const vec z = normal * load(weight + channel, left) + load(shift + channel, left);
                    const vec dz = load(dy + at_frame + at + channel, left) * slope<A>(z);
                    store(dx + at_frame + at + channel, dz, left);
                    first[v] += dz, second[v] += dz * normal;
                },
                [&](int c) { add(c, first, of_dz), add(c, second, of_both); });
            double mean_first = 0, mean_second = 0;
            for (int c = 0; c < width(); c++) {
                mean_first += weight[part.first + c] * of_dz[c], mean_second += weight[part.first + c] * of_both[c];
            }
            const double count = double(rows) * width();
            const vec less = fill(float(mean_first / count)), tilt = fill(float(mean_second / count));
            part.each(
                ROWS, nothing,
                [&](int64_t at, int channel, int v, int left) {
                    const vec normal = (value(frame, at, channel, left) - mean) * scale;
                    float* to = dx + at_frame + at + channel;
                    const vec d = scale * (load(to, left) * load(weight + channel, left) - less - normal * tilt);
                    store(to, d, left);
                    first[v] += d;
                },
                [&](int c) { add(c, first, of_dx); });
            for (int c = 0; c < width(); c++) {
                float* to = sums + int64_t(3) * n * C + part.first + c;
                to[0] = float(of_dz[c]), to[C] = float(of_both[c]), to[2 * C] = float(of_dx[c]);
            }
        });
        float* into[3] = {dshift, dweight, dbias};
        for (int which = 0; which < 3; which++)
            for (int c = 0; c < C; c++) {
                double sum = 0;
                for (int n = 0; n < N; n++) sum += sums[(int64_t(3) * n + which) * C + c];
                into[which][c] = float(sum);
            }
    }
};

GroupNorm group_norm(In in, Numbers n) { return {int(n[0]), n[1], int(n[2]), int(n[3]), in[0], in[1], in[2], in[3]}; }

template <class Work>
void with_activation(int64_t activation, Work&& work) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    if (activation == SILU) work(std::integral_constant<Activation, SILU>{});
    else if (activation == LEAKY_RELU) work(std::integral_constant<Activation, LEAKY_RELU>{});
    else work(std::integral_constant<Activation, NONE>{});
}

}  // namespace

extern "C" {

// x (N, rows, C), bias, weight, shift, epsilon -> y, statistics (N, G, 2). Numbers: N, rows, C, G, activation (0: none,
// 1: SiLU, 2: leaky ReLU).
void convlstm_group_norm(In in, Out out, Numbers n) {
    with_activation(n[4], [&](auto a) { group_norm(in, n).forward<decltype(a)::value>(*in[4], out[0], out[1]); });
}

// x, bias, weight, shift, statistics, dy -> dx, dbias, dweight, dshift
void convlstm_group_norm_backward(In in, Out out, Numbers n) {
    with_activation(n[4], [&](auto a) {
        group_norm(in, n).backward<decltype(a)::value>(in[4], in[5], out[0], out[1], out[2], out[3]);
    });
}

// x (rows, C), weight, shift, epsilon -> y, means (C), variances (C). Numbers: rows, C.
void convlstm_batch_norm(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const int C = int(n[1]);
    const float *x = in[0], *weight = in[1], *shift = in[2];
    Threads::pool().run((C + BLOCK - 1) / BLOCK, [&](int task) {
        const Part part{n[0], C, task * BLOCK, std::min(BLOCK, C - task * BLOCK)};
        double sums[BLOCK];
        vec mean[VECTORS]{}, by[VECTORS]{}, plus[VECTORS]{};
        part.sums(sums, [&](int64_t at, int channel, int left) { return load(x + at + channel, left); });
        for (int c = 0; c < part.width; c++) mean[c / LANES][c % LANES] = out[1][part.first + c] = float(sums[c] / n[0]);
        part.sums(sums, [&](int64_t at, int channel, int left) {
            const vec d = load(x + at + channel, left) - mean[(channel - part.first) / LANES];
            return d * d;
        });
        for (int c = 0; c < part.width; c++) {
            const int channel = part.first + c;
            const double variance = sums[c] / n[0];
            out[2][channel] = float(variance);
            by[c / LANES][c % LANES] = float(weight[channel] / std::sqrt(variance + *in[3]));
            plus[c / LANES][c % LANES] = shift[channel];
        }
        part.each(
            n[0], [](int) {},
            [&](int64_t at, int channel, int v, int left) {
                store(out[0] + at + channel, (load(x + at + channel, left) - mean[v]) * by[v] + plus[v], left);
            },
            [](int) {});
    });
}

// x, weight, epsilon, means, variances, dy -> dx, dweight, dshift
void convlstm_batch_norm_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const int C = int(n[1]);
    const float *x = in[0], *dy = in[5];
    Threads::pool().run((C + BLOCK - 1) / BLOCK, [&](int task) {
        const Part part{n[0], C, task * BLOCK, std::min(BLOCK, C - task * BLOCK)};
        double of_dy[BLOCK], of_both[BLOCK];
        vec mean[VECTORS]{}, scale[VECTORS]{}, by[VECTORS]{}, less[VECTORS]{}, tilt[VECTORS]{};
        for (int c = 0; c < part.width; c++) {
            const int channel = part.first + c;
            mean[c / LANES][c % LANES] = in[3][channel];
            scale[c / LANES][c % LANES] = float(1 / std::sqrt(double(in[4][channel]) + *in[2]));
            by[c / LANES][c % LANES] = in[1][channel] * scale[c / LANES][c % LANES];
        }
        part.sums(of_dy, [&](int64_t at, int channel, int left) { return load(dy + at + channel, left); });
        part.sums(of_both, [&](int64_t at, int channel, int left) {
            const int v = (channel - part.first) / LANES;
            return load(dy + at + channel, left) * (load(x + at + channel, left) - mean[v]) * scale[v];
        });
        for (int c = 0; c < part.width; c++) {
            out[1][part.first + c] = float(of_both[c]), out[2][part.first + c] = float(of_dy[c]);
            less[c / LANES][c % LANES] = float(of_dy[c] / n[0]), tilt[c / LANES][c % LANES] = float(of_both[c] / n[0]);
        }
        part.each(
            n[0], [](int) {},
            [&](int64_t at, int channel, int v, int left) {
                const vec normal = (load(x + at + channel, left) - mean[v]) * scale[v];
                store(out[0] + at + channel, by[v] * (load(dy + at + channel, left) - less[v] - normal * tilt[v]), left);
            },
            [](int) {});
    });
}
}
