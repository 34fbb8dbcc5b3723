// All steps of a ConvLSTM with stride 1 and 'same' padding, and their gradient.
//
// Forward, the input's convolution runs over many steps at once and the hidden state's step by step, with the gates computed
// as soon as a tile's pre-activations are there. Backward, the steps are taken in chunks: step by step only the gates and
// the hidden state's convolution; the gradients of the inputs and of the filters for a chunk at once. What the forward walk
// kept of the gates is read again, or, where it kept nothing, computed again for a chunk at a time.
//
//     i = sigmoid(z_i + W_ci . c), f = sigmoid(z_f + W_cf . c), g = tanh(z_g)
//     c' = f . c + i . g, o = sigmoid(z_o + W_co . c'), h' = o . tanh(c')
#pragma once

#include "filters.h"

constexpr int CHUNK_ROWS = 512;  // tiles of a chunk of steps

struct Shape {
    int N, T, H, W, C, O;
    bool reverse;  // whether the walk goes from the last step to the first
    int peepholes;  // 0: none, 1: a weight per channel, 2: per place and channel
    bool projected;  // whether the input is its own convolution already, (N, T, H, W, 4 O) with the gates i, f, g, o
    Grid grid() const { return {H, W}; }
    int64_t pixels() const { return int64_t(H) * W; }
    Outputs outputs() const { return {O, true}; }
    int packed() const { return outputs().packed(); }
    int rows(int steps) const { return N * steps * grid().tiles(); }
    int time(int step) const { return reverse ? T - 1 - step : step; }
    int steps_at_once() const { return std::min(T, std::max(1, CHUNK_ROWS / std::max(1, rows(1)))); }
};

// Frames (N, T, H * W, ld) of which the walk's steps `start` to `start + count` are meant.
struct Frames {
    float* base;
    int T, ld;
    int64_t pixels;
    float* at(int n, int t) const { return base + (int64_t(n) * T + t) * pixels * ld; }
};

struct Peepholes {
    const float *ci, *cf, *co;
};

struct Gates {
    vec i, f, g, o;
};

INLINE Gates load_gates(const float* p) { return {load(p), load(p + LANES), load(p + 2 * LANES), load(p + 3 * LANES)}; }
INLINE void store_gates(float* p, const Gates& v) {
    store(p, v.i), store(p + LANES, v.f), store(p + 2 * LANES, v.g), store(p + 3 * LANES, v.o);
}

template <int R>
class Recurrence {
   public:
    explicit Recurrence(const Shape& shape) : s(shape), grid(shape.grid()), groups(shape.outputs().groups()) {}

    // x (N, T, H, W, C) or null; h, c (N, H, W, O); outputs, cells (N, T, H, W, O); kept (N, T, H, W, packed) or null;
    // last_h, last_c (N, H, W, O). Ux and Uh are forward_filters; bias (4 O).
    void forward(const float* x, const float* h, const float* c, const float* Ux, const float* Uh, const float* bias,
                 Peepholes peepholes, float* outputs, float* cells, float* kept, float* last_h, float* last_c) {
        const int steps = kept ? s.T : s.steps_at_once();
        for (int start = 0; start < s.T; start += steps) {
            const int count = std::min(steps, s.T - start);
            // Where nothing is kept, the chunk's share of the input's convolution lies at the times 0 to count - 1.
            const Frames z = kept ? frames(kept, s.packed()) : chunk_frames(workspace(GATES, chunk_floats(steps)), steps);
            const int shift = kept ? 0 : first_time(start, count);
            if (x) input_share(x, Ux, start, count, z, shift);
            for (int step = start; step < start + count; step++) {
                const int t = s.time(step);
                const float* h_before = step ? outputs + int64_t(s.time(step - 1)) * s.pixels() * s.O : h;
                const float* c_before = step ? cells + int64_t(s.time(step - 1)) * s.pixels() * s.O : c;
                const int64_t apart = (step ? s.T : 1) * s.pixels() * s.O;  // from sample to sample
                step_forward({h_before, apart}, {c_before, apart}, Uh, bias, peepholes, z, t - shift, x != nullptr,
                             kept != nullptr, frames(outputs, s.O), frames(cells, s.O), t);
            }
        }
        const int t = s.time(s.T - 1);
        for (int n = 0; n < s.N; n++) {
            std::memcpy(last_h + n * s.pixels() * s.O, frames(outputs, s.O).at(n, t), s.pixels() * s.O * sizeof(float));
            std::memcpy(last_c + n * s.pixels() * s.O, frames(cells, s.O).at(n, t), s.pixels() * s.O * sizeof(float));
        }
    }

