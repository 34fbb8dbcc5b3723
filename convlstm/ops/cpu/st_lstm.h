// One time step of a spatiotemporal LSTM up to the output gate's pre-activation, and its gradient.
//
//     i, f = sigmoid(z_i), sigmoid(z_f + bias), g = tanh(z_g), c' = f . c + i . g
//     i', f' = sigmoid(z_i'), sigmoid(z_f' + bias), g' = tanh(z_g'), m' = f' . m + i' . g'
//     zo = z_o + Wo * [c', m']
//
// z_i, z_f, z_g and z_o come from x and h, the others from x and m. x, h and m are transformed once, side by side. Each set of
// gates sums the products of its two inputs before it is transformed back.
#pragma once

#include "filters.h"

// Kernels in the order of ops/st_lstm.py: from h and x to i, f, g, o; from x and m to i', f', g'; from c' and m' to o.
enum Kernels { FROM_H, FROM_X, FROM_X_TOO, FROM_M, FROM_C, FROM_NEW_M, KERNELS };

template <int R>
class SpatioTemporal {
   public:
    SpatioTemporal(int N, int H, int W, int C, int O) : N(N), C(C), O(O), grid{H, W}, pixels(int64_t(H) * W) {}

    struct Given {
        const float *x, *h, *c, *m;
        float forget_bias;
        const float* U[KERNELS];  // forward_filters, or backward_filters for the gradient
    };

    // c_after, m_after, zo (N, H, W, O); gates (N, H, W, 6 O): i, f, g, i', f', g'; products of i and g, (N, H, W, O), or null.
    void forward(const Given& g, float* c_after, float* m_after, float* zo, float* gates, float* ig, float* ig_too) {
        const int at_h = round_up(C, LANES), at_m = at_h + wide();
        const Columns first{panels(4 * O), 2, {{g.U[FROM_H], at_h, O}, {g.U[FROM_X], 0, C}}};
        const Columns second{panels(3 * O), 2, {{g.U[FROM_M], at_m, O}, {g.U[FROM_X_TOO], 0, C}}};
        float* z = workspace(GATES, N * pixels * 7 * O);
        convolve<R>(
            rows(), at_m + wide(), {first, second},
            [&](int row, Place to) {
                transform(g.x, C, row, to);
                transform(g.h, O, row, Place{to.to + at_h, to.plane});
                transform(g.m, O, row, Place{to.to + at_m, to.plane});
            },
            [&](int row, int set, int block, const float* from, int64_t plane) {
                write<false>(z, 7 * O, set == 0 ? 0 : 4 * O, set == 0 ? 4 * O : 3 * O, row, block, from, plane);
            });

        each_vector([&](int64_t pixel, int o, int count) {
            const float* in = z + pixel * 7 * O + o;
            float* kept = gates + pixel * 6 * O + o;
            const int64_t place = pixel * O + o;
            const auto state = [&](const float* before, const float* at, float* keep, float* after, float* product) {
                const vec i = sigmoid(load(at, count)), f = sigmoid(load(at + O, count) + g.forget_bias);
                const vec candidate = tanh(load(at + 2 * O, count)), both = i * candidate;
                store(keep, i, count), store(keep + O, f, count), store(keep + 2 * O, candidate, count);
                store(after + place, f * load(before + place, count) + both, count);
                if (product) store(product + place, both, count);
            };
            state(g.c, in, kept, c_after, ig);
            state(g.m, in + 4 * O, kept + 3 * O, m_after, ig_too);
            store(zo + place, load(in + 3 * O, count), count);
        });

        const Columns output{panels(O), 2, {{g.U[FROM_C], 0, O}, {g.U[FROM_NEW_M], wide(), O}}};
        convolve<R>(
            rows(), 2 * wide(), {output},
            [&](int row, Place to) {
                transform(c_after, O, row, to);
                transform(m_after, O, row, Place{to.to + wide(), to.plane});
            },
            [&](int row, int, int block, const float* from, int64_t plane) { write<true>(zo, O, 0, O, row, block, from, plane); });
    }

    struct Backward : Given {
        const float *gates, *c_after, *m_after;          // results of forward
        const float *dc_after, *dm_after, *dzo;          // gradients of the results
        const float *dig, *dig_too;                      // gradients of the products, or null
        float *dx, *dh, *dc, *dm, *dU[KERNELS];          // dU are added to
    };

