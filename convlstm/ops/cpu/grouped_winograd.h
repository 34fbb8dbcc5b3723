// Winograd's convolution in groups of channels, with square kernels of any odd size.
//
// A kernel of more than R x R taps is cut into blocks of 4 x 4 taps, of which the last ones have up to R: the products of a
// block belong to a tile of inputs that lies whole tiles away, so all blocks read the same transforms and their sum is
// transformed back once.
#pragma once

#include <atomic>

#include "filters.h"

struct GroupedShape {
    int N, H, W, C, O, G, side;  // C and O: channels of one group
    int64_t pixels() const { return int64_t(H) * W; }
};

template <int R>
class GroupedWinograd {
   public:
    explicit GroupedWinograd(GroupedShape shape) : s(shape), grid{s.H, s.W} {}

    // x (N, H, W, G C) -> y (N, H, W, G O). With `turned`, the gradient of x: dy (N, H, W, G O) -> dx (N, H, W, G C).
    // A task is a panel of outputs of a group.
    void convolve(const float* x, const float* w, float* y, bool turned) const {
        const int inputs = turned ? s.O : s.C, outputs = turned ? s.C : s.O, panels = (outputs + PANEL - 1) / PANEL;
        const int ld = row_length(inputs);
        const Strips strips = cut(ld);
        const int64_t plane = strips.rows(*this) * ld + 16, filters = int64_t(POINTS) * blocks * blocks * inputs * PANEL;
        multiplications += int64_t(POINTS) * blocks * blocks * grid.tiles() * s.N * s.G * inputs * panels * PANEL;
        run(s.G * panels, POINTS * plane + filters, [&](int task, float* memory) {
            const int g = task / panels, first = task % panels * PANEL;
            float *V = memory, *U = V + POINTS * plane;
            if (turned) turned_filters(w, g, first, U);
            else straight_filters(w, g, first, U);
            each(strips, [&](Strip strip) {
                transform(x + g * inputs, s.G * inputs, inputs, strip, [&](int64_t row) { return Place{V + row * ld, plane}; });
                for (int i = 0; i < strip.tile_rows; i++) multiply_row(strip, i, V, plane, ld, inputs, U, first, y + g * outputs, outputs);
            });
        });
    }

    // x, dy -> dw (G O, side, side, C). A task is a panel of outputs of a group.
    void kernel_gradient(const float* x, const float* dy, float* dw) const {
        const int panels = (s.O + PANEL - 1) / PANEL, input_panels = (s.C + PANEL - 1) / PANEL;
        const Strips strips = cut(input_panels * PANEL);
        const int64_t step = strips.rows(*this) * PANEL, v_plane = input_panels * step + 16;
        const int64_t d_plane = int64_t(strips.images) * strips.tile_rows * grid.columns() * PANEL + 16;
        const int64_t sums = int64_t(POINTS) * blocks * blocks * input_panels * PANEL * PANEL;
        multiplications += int64_t(POINTS) * blocks * blocks * grid.tiles() * s.N * s.G * input_panels * PANEL * s.O;
        run(s.G * panels, POINTS * (v_plane + d_plane) + sums, [&](int task, float* memory) {
            const int g = task / panels, first = task % panels * PANEL, count = std::min(PANEL, s.O - first);
            float *V = memory, *D = V + POINTS * v_plane, *dU = D + POINTS * d_plane;
            bool more = false;
            each(strips, [&](Strip strip) {
                transform(x + g * s.C, s.G * s.C, s.C, strip, [&](int64_t row) { return Place{V + row * PANEL, v_plane, step}; });
                transform_gradients(dy + g * s.O + first, count, strip, D, d_plane);
                correlate_strip(strip, V, v_plane, step, input_panels, D, d_plane, count, dU, more);
                more = true;
            });
            for (int o = 0; o < count; o++) write_kernels(dU, o, input_panels, dw + (int64_t(g) * s.O + first + o) * s.side * s.side * s.C);
        });
    }

   private:
    static constexpr int POINTS = CookToom<R>::POINTS;
    static constexpr int MOST_ROWS = std::max(PRODUCT_FLOATS / (POINTS * PANEL) / TILE_ROWS, 1) * TILE_ROWS;

    GroupedShape s;
    Grid grid;
    int reach = s.side / 2, blocks = s.side <= R ? 1 : (s.side - 1 + TILE - 1) / TILE;  // along each axis
    int wide = grid.columns() + blocks - 1;                                             // tiles of inputs in a row

    int taps(int block) const { return block + 1 < blocks ? TILE : s.side - block * TILE; }

