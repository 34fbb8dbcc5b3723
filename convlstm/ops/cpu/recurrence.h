// All steps of a ConvLSTM with stride 1 and 'same' padding, and their gradient.
//
//     i = sigmoid(z_i + W_ci . c), f = sigmoid(z_f + W_cf . c), g = tanh(z_g)
//     c' = f . c + i . g, o = sigmoid(z_o + W_co . c'), h' = o . tanh(c')
//
// A step convolves tile by tile, and computes the gates as soon as a tile's pre-activations z are ready. A walk that begins
// with a hidden state of zeros does not convolve it. If a step has few
// tiles, the input's convolution runs over many steps at once, so that the filters are read less often. The backward walk
// goes in chunks of steps: only the gates and the hidden state's convolution run step by step, the rest for a whole chunk.
// It reads the gates that the forward walk kept; if none were kept, it computes those of a chunk again.
#pragma once

#include "filters.h"

constexpr int CHUNK_ROWS = 512;  // tiles of a chunk of steps
constexpr int MANY_ROWS = 256;   // tiles of one step that make reading all filters worthwhile

struct Shape {
    int N, T, H, W, C, O;
    bool reverse;    // true: the walk goes from the last step to the first
    int peepholes;   // 0: none, 1: a weight per channel, 2: a weight per pixel and channel
    bool projected;  // true: the input is already convolved, (N, T, H, W, 4 O) with the gates i, f, g, o
    int chunk_rows = CHUNK_ROWS;
    Grid grid() const { return {H, W}; }
    int64_t pixels() const { return int64_t(H) * W; }
    Outputs outputs() const { return {O, true}; }
    int packed() const { return outputs().packed(); }
    int rows(int steps) const { return N * steps * grid().tiles(); }
    int time(int step) const { return reverse ? T - 1 - step : step; }
    int steps_at_once() const { return std::min(T, std::max(1, chunk_rows / std::max(1, rows(1)))); }
};

// Frames (N, T, H * W, channels).
struct Frames {
    float* base;
    int T, channels;
    int64_t pixels;
    float* at(int n, int t) const { return base + (int64_t(n) * T + t) * pixels * channels; }
};

struct Peepholes {
    const float *ci, *cf, *co;
};

struct Gates {
    vec i, f, g, o;
    Gates operator+(const Gates& b) const { return {i + b.i, f + b.f, g + b.g, o + b.o}; }
};

// The gates' vectors, `apart` floats from each other.
INLINE Gates load_gates(const float* p, int apart = LANES, int channels = LANES) {
    return {load(p, channels), load(p + apart, channels), load(p + 2 * apart, channels), load(p + 3 * apart, channels)};
}
INLINE void store_gates(float* p, const Gates& v, int apart = LANES, int channels = LANES) {
    store(p, v.i, channels), store(p + apart, v.f, channels);
    store(p + 2 * apart, v.g, channels), store(p + 3 * apart, v.o, channels);
}

template <int R>
class Recurrence {
   public:
    explicit Recurrence(const Shape& shape)
        : s(shape), grid(shape.grid()), groups(shape.outputs().groups()), packed(shape.packed()) {}

    // x (N, T, H, W, C) or null; h, c (N, H, W, O). Ux and Uh are forward_filters, Ux null for a projected input.
    struct Given {
        const float *x, *h, *c, *Ux, *Uh, *bias;
        Peepholes peepholes;
    };