    struct Backward {
        const float *x, *h, *c;                      // as in forward
        const float *Ux, *Uh;                        // forward_filters, needed where nothing was kept
        const float *UxT, *UhT;                      // backward_filters
        const float* bias;
        Peepholes peepholes;
        const float *outputs, *cells, *kept;         // what forward gave
        const float *doutputs, *dlast_h, *dlast_c;   // gradients that arrive
        float *dx, *dh, *dc, *dUx, *dUh, *dbias, *dci, *dcf, *dco;
        bool add;                                    // whether dUx and dUh hold something to add to
    };

    void backward(const Backward& b) {
        auto& threads = Threads::pool();
        const int64_t state = s.N * s.pixels() * s.O;
        std::memcpy(b.dh, b.dlast_h, state * sizeof(float));
        std::memcpy(b.dc, b.dlast_c, state * sizeof(float));
        float* sums = workspace(SUMS, sums_floats());
        std::fill_n(sums, sums_floats(), 0.0f);
        if (s.peepholes == 2)
            for (float* d : {b.dci, b.dcf, b.dco}) std::fill_n(d, s.pixels() * s.O, 0.0f);

        const int steps = s.steps_at_once(), packed = s.packed();
        const int chunks = (s.T + steps - 1) / steps;
        bool add = b.add;
        for (int chunk = chunks - 1; chunk >= 0; chunk--) {
            const int start = chunk * steps, count = std::min(steps, s.T - start), shift = first_time(start, count);
            const Frames dz = chunk_frames(workspace(GATES, chunk_floats(steps)), steps);
            if (!b.kept) gates_again(b, start, count, dz, shift);
            const Frames gates = b.kept ? frames(const_cast<float*>(b.kept), packed) : dz;
            for (int step = start + count - 1; step >= start; step--) {
                const int t = s.time(step);
                threads.run(groups * s.H, [&](int task) {
                    gates_backward(b, step, task / s.H, task % s.H, gates, b.kept ? t : t - shift, dz, t - shift, sums);
                });
                convolve<R>(
                    s.rows(1), packed, b.UhT, (s.O + PANEL - 1) / PANEL,
                    [&](int row, Place to) {
                        const int n = row / grid.tiles();
                        input_tile<R>(dz.at(n, t - shift), grid, packed, row % grid.tiles(), packed, to);
                    },
                    [&](int row, int block, const float* from, int64_t plane) {
                        write_tile(b.dh + row / grid.tiles() * s.pixels() * s.O, row % grid.tiles(), s.O, block, from, plane);
                    });
            }
            if (b.x && s.projected)
                each_gate(start, count, [&](int n, int t, int64_t pixel, int packed, int plain, int channels) {
                    store(frames(b.dx, s.C).at(n, t) + pixel * s.C + plain, load(dz.at(n, t - shift) + pixel * dz.ld + packed), channels);
                });
            else if (b.x)
                convolve<R>(
                    s.rows(count), packed, b.UxT, (s.C + PANEL - 1) / PANEL,
                    [&](int row, Place to) {
                        const auto [n, t, tile] = at(row, start, count);
                        input_tile<R>(dz.at(n, t - shift), grid, packed, tile, packed, to);
                    },
                    [&](int row, int block, const float* from, int64_t plane) {
                        const auto [n, t, tile] = at(row, start, count);
                        write_tile(frames(b.dx, s.C).at(n, t), tile, s.C, block, from, plane);
                    });
            const auto gradients = [&](int row, int first, int channels, Place to) {
                const auto [n, t, tile] = at(row, start, count);
                gradient_tile<R>(dz.at(n, t - shift) + first, grid, packed, tile, channels, to);
            };
            correlate<R>(
                s.rows(count), s.O,
                [&](int row, Place to) {
                    const auto [n, t, tile] = at(row, start, count);
                    input_tile<R>(before(b.outputs, b.h, n, t), grid, s.O, tile, s.O, to);
                },
                packed, gradients, b.dUh, add);
            if (b.x && !s.projected)
                correlate<R>(
                    s.rows(count), s.C,
                    [&](int row, Place to) {
                        const auto [n, t, tile] = at(row, start, count);
                        input_tile<R>(frames(const_cast<float*>(b.x), s.C).at(n, t), grid, s.C, tile, s.C, to);
                    },
                    packed, gradients, b.dUx, add);
            add = true;
        }
        add_up(sums, b);
    }