    // The images and rows of tiles whose transforms exist at a time.
    struct Strip {
        int image, images, tile_row, tile_rows;
    };
    struct Strips {
        int images, tile_rows;
        int64_t rows(const GroupedWinograd& of) const { return int64_t(images) * (tile_rows + of.blocks - 1) * of.wide; }
    };
    Strips cut(int floats) const {
        const int64_t row = int64_t(POINTS) * wide * floats, image = row * (grid.rows() + blocks - 1);
        if (image <= INPUT_FLOATS) return {int(std::clamp<int64_t>(INPUT_FLOATS / image, 1, s.N)), grid.rows()};
        return {1, int(std::clamp<int64_t>(INPUT_FLOATS / row - blocks + 1, 1, grid.rows()))};
    }
    template <class Work>
    void each(Strips strips, Work&& work) const {
        for (int n = 0; n < s.N; n += strips.images)
            for (int i = 0; i < grid.rows(); i += strips.tile_rows)
                work(Strip{n, std::min(strips.images, s.N - n), i, std::min(strips.tile_rows, grid.rows() - i)});
    }

    // Calls work(task, memory) for all tasks, each thread with its own memory.
    template <class Work>
    static void run(int tasks, int64_t floats, Work&& work) {
        auto& threads = Threads::pool();
        const int workers = std::min(threads.size(), tasks);
        float* memory = workspace(INPUTS, floats * workers);
        std::atomic<int> next{0};
        threads.run(workers, [&](int worker) {
            for (int task; (task = next.fetch_add(1)) < tasks;) work(task, memory + worker * floats);
        });
    }

    // Transforms the windows of a strip. The images of a window lie side by side: place(row) is for row (tile, image).
    template <class Where>
    void transform(const float* x, int ld, int channels, Strip strip, Where&& place) const {
        for (int i = 0; i < strip.tile_rows + blocks - 1; i++)
            for (int j = 0; j < wide; j++)
                for (int n = 0; n < strip.images; n++)
                    input_window<R>(x + (strip.image + n) * s.pixels() * ld, grid, ld,
                                    {(strip.tile_row + i) * TILE - reach, j * TILE - reach}, channels,
                                    place((int64_t(i) * wide + j) * strip.images + n));
    }
    void transform_gradients(const float* dy, int channels, Strip strip, float* D, int64_t plane) const {
        const int ld = s.G * s.O;
        for (int i = 0; i < strip.tile_rows; i++)
            for (int j = 0; j < grid.columns(); j++)
                for (int n = 0; n < strip.images; n++)
                    gradient_tile<R>(dy + (strip.image + n) * s.pixels() * ld, grid, ld, (strip.tile_row + i) * grid.columns() + j, channels,
                                     {D + ((int64_t(i) * grid.columns() + j) * strip.images + n) * PANEL, plane});
    }

    // One row of tiles: products with U, their sum over the blocks, and the outputs.
    void multiply_row(Strip strip, int i, const float* V, int64_t plane, int ld, int inputs, const float* U, int first, float* y,
                      int outputs) const {
        constexpr int64_t M_PLANE = MOST_ROWS * PANEL + 16;
        alignas(64) static thread_local float M[POINTS * M_PLANE];
        const int rows = grid.columns() * strip.images, all = s.G * outputs;
        for (int from = 0; from < rows; from += MOST_ROWS) {
            const int count = std::min(MOST_ROWS, rows - from);
            for (int p = 0; p < POINTS; p++) {
                Factors factors;
                for (int a = 0; a < blocks; a++)
                    for (int b = 0; b < blocks; b++)
                        factors.add(V + p * plane + ((int64_t(i + a) * wide + b) * strip.images + from) * ld,
                                    U + (int64_t(p) * blocks * blocks + a * blocks + b) * inputs * PANEL);
                multiply_sum<false>(count, factors, ld, M + p * M_PLANE, inputs, false);
            }
            for (int row = 0; row < count; row++) {
                const int n = strip.image + (from + row) % strip.images, j = (from + row) / strip.images;
                for (int c = 0; c < PANEL && first + c < outputs; c += LANES) {
                    vec d[TILE][TILE];
                    output_tile<R>(M + row * PANEL + c, M_PLANE, d);
                    for (int a = 0; a < TILE && (strip.tile_row + i) * TILE + a < s.H; a++)
                        for (int b = 0; b < TILE && j * TILE + b < s.W; b++) {
                            const int64_t pixel = n * s.pixels() + ((strip.tile_row + i) * TILE + a) * int64_t(s.W) + j * TILE + b;
                            store(y + pixel * all + first + c, d[a][b], outputs - first - c);
                        }
                }
            }
        }
    }