    // outputs, cells (N, T, H, W, O); kept (N, T, H, W, packed) or null; last_h, last_c (N, H, W, O).
    void forward(const Given& g, float* outputs, float* cells, float* kept, float* last_h, float* last_c) {
        const bool ahead = g.Ux && s.rows(1) < MANY_ROWS;
        const bool from_zeros = std::all_of(g.h, g.h + s.N * s.pixels() * s.O, [](float h) { return h == 0; });
        const int steps = s.steps_at_once();
        for (int start = 0; start < s.T; start += steps) {
            const int count = std::min(steps, s.T - start);
            const Chunk chunk{start, count, s.reverse ? s.time(start + count - 1) : start};
            const Frames z = kept ? frames(kept, packed) : chunk_frames(workspace(GATES, ahead ? chunk_floats(steps) : 0));
            const int shift = kept ? 0 : chunk.first;
            if (ahead) inputs_ahead(g, chunk, z, shift);
            for (int step = start; step < start + count; step++) {
                const Chunk one{step, 1, s.time(step)};
                const int t = one.first;
                walk(g, outputs, one, !ahead, step > 0 || !from_zeros, [&](int n, int, int64_t pixel, int group, Gates v) {
                    const int first = group * LANES, channels = s.O - first;
                    float* at = z.at(n, t - shift) + pixel * packed + group * BLOCK;
                    if (ahead) v = v + load_gates(at);
                    const int64_t place = pixel * s.O + first;
                    const vec c = load(before(cells, g.c, n, t) + place, channels);
                    if (s.peepholes) {
                        v.i += peephole(g.peepholes.ci, pixel, first) * c;
                        v.f += peephole(g.peepholes.cf, pixel, first) * c;
                    }
                    v.i = sigmoid(v.i), v.f = sigmoid(v.f), v.g = tanh(v.g);
                    const vec c_after = v.f * c + v.i * v.g;
                    if (s.peepholes) v.o += peephole(g.peepholes.co, pixel, first) * c_after;
                    v.o = sigmoid(v.o);
                    store(frames(cells, s.O).at(n, t) + place, c_after, channels);
                    store(frames(outputs, s.O).at(n, t) + place, v.o * tanh(c_after), channels);
                    if (kept) store_gates(at, v);
                });
            }
        }
        const int t = s.time(s.T - 1);
        const int64_t state = s.pixels() * s.O;
        for (int n = 0; n < s.N; n++) {
            std::memcpy(last_h + n * state, frames(outputs, s.O).at(n, t), state * sizeof(float));
            std::memcpy(last_c + n * state, frames(cells, s.O).at(n, t), state * sizeof(float));
        }
    }

    struct Backward : Given {
        const float *UxT, *UhT;                     // backward_filters
        const float *outputs, *cells, *kept;        // results of forward
        const float *doutputs, *dlast_h, *dlast_c;  // gradients of the results
        float *dx, *dh, *dc, *dUx, *dUh, *dbias, *dci, *dcf, *dco;
        bool add;                                   // true: dUx and dUh are added to
        // Called before a chunk reads Ux and Uh, and before it reads UxT and UhT: both may share their memory.
        std::function<void()> about_to_read_filters, about_to_read_turned;
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