   private:
    struct State {  // of one step, (H, W, O) each, `apart` floats from sample to sample
        const float* base;
        int64_t apart;
        const float* at(int n) const { return base + n * apart; }
    };

    Frames frames(float* base, int ld) const { return {base, s.T, ld, s.pixels()}; }
    Frames chunk_frames(float* base, int steps) const { return {base, steps, s.packed(), s.pixels()}; }
    int64_t chunk_floats(int steps) const { return int64_t(s.N) * steps * s.pixels() * s.packed(); }
    // The earliest time of a chunk of the walk, which it keeps at 0.
    int first_time(int start, int count) const { return s.reverse ? s.time(start + count - 1) : start; }

    struct Tile {
        int n, t, tile;
    };
    Tile at(int row, int start, int count) const {
        const int frame = row / grid.tiles();
        return {frame / count, first_time(start, count) + frame % count, row % grid.tiles()};
    }

    // The state before time t.
    const float* before(const float* all, const float* first, int n, int t) const {
        const int earlier = s.reverse ? t + 1 : t - 1;
        if (earlier < 0 || earlier >= s.T) return first + n * s.pixels() * s.O;
        return all + (int64_t(n) * s.T + earlier) * s.pixels() * s.O;
    }

    // The products of a tile and a block of channels to a frame (H, W, channels).
    void write_tile(float* frame, int tile, int channels, int block, const float* from, int64_t plane) const {
        const int top = tile / grid.columns() * TILE, left = tile % grid.columns() * TILE;
        for (int v = 0; v < BLOCK / LANES; v++) {
            const int c = block * BLOCK + v * LANES;
            if (c >= channels) return;
            vec y[TILE][TILE];
            output_tile<R>(from + v * LANES, plane, y);
            for (int a = 0; a < std::min(TILE, s.H - top); a++)
                for (int b = 0; b < std::min(TILE, s.W - left); b++)
                    store(frame + (int64_t(top + a) * s.W + left + b) * channels + c, y[a][b], channels - c);
        }
    }

    // z = what the inputs of some steps add to the pre-activations.
    void input_share(const float* x, const float* Ux, int start, int count, Frames z, int shift) {
        const Frames in = frames(const_cast<float*>(x), s.C);
        if (s.projected) {
            each_gate(start, count, [&](int n, int t, int64_t pixel, int packed, int plain, int channels) {
                store(z.at(n, t - shift) + pixel * z.ld + packed, load(in.at(n, t) + pixel * s.C + plain, channels));
            });
            return;
        }
        convolve<R>(
            s.rows(count), s.C, Ux, s.outputs().panels(),
            [&](int row, Place to) {
                const auto [n, t, tile] = at(row, start, count);
                input_tile<R>(in.at(n, t), grid, s.C, tile, s.C, to);
            },
            [&](int row, int block, const float* from, int64_t plane) {
                const auto [n, t, tile] = at(row, start, count);
                write_tile(z.at(n, t - shift), tile, z.ld, block, from, plane);
            });
    }

    // Calls use(n, t, pixel, place among the packed channels, place among the plain ones, channels) for each vector.
    template <class Use>
    void each_gate(int start, int count, Use&& use) const {
        Threads::pool().run(s.N * count * s.H, [&](int task) {
            const int frame = task / s.H, n = frame / count, t = first_time(start, count) + frame % count;
            for (int64_t pixel = int64_t(task % s.H) * s.W; pixel < int64_t(task % s.H + 1) * s.W; pixel++)
                for (int v = 0; v < 4 * groups; v++) {
                    const int first = v / 4 * LANES;
                    use(n, t, pixel, v * LANES, v % 4 * s.O + first, s.O - first);
                }
        });
    }

    static vec peephole(int kind, const float* w, int64_t pixel, int O, int c) {
        return load(w + (kind == 2 ? pixel * O : 0) + c, O - c);
    }