    // dU[point][block][panel of inputs][output][PANEL] (+)= the products of a strip.
    void correlate_strip(Strip strip, const float* V, int64_t v_plane, int64_t step, int input_panels, const float* D, int64_t d_plane,
                         int count, float* dU, bool add) const {
        const int rows = grid.columns() * strip.images;
        for (int p = 0; p < POINTS; p++)
            for (int block = 0; block < blocks * blocks; block++)
                for (int panel = 0; panel < input_panels; panel++) {
                    float* to = dU + ((int64_t(p) * blocks * blocks + block) * input_panels + panel) * PANEL * PANEL;
                    for (int from = 0; from < strip.tile_rows; from += Factors::MOST) {
                        Factors factors;
                        for (int i = from; i < std::min(strip.tile_rows, from + Factors::MOST); i++)
                            factors.add(D + p * d_plane + int64_t(i) * rows * PANEL,
                                        V + p * v_plane + panel * step +
                                            (int64_t(i + block / blocks) * wide + block % blocks) * strip.images * PANEL);
                        multiply_sum<true>(count, factors, PANEL, to, rows, add || from > 0);
                    }
                }
    }

    void write_kernels(const float* dU, int o, int input_panels, float* dw) const {
        const int64_t plane = int64_t(blocks) * blocks * input_panels * PANEL * PANEL;
        for (int block = 0; block < blocks * blocks; block++)
            for (int c = 0; c < s.C; c += LANES) {
                vec d[R][R];
                filter_taps<R>(dU + ((int64_t(block) * input_panels + c / PANEL) * PANEL + o) * PANEL + c % PANEL, plane, d);
                const int top = block / blocks, left = block % blocks;
                for (int a = 0; a < taps(top); a++)
                    for (int b = 0; b < taps(left); b++)
                        store(dw + (int64_t(top * TILE + a) * s.side + left * TILE + b) * s.C + c, d[a][b], s.C - c);
            }
    }

    Taps block_of(const float* w, int block, bool turned) const {
        const int top = block / blocks, left = block % blocks;
        const int64_t row = turned ? -s.side * s.C : s.side * s.C, column = turned ? -s.C : s.C;
        const float* begin = turned ? w + (int64_t(s.side) * s.side - 1) * s.C : w;
        return {begin + top * TILE * row + left * TILE * column, row, column, taps(top), taps(left)};
    }

    // U[point][block][input][PANEL] for a panel of outputs.
    void straight_filters(const float* w, int g, int first, float* U) const {
        static thread_local vec all[POINTS][LANES];
        const int64_t plane = int64_t(blocks) * blocks * s.C * PANEL;
        for (int block = 0; block < blocks * blocks; block++)
            for (int half = 0; half < PANEL; half += LANES)
                for (int c = 0; c < s.C; c += LANES) {
                    const int channels = std::min(LANES, s.C - c);
                    for (int lane = 0; lane < LANES; lane++) {
                        constexpr int N = CookToom<R>::N;
                        vec one[N][N] = {};
                        if (const int o = first + half + lane; o < s.O)
                            filter<R>(block_of(w + (int64_t(g) * s.O + o) * s.side * s.side * s.C + c, block, false), channels, one);
                        for (int p = 0; p < POINTS; p++) all[p][lane] = one[p / N][p % N];
                    }
                    float* to = U + (int64_t(block) * s.C + c) * PANEL + half;
                    for (int p = 0; p < POINTS; p++) {
                        transpose(all[p]);
                        for (int k = 0; k < channels; k++) store(to + p * plane + k * PANEL, all[p][k]);
                    }
                }
    }
    // The same for the gradient of the inputs, a panel of which are its outputs.
    void turned_filters(const float* w, int g, int first, float* U) const {
        constexpr int N = CookToom<R>::N;
        const int64_t plane = int64_t(blocks) * blocks * s.O * PANEL;
        for (int block = 0; block < blocks * blocks; block++)
            for (int o = 0; o < s.O; o++)
                for (int half = 0; half < PANEL; half += LANES) {
                    const int c = first + half;
                    vec one[N][N] = {};
                    if (c < s.C) filter<R>(block_of(w + (int64_t(g) * s.O + o) * s.side * s.side * s.C + c, block, true), s.C - c, one);
                    float* to = U + (int64_t(block) * s.O + o) * PANEL + half;
                    for (int p = 0; p < POINTS; p++) store(to + p * plane, one[p / N][p % N]);
                }
    }
};

// Returns true if the products of transforms, and the transforms themselves, are less work than the convolution itself.
template <int R>
bool pays(GroupedShape s) {
    constexpr double TRANSFORMS = 1.5;
    const Grid grid{s.H, s.W};
    const double blocks = s.side <= R ? 1 : (s.side - 1 + TILE - 1) / TILE;
    return std::min(s.C, s.O) >= 8 && blocks * blocks <= Factors::MOST &&
           TRANSFORMS * CookToom<R>::POINTS * blocks * blocks * grid.tiles() < double(s.side) * s.side * s.pixels();
}