        const bool convolved = b.UxT != nullptr, at_once = s.rows(1) >= MANY_ROWS;
        const int steps = s.steps_at_once();
        const Columns to_h{(s.O + PANEL - 1) / PANEL, 1, {{b.UhT, 0, packed}}};
        const Columns to_x{convolved ? (s.C + PANEL - 1) / PANEL : 0, 1, {{b.UxT, 0, packed}}};
        bool add = b.add;
        for (int start = (s.T - 1) / steps * steps; start >= 0; start -= steps) {
            const int count = std::min(steps, s.T - start);
            const Chunk chunk{start, count, s.reverse ? s.time(start + count - 1) : start};
            const int shift = chunk.first;
            const Frames dz = chunk_frames(workspace(GATES, chunk_floats(steps)));
            if (!b.kept) {
                b.about_to_read_filters();
                gates_again(b, chunk, dz);
                b.about_to_read_turned();
            }
            const Frames gates = b.kept ? frames(b.kept, packed) : dz;
            const auto gradient = [&](const Chunk& of) {
                return [&](int row, Place to) {
                    const auto [n, t, tile] = at(row, of);
                    input_tile<R>(dz.at(n, t - shift), grid, packed, tile, packed, to);
                };
            };
            const auto write = [&](const Chunk& of, bool to_inputs) {
                return [&, to_inputs](int row, int set, int block, const float* from, int64_t plane) {
                    const auto [n, t, tile] = at(row, of);
                    if (to_inputs || set == 1) write_tile(frames(b.dx, s.C).at(n, t), tile, s.C, block, from, plane);
                    else write_tile(b.dh + n * s.pixels() * s.O, tile, s.O, block, from, plane);
                };
            };
            for (int step = start + count - 1; step >= start; step--) {
                const Chunk one{step, 1, s.time(step)};
                threads.run(s.H, [&](int y) { gates_backward(b, one.first, y, gates, b.kept ? 0 : shift, dz, shift, sums); });
                if (convolved && at_once) convolve<R>(s.rows(1), packed, {to_h, to_x}, gradient(one), write(one, false));
                else convolve<R>(s.rows(1), packed, {to_h}, gradient(one), write(one, false));
            }
            if (convolved && !at_once) convolve<R>(s.rows(count), packed, {to_x}, gradient(chunk), write(chunk, true));

            const auto inputs = [&](int row, int set, Place to) {
                const auto [n, t, tile] = at(row, chunk);
                if (set == 0) input_tile<R>(before(b.outputs, b.h, n, t), grid, s.O, tile, s.O, to);
                else input_tile<R>(frames(b.x, s.C).at(n, t), grid, s.C, tile, s.C, to);
            };
            const auto outputs = [&](int row, int first, int channels, Place to) {
                const auto [n, t, tile] = at(row, chunk);
                gradient_tile<R>(dz.at(n, t - shift) + first, grid, packed, tile, channels, to);
            };
            if (convolved) correlate<R>(s.rows(count), {{s.O, b.dUh}, {s.C, b.dUx}}, inputs, packed, outputs, add);
            else correlate<R>(s.rows(count), {{s.O, b.dUh}}, inputs, packed, outputs, add);
            add = true;
        }
        add_up(sums, b);
    }

   private:
    // Some steps of the walk; `first` is the earliest of their times.
    struct Chunk {
        int start, count, first;
    };
    struct Tile {
        int n, t, tile;
    };
    Tile at(int row, const Chunk& chunk) const {
        const int frame = row / grid.tiles();
        return {frame / chunk.count, chunk.first + frame % chunk.count, row % grid.tiles()};
    }

    Frames frames(const float* base, int channels) const {
        return {const_cast<float*>(base), s.T, channels, s.pixels()};
    }
    // Frames of a chunk's steps, the earliest at time 0.
    Frames chunk_frames(float* base) const { return {base, s.steps_at_once(), packed, s.pixels()}; }
    int64_t chunk_floats(int steps) const { return int64_t(s.N) * steps * s.pixels() * packed; }

    // The state before time t.
    const float* before(const float* all, const float* first, int n, int t) const {
        const int earlier = s.reverse ? t + 1 : t - 1;
        if (earlier < 0 || earlier >= s.T) return first + n * s.pixels() * s.O;
        return all + (int64_t(n) * s.T + earlier) * s.pixels() * s.O;
    }

    vec peephole(const float* w, int64_t pixel, int first) const {
        return load(w + (s.peepholes == 2 ? pixel * s.O : 0) + first, s.O - first);
    }

    // Calls use(place in the tile's row, its column, number of the pixel) for the pixels of a tile that lie on the grid.
    template <class Use>
    INLINE void each_pixel(int tile, Use&& use) const {
        const int top = tile / grid.columns() * TILE, left = tile % grid.columns() * TILE;
        for (int a = 0; a < std::min(TILE, s.H - top); a++)
            for (int b = 0; b < std::min(TILE, s.W - left); b++) use(a, b, int64_t(top + a) * s.W + left + b);
    }

    // Writes the products of a tile and a block of channels to a frame (H, W, channels).
    void write_tile(float* frame, int tile, int channels, int block, const float* from, int64_t plane) const {
        for (int c = block * BLOCK; c < std::min(channels, (block + 1) * BLOCK); c += LANES) {
            vec y[TILE][TILE];
            output_tile<R>(from + c - block * BLOCK, plane, y);
            each_pixel(tile, [&](int a, int b, int64_t pixel) { store(frame + pixel * channels + c, y[a][b], channels - c); });
        }
    }