    // Calls use(pixel, z) for every pixel of a tile, with its pre-activations of a group of channels: products and bias.
    template <class Use>
    INLINE void with_gates(int tile, int group, const float* from, int64_t plane, const float* bias, Use&& use) const {
        const int top = tile / grid.columns() * TILE, left = tile % grid.columns() * TILE;
        const int c = group * LANES;
        vec y[4][TILE][TILE];
        for (int gate = 0; gate < 4; gate++) {
            output_tile<R>(from + gate * LANES, plane, y[gate]);
            const vec b = load(bias + gate * s.O + c, s.O - c);
            for (int n = 0; n < TILE * TILE; n++) y[gate][n / TILE][n % TILE] += b;
        }
        for (int a = 0; a < std::min(TILE, s.H - top); a++)
            for (int b = 0; b < std::min(TILE, s.W - left); b++)
                use(int64_t(top + a) * s.W + left + b, Gates{y[0][a][b], y[1][a][b], y[2][a][b], y[3][a][b]});
    }

    void step_forward(State h, State c, const float* Uh, const float* bias, Peepholes w, Frames z, int z_time, bool driven,
                      bool keep, Frames outputs, Frames cells, int t) {
        const int packed = s.packed();
        convolve<R>(
            s.rows(1), s.O, Uh, s.outputs().panels(),
            [&](int row, Place to) {
                input_tile<R>(h.at(row / grid.tiles()), grid, s.O, row % grid.tiles(), s.O, to);
            },
            [&](int row, int group, const float* from, int64_t plane) {
                const int n = row / grid.tiles(), first = group * LANES, channels = s.O - first;
                with_gates(row % grid.tiles(), group, from, plane, bias, [&](int64_t pixel, Gates v) {
                    float* at = z.at(n, z_time) + pixel * packed + group * BLOCK;
                    if (driven) {
                        const Gates zx = load_gates(at);
                        v.i += zx.i, v.f += zx.f, v.g += zx.g, v.o += zx.o;
                    }
                    const vec c_before = load(c.at(n) + pixel * s.O + first, channels);
                    if (s.peepholes) {
                        v.i += peephole(s.peepholes, w.ci, pixel, s.O, first) * c_before;
                        v.f += peephole(s.peepholes, w.cf, pixel, s.O, first) * c_before;
                    }
                    v.i = sigmoid(v.i), v.f = sigmoid(v.f), v.g = tanh(v.g);
                    const vec c_after = v.f * c_before + v.i * v.g;
                    if (s.peepholes) v.o += peephole(s.peepholes, w.co, pixel, s.O, first) * c_after;
                    v.o = sigmoid(v.o);
                    store(cells.at(n, t) + pixel * s.O + first, c_after, channels);
                    store(outputs.at(n, t) + pixel * s.O + first, v.o * tanh(c_after), channels);
                    if (keep) store_gates(at, v);
                });
            });
    }

    // The gates of some steps from their inputs and the hidden states before them, all at once.
    void gates_again(const Backward& b, int start, int count, Frames z, int shift) {
        if (b.x) input_share(b.x, b.Ux, start, count, z, shift);
        convolve<R>(
            s.rows(count), s.O, b.Uh, s.outputs().panels(),
            [&](int row, Place to) {
                const auto [n, t, tile] = at(row, start, count);
                input_tile<R>(before(b.outputs, b.h, n, t), grid, s.O, tile, s.O, to);
            },
            [&](int row, int group, const float* from, int64_t plane) {
                const auto [n, t, tile] = at(row, start, count);
                const int first = group * LANES, channels = s.O - first;
                const float* c_before = before(b.cells, b.c, n, t) + first;
                const float* c_after = b.cells + (int64_t(n) * s.T + t) * s.pixels() * s.O + first;
                float* to = z.at(n, t - shift) + group * BLOCK;
                with_gates(tile, group, from, plane, b.bias, [&](int64_t pixel, Gates v) {
                    if (b.x) {
                        const Gates zx = load_gates(to + pixel * z.ld);
                        v.i += zx.i, v.f += zx.f, v.g += zx.g, v.o += zx.o;
                    }
                    if (s.peepholes) {
                        const vec c = load(c_before + pixel * s.O, channels);
                        v.i += peephole(s.peepholes, b.peepholes.ci, pixel, s.O, first) * c;
                        v.f += peephole(s.peepholes, b.peepholes.cf, pixel, s.O, first) * c;
                        v.o += peephole(s.peepholes, b.peepholes.co, pixel, s.O, first) * load(c_after + pixel * s.O, channels);
                    }
                    store_gates(to + pixel * z.ld, {sigmoid(v.i), sigmoid(v.f), tanh(v.g), sigmoid(v.o)});
                });
            });
    }