    void backward(const Backward& b) {
        // The output gate's convolution adds to the gradients of c' and m'.
        const Columns to_c{panels(O), 1, {{b.U[FROM_C], 0, O}}}, to_new_m{panels(O), 1, {{b.U[FROM_NEW_M], 0, O}}};
        const int64_t state = N * pixels * O * sizeof(float);
        std::memcpy(b.dc, b.dc_after, state);
        std::memcpy(b.dm, b.dm_after, state);
        convolve<R>(
            rows(), O, {to_c, to_new_m}, [&](int row, Place to) { transform(b.dzo, O, row, to); },
            [&](int row, int set, int block, const float* from, int64_t plane) {
                write<true>(set == 0 ? b.dc : b.dm, O, 0, O, row, block, from, plane);
            });

        float* dz = workspace(GATES, N * pixels * 7 * O);
        each_vector([&](int64_t pixel, int o, int count) {
            const float* kept = b.gates + pixel * 6 * O + o;
            float* out = dz + pixel * 7 * O + o;
            const int64_t place = pixel * O + o;
            const auto state = [&](const float* before, const float* at, const float* dproduct, float* d, float* to) {
                const vec i = load(at, count), f = load(at + O, count), g = load(at + 2 * O, count);
                const vec dafter = load(d + place, count);
                const vec dboth = dproduct ? dafter + load(dproduct + place, count) : dafter;
                store(to, dboth * g * i * (1 - i), count);
                store(to + O, dafter * load(before + place, count) * f * (1 - f), count);
                store(to + 2 * O, dboth * i * (1 - g * g), count);
                store(d + place, dafter * f, count);
            };
            state(b.c, kept, b.dig, b.dc, out);
            state(b.m, kept + 3 * O, b.dig_too, b.dm, out + 4 * O);
            store(out + 3 * O, load(b.dzo + place, count), count);
        });

        const int second = round_up(4 * O, LANES);
        const Columns to_h{panels(O), 1, {{b.U[FROM_H], 0, 4 * O}}}, to_m{panels(O), 1, {{b.U[FROM_M], second, 3 * O}}};
        const Columns to_x{panels(C), 2, {{b.U[FROM_X], 0, 4 * O}, {b.U[FROM_X_TOO], second, 3 * O}}};
        convolve<R>(
            rows(), second + round_up(3 * O, LANES), {to_h, to_x, to_m},
            [&](int row, Place to) {
                transform(dz, 4 * O, row, to, 7 * O);
                transform(dz + 4 * O, 3 * O, row, Place{to.to + second, to.plane}, 7 * O);
            },
            [&](int row, int set, int block, const float* from, int64_t plane) {
                if (set == 0) write<false>(b.dh, O, 0, O, row, block, from, plane);
                else if (set == 1) write<false>(b.dx, C, 0, C, row, block, from, plane);
                else write<true>(b.dm, O, 0, O, row, block, from, plane);
            });

        gradients({{O, b.dU[FROM_H]}, {C, b.dU[FROM_X]}}, b.h, b.x, dz, 7 * O, 4 * O);
        gradients({{C, b.dU[FROM_X_TOO]}, {O, b.dU[FROM_M]}}, b.x, b.m, dz + 4 * O, 7 * O, 3 * O);
        gradients({{O, b.dU[FROM_C]}, {O, b.dU[FROM_NEW_M]}}, b.c_after, b.m_after, b.dzo, O, O);
    }

   private:
    int rows() const { return N * grid.tiles(); }
    int wide() const { return round_up(O, LANES); }
    static int panels(int channels) { return (channels + PANEL - 1) / PANEL; }
    // The first pixel of the frame that a row of tiles lies in.
    int64_t frame(int row) const { return row / grid.tiles() * pixels; }

    // Computes B^T d B of a tile of frames (N, H, W, ld) for `channels` of them; ld is `channels` unless it is given.
    void transform(const float* frames, int channels, int row, Place to, int ld = 0) const {
        ld = ld ? ld : channels;
        input_tile<R>(frames + frame(row) * ld, grid, ld, row % grid.tiles(), channels, to);
    }

    // Writes the products of a tile and a block of `channels` to frames (N, H, W, ld), from channel `first` on.
    template <bool ADD>
    void write(float* frames, int ld, int first, int channels, int row, int block, const float* from, int64_t plane) const {
        const int tile = row % grid.tiles(), top = tile / grid.columns() * TILE, left = tile % grid.columns() * TILE;
        for (int c = block * BLOCK; c < std::min(channels, (block + 1) * BLOCK); c += LANES) {
            vec y[TILE][TILE];
            output_tile<R>(from + c - block * BLOCK, plane, y);
            for (int a = 0; a < std::min(TILE, grid.height - top); a++)
                for (int e = 0; e < std::min(TILE, grid.width - left); e++) {
                    float* to = frames + (frame(row) + int64_t(top + a) * grid.width + left + e) * ld + first + c;
                    store(to, ADD ? load(to, channels - c) + y[a][e] : y[a][e], channels - c);
                }
        }
    }

    // Calls use(pixel, first channel, number of channels) for all vectors of the states.
    template <class Use>
    void each_vector(Use&& use) const {
        Threads::pool().run(N * grid.height, [&](int task) {
            for (int64_t pixel = int64_t(task) * grid.width; pixel < int64_t(task + 1) * grid.width; pixel++)
                for (int o = 0; o < O; o += LANES) use(pixel, o, O - o);
        });
    }

    // Computes the gradient of the kernels from two inputs to outputs whose gradient is d (N, H, W, ld).
    void gradients(const Inputs (&sets)[2], const float* one, const float* other, const float* d, int ld, int outputs) const {
        correlate<R>(
            rows(), sets,
            [&](int row, int set, Place to) { transform(set == 0 ? one : other, sets[set].channels, row, to); }, outputs,
            [&](int row, int first, int channels, Place to) {
                gradient_tile<R>(d + frame(row) * ld + first, grid, ld, row % grid.tiles(), channels, to);
            },
            true);
    }

    const int N, C, O;
    const Grid grid;
    const int64_t pixels;
};