    // Computes z = the convolution of the inputs of a chunk's steps.
    void inputs_ahead(const Given& g, const Chunk& chunk, Frames z, int shift) {
        convolve<R>(
            s.rows(chunk.count), s.C, {{s.outputs().panels(), 1, {{g.Ux, 0, s.C}}}},
            [&](int row, Place to) {
                const auto [n, t, tile] = at(row, chunk);
                input_tile<R>(frames(g.x, s.C).at(n, t), grid, s.C, tile, s.C, to);
            },
            [&](int row, int, int block, const float* from, int64_t plane) {
                const auto [n, t, tile] = at(row, chunk);
                write_tile(z.at(n, t - shift), tile, packed, block, from, plane);
            });
    }

    // Calls use(n, t, pixel, group, pre-activations) for the steps of a chunk, whose previous states are known. The
    // pre-activations are without the peepholes, without the input's part unless `inputs` is true, and without the hidden
    // state's unless `hidden` is.
    template <class Use>
    void walk(const Given& g, const float* outputs, const Chunk& chunk, bool inputs, bool hidden, Use&& use) {
        const bool convolves = inputs && g.Ux;
        const int first_h = convolves ? round_up(s.C, LANES) : 0;
        const auto source = [&](int row, Place to) {
            const auto [n, t, tile] = at(row, chunk);
            if (convolves) input_tile<R>(frames(g.x, s.C).at(n, t), grid, s.C, tile, s.C, to);
            if (hidden) input_tile<R>(before(outputs, g.h, n, t), grid, s.O, tile, s.O, Place{to.to + first_h, to.plane});
        };
        const auto sink = [&](int row, int, int group, const float* from, int64_t plane) {
            const auto [n, t, tile] = at(row, chunk);
            const int first = group * LANES, channels = s.O - first;
            const Gates bias = load_gates(g.bias + first, s.O, channels);
            const float* projected = s.projected && g.x ? frames(g.x, s.C).at(n, t) + first : nullptr;
            vec y[4][TILE][TILE];
            for (int gate = 0; gate < 4; gate++) output_tile<R>(from + gate * LANES, plane, y[gate]);
            each_pixel(tile, [&, n = n, t = t](int a, int b, int64_t pixel) {
                Gates v = Gates{y[0][a][b], y[1][a][b], y[2][a][b], y[3][a][b]} + bias;
                if (projected) v = v + load_gates(projected + pixel * s.C, s.O, channels);
                use(n, t, pixel, group, v);
            });
        };
        const int rows = s.rows(chunk.count), panels = s.outputs().panels();
        const Part of_x{g.Ux, 0, s.C}, of_h{g.Uh, first_h, s.O};
        if (hidden) {
            convolve<R>(rows, first_h + s.O, {Columns{panels, convolves ? 2 : 1, {of_h, of_x}}}, source, sink);
        } else if (convolves) {
            convolve<R>(rows, s.C, {Columns{panels, 1, {of_x}}}, source, sink);
        } else {
            static const float zeros[BLOCK] = {};
            Threads::pool().run(rows, [&](int row) {
                for (int group = 0; group < groups; group++) sink(row, 0, group, zeros, 0);
            });
        }
    }

    // Computes the gates of all steps of a chunk at once, from their inputs and the states before and after them.
    void gates_again(const Backward& b, const Chunk& chunk, Frames z) {
        walk(b, b.outputs, chunk, true, true, [&](int n, int t, int64_t pixel, int group, Gates v) {
            const int first = group * LANES, channels = s.O - first;
            if (s.peepholes) {
                const int64_t place = pixel * s.O + first;
                const vec c = load(before(b.cells, b.c, n, t) + place, channels);
                v.i += peephole(b.peepholes.ci, pixel, first) * c;
                v.f += peephole(b.peepholes.cf, pixel, first) * c;
                v.o += peephole(b.peepholes.co, pixel, first) * load(frames(b.cells, s.O).at(n, t) + place, channels);
            }
            store_gates(z.at(n, t - chunk.first) + pixel * packed + group * BLOCK,
                        {sigmoid(v.i), sigmoid(v.f), tanh(v.g), sigmoid(v.o)});
        });
    }