    // Sums over the samples and steps of a group of channels and a row of the frame: 4 gates, then 3 peepholes.
    static constexpr int SUMMED = 7 * LANES;
    int64_t sums_floats() const { return int64_t(groups) * s.H * SUMMED; }

    // The gates' gradient of one step, for a group of channels and a row of the frame. b.dh and b.dc are the gradients of
    // the states after the step and become, for dc here, that before it.
    void gates_backward(const Backward& b, int step, int group, int y, Frames gates, int gates_time, Frames dz, int dz_time,
                        float* sums) const {
        const int t = s.time(step), first = group * LANES, channels = s.O - first, packed = s.packed();
        float* sum = sums + (int64_t(group) * s.H + y) * SUMMED;
        vec total[7];
        for (int k = 0; k < 7; k++) total[k] = load(sum + k * LANES);
        for (int n = 0; n < s.N; n++)
            for (int64_t pixel = int64_t(y) * s.W; pixel < int64_t(y + 1) * s.W; pixel++) {
                const int64_t now = ((int64_t(n) * s.T + t) * s.pixels() + pixel) * s.O + first;
                const int64_t state = (n * s.pixels() + pixel) * s.O + first;
                const auto [i, f, g, o] = load_gates(gates.at(n, gates_time) + pixel * packed + group * BLOCK);
                const vec c = load(b.cells + now, channels);
                const vec c_before = load(before(b.cells, b.c, n, t) + pixel * s.O + first, channels);
                const vec dh = load(b.doutputs + now, channels) + load(b.dh + state, channels);
                const vec tanh_c = tanh(c);
                vec dc = load(b.dc + state, channels) + dh * o * (1 - tanh_c * tanh_c);
                const vec d_o = dh * tanh_c * o * (1 - o);
                if (s.peepholes) dc += peephole(s.peepholes, b.peepholes.co, pixel, s.O, first) * d_o;
                const vec di = dc * g * i * (1 - i), df = dc * c_before * f * (1 - f), dg = dc * i * (1 - g * g);
                dc *= f;
                if (s.peepholes) {
                    dc += peephole(s.peepholes, b.peepholes.ci, pixel, s.O, first) * di;
                    dc += peephole(s.peepholes, b.peepholes.cf, pixel, s.O, first) * df;
                }
                store(b.dc + state, dc, channels);
                store_gates(dz.at(n, dz_time) + pixel * packed + group * BLOCK, {di, df, dg, d_o});
                total[0] += di, total[1] += df, total[2] += dg, total[3] += d_o;
                if (s.peepholes == 1) {
                    total[4] += di * c_before, total[5] += df * c_before, total[6] += d_o * c;
                } else if (s.peepholes == 2) {
                    const int64_t at = pixel * s.O + first;
                    store(b.dci + at, load(b.dci + at, channels) + di * c_before, channels);
                    store(b.dcf + at, load(b.dcf + at, channels) + df * c_before, channels);
                    store(b.dco + at, load(b.dco + at, channels) + d_o * c, channels);
                }
            }
        for (int k = 0; k < 7; k++) store(sum + k * LANES, total[k]);
    }

    void add_up(const float* sums, const Backward& b) const {
        float* const peepholes[3] = {b.dci, b.dcf, b.dco};
        for (int group = 0; group < groups; group++)
            for (int k = 0; k < (s.peepholes == 1 ? 7 : 4); k++) {
                vec total{};
                for (int y = 0; y < s.H; y++) total += load(sums + (int64_t(group) * s.H + y) * SUMMED + k * LANES);
                const int first = group * LANES;
                store((k < 4 ? b.dbias + k * s.O : peepholes[k - 4]) + first, total, s.O - first);
            }
    }

    const Shape s;
    const Grid grid;
    const int groups;
};