    // Sums over the samples and steps of a row of the frame and a group of channels: 4 gates, then 3 peepholes.
    static constexpr int SUMMED = 7 * LANES;
    int64_t sums_floats() const { return int64_t(s.H) * groups * SUMMED; }

    // Computes the gates' gradient at time t for a row y of the frame. b.dh and b.dc are the gradients of the states after the
    // step; b.dc becomes the part of the gradient of the state before it that flows through the gates.
    void gates_backward(const Backward& b, int t, int y, Frames gates, int gates_shift, Frames dz, int dz_shift,
                        float* sums) const {
        for (int n = 0; n < s.N; n++)
            for (int64_t pixel = int64_t(y) * s.W; pixel < int64_t(y + 1) * s.W; pixel++)
                for (int group = 0; group < groups; group++) {
                    const int first = group * LANES, channels = s.O - first;
                    const int64_t place = pixel * s.O + first, state = n * s.pixels() * s.O + place;
                    const auto [i, f, g, o] = load_gates(gates.at(n, t - gates_shift) + pixel * packed + group * BLOCK);
                    const vec c = load(frames(b.cells, s.O).at(n, t) + place, channels);
                    const vec c_before = load(before(b.cells, b.c, n, t) + place, channels);
                    const vec dh = load(frames(b.doutputs, s.O).at(n, t) + place, channels) + load(b.dh + state, channels);
                    const vec tanh_c = tanh(c);
                    vec dc = load(b.dc + state, channels) + dh * o * (1 - tanh_c * tanh_c);
                    const vec d_o = dh * tanh_c * o * (1 - o);
                    if (s.peepholes) dc += peephole(b.peepholes.co, pixel, first) * d_o;
                    const vec di = dc * g * i * (1 - i), df = dc * c_before * f * (1 - f), dg = dc * i * (1 - g * g);
                    dc *= f;
                    if (s.peepholes)
                        dc += peephole(b.peepholes.ci, pixel, first) * di + peephole(b.peepholes.cf, pixel, first) * df;
                    store(b.dc + state, dc, channels);
                    store_gates(dz.at(n, t - dz_shift) + pixel * packed + group * BLOCK, {di, df, dg, d_o});
                    if (s.projected && b.x)
                        store_gates(frames(b.dx, s.C).at(n, t) + pixel * s.C + first, {di, df, dg, d_o}, s.O, channels);
                    float* sum = sums + (int64_t(y) * groups + group) * SUMMED;
                    const auto add = [&](int k, vec v) { store(sum + k * LANES, load(sum + k * LANES) + v); };
                    add(0, di), add(1, df), add(2, dg), add(3, d_o);
                    if (s.peepholes == 1) {
                        add(4, di * c_before), add(5, df * c_before), add(6, d_o * c);
                    } else if (s.peepholes == 2) {
                        store(b.dci + place, load(b.dci + place, channels) + di * c_before, channels);
                        store(b.dcf + place, load(b.dcf + place, channels) + df * c_before, channels);
                        store(b.dco + place, load(b.dco + place, channels) + d_o * c, channels);
                    }
                }
    }

    void add_up(const float* sums, const Backward& b) const {
        float* const peepholes[3] = {b.dci, b.dcf, b.dco};
        for (int group = 0; group < groups; group++)
            for (int k = 0; k < (s.peepholes == 1 ? 7 : 4); k++) {
                vec total{};
                for (int y = 0; y < s.H; y++) total += load(sums + (int64_t(y) * groups + group) * SUMMED + k * LANES);
                const int first = group * LANES;
                store((k < 4 ? b.dbias + k * s.O : peepholes[k - 4]) + first, total, s.O - first);
            }
    }

    const Shape s;
    const Grid grid;
    const int groups, packed;
};
