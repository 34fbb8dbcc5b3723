// The kernels of convolutions and of the ConvLSTM, as plain functions on pointers and integers, which bridge.cpp calls.
#include "calls.h"
#include "recurrence.h"

namespace {

Shape shape(Numbers n) {
    return {int(n[0]), int(n[1]), int(n[2]), int(n[3]), int(n[4]), int(n[5]), n[6] != 0, int(n[7]), n[9] == 2};
}

template <int R>
float* forward_filters_in(Use use, const float* w, Outputs outputs, int C) {
    float* U = workspace(use, filter_floats(CookToom<R>::POINTS, C, outputs.packed()));
    forward_filters<R>(w, outputs, C, U);
    return U;
}

template <int R>
float* backward_filters_in(Use use, const float* w, Outputs outputs, int C) {
    float* U = workspace(use, filter_floats(CookToom<R>::POINTS, outputs.packed(), C));
    backward_filters<R>(w, outputs, C, U);
    return U;
}

// Convolves frames (F, H, W, C) with filters to frames (F, H, W, O).
template <int R>
void convolve_frames(const float* x, Grid grid, int F, int C, const float* U, int O, float* y) {
    const int64_t pixels = int64_t(grid.height) * grid.width;
    convolve<R>(
        F * grid.tiles(), C, {{(O + PANEL - 1) / PANEL, 1, {{U, 0, C}}}},
        [&](int row, Place to) {
            input_tile<R>(x + row / grid.tiles() * pixels * C, grid, C, row % grid.tiles(), C, to);
        },
        [&](int row, int, int block, const float* from, int64_t plane) {
            float* frame = y + row / grid.tiles() * pixels * O;
            const int tile = row % grid.tiles();
            const int top = tile / grid.columns() * TILE, left = tile % grid.columns() * TILE;
            for (int c = block * BLOCK; c < std::min(O, (block + 1) * BLOCK); c += LANES) {
                vec d[TILE][TILE];
                output_tile<R>(from + c - block * BLOCK, plane, d);
                for (int a = 0; a < std::min(TILE, grid.height - top); a++)
                    for (int e = 0; e < std::min(TILE, grid.width - left); e++)
                        store(frame + (int64_t(top + a) * grid.width + left + e) * O + c, d[a][e], O - c);
            }
        });
}

}  // namespace

extern "C" {

int convlstm_lanes() { return LANES; }
int convlstm_threads() { return Threads::pool().size(); }

// Returns the number of multiplications of all products of matrices so far.
int64_t convlstm_multiplications() {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    return multiplications;
}

// Returns the number of floats of filters with K inputs and `columns` outputs (exchanged for the gradient).
int64_t convlstm_filter_floats(int64_t size, int64_t K, int64_t columns) {
    return filter_floats(int((size + TILE - 1) * (size + TILE - 1)), int(K), int(columns));
}

// Numbers of a walk: N, T, H, W, C, O, reverse, peepholes (0: none, 1: per channel, 2: per pixel), kernel size, input (0:
// none, 1: to convolve, 2: already convolved), kept, filters (0: kernels, 1: prepared filters, 2: kernels whose gradient is
// added to that of the later parts of a walk).

// x, h, c, Wx, Wh, bias, 3 peepholes -> outputs, cells, last h, last c, [kept]
void convlstm_forward(In in, Out out, Numbers n) {
    const Shape s = shape(n);
    const bool driven = n[9], convolved = n[9] == 1, keep = n[10], prepared = n[11] == 1;
    with_kernel(n[8], [&](auto size) {
        constexpr int R = decltype(size)::VALUE;
        const float *Ux = in[3], *Uh = in[4];
        if (!prepared) {
            if (convolved) Ux = forward_filters_in<R>(FILTERS_X, in[3], s.outputs(), s.C);
            Uh = forward_filters_in<R>(FILTERS_H, in[4], s.outputs(), s.O);
        }
        Recurrence<R>(s).forward({driven ? in[0] : nullptr, in[1], in[2], convolved ? Ux : nullptr, Uh, in[5], {in[6], in[7], in[8]}},
                                 out[0], out[1], keep ? out[4] : nullptr, out[2], out[3]);
    });
}

// x, h, c, Wx, Wh, bias, 3 peepholes, outputs, cells, kept, doutputs, dlast_h, dlast_c, [UxT, UhT, dUx, dUh or dWx, dWh]
// -> dx, dh, dc, dWx, dWh, dbias, 3 dpeepholes
void convlstm_backward(In in, Out out, Numbers n) {
    Shape s = shape(n);
    const bool driven = n[9], convolved = n[9] == 1, kept = n[10], prepared = n[11] == 1, adds = n[11] == 2;
    // A gradient that computes the gates again is short of memory, so it also frees its workspaces. A walk of a single step
    // does not: there are many of them, and each would allocate the memory again.
    const bool spare = !kept && s.T > 1;
    if (spare) s.chunk_rows /= 2;
    with_kernel(n[8], [&](auto size) {
        constexpr int R = decltype(size)::VALUE;
        constexpr int POINTS = CookToom<R>::POINTS;
        if (spare) trim_heap();
        typename Recurrence<R>::Backward b{};
        b.x = driven ? in[0] : nullptr, b.h = in[1], b.c = in[2], b.Ux = convolved ? in[3] : nullptr, b.Uh = in[4], b.bias = in[5];
        b.peepholes = {in[6], in[7], in[8]}, b.outputs = in[9], b.cells = in[10], b.kept = kept ? in[11] : nullptr;
        b.doutputs = in[12], b.dlast_h = in[13], b.dlast_c = in[14];
        b.dx = out[0], b.dh = out[1], b.dc = out[2], b.dUx = out[3], b.dUh = out[4], b.dbias = out[5];
        b.dci = out[6], b.dcf = out[7], b.dco = out[8];
        const auto nothing = [] {};
        b.about_to_read_filters = b.about_to_read_turned = nothing;
        if (prepared) {  // the filters' gradients are added to those of the later steps
            b.UxT = convolved ? in[15] : nullptr, b.UhT = in[16], b.add = true;
            if (convolved) take_over(in[17], filter_floats(POINTS, s.packed(), s.C), b.dUx);
            take_over(in[18], filter_floats(POINTS, s.packed(), s.O), b.dUh);
        } else {  // both forms of the filters share one memory
            const int64_t floats_x = std::max(filter_floats(POINTS, s.C, s.packed()), filter_floats(POINTS, s.packed(), s.C));
            const int64_t floats_h = std::max(filter_floats(POINTS, s.O, s.packed()), filter_floats(POINTS, s.packed(), s.O));
            float* Ux = convolved ? workspace(FILTERS_X, floats_x) : nullptr;
            float* Uh = workspace(FILTERS_H, floats_h);
            b.Ux = b.UxT = Ux, b.Uh = b.UhT = Uh;
            b.about_to_read_filters = [&in, s, Ux, Uh] {
                if (Ux) forward_filters<R>(in[3], s.outputs(), s.C, Ux);
                forward_filters<R>(in[4], s.outputs(), s.O, Uh);
            };
            b.about_to_read_turned = [&in, s, Ux, Uh] {
                if (Ux) backward_filters<R>(in[3], s.outputs(), s.C, Ux);
                backward_filters<R>(in[4], s.outputs(), s.O, Uh);
            };
            if (kept) b.about_to_read_turned();
            if (convolved) b.dUx = workspace(GRADIENT_X, filter_floats(POINTS, s.packed(), s.C));
            b.dUh = workspace(GRADIENT_H, filter_floats(POINTS, s.packed(), s.O));
        }
        Recurrence<R>(s).backward(b);
        if (!prepared) {
            const int64_t kernel = int64_t(4 * s.O) * R * R;
            if (adds && convolved) take_over(in[15], kernel * s.C, out[3]);
            if (adds) take_over(in[16], kernel * s.O, out[4]);
            if (convolved) filter_gradient<R>(b.dUx, s.outputs(), s.C, out[3], adds);
            filter_gradient<R>(b.dUh, s.outputs(), s.O, out[4], adds);
        }
        if (spare) release_workspaces();
    });
}

// W (O, R, R, C) -> filters for the convolution. Numbers: C, O, gates (0 or 1), size.
void convlstm_prepare_forward(In in, Out out, Numbers n) {
    const Outputs outputs{int(n[1]), n[2] != 0};
    with_kernel(n[3], [&](auto size) { forward_filters<decltype(size)::VALUE>(in[0], outputs, int(n[0]), out[0]); });
}

// W (O, R, R, C) -> filters for the convolution's gradient. Numbers as above.
void convlstm_prepare_turned(In in, Out out, Numbers n) {
    const Outputs outputs{int(n[1]), n[2] != 0};
    with_kernel(n[3], [&](auto size) { backward_filters<decltype(size)::VALUE>(in[0], outputs, int(n[0]), out[0]); });
}

// Gradient of the filters -> gradient of W. Numbers as in convlstm_prepare_forward.
void convlstm_prepare_backward(In in, Out out, Numbers n) {
    const Outputs outputs{int(n[1]), n[2] != 0};
    with_kernel(n[3], [&](auto size) { filter_gradient<decltype(size)::VALUE>(in[0], outputs, int(n[0]), out[0]); });
}

// x (F, H, W, C), w (O, R, R, C) -> y (F, H, W, O). Numbers: F, H, W, C, O, size, prepared (1: prepared filters for w).
void convlstm_convolution(In in, Out out, Numbers n) {
    const Grid grid{int(n[1]), int(n[2])};
    const int F = int(n[0]), C = int(n[3]), O = int(n[4]);
    with_kernel(n[5], [&](auto size) {
        constexpr int R = decltype(size)::VALUE;
        const float* U = n[6] ? in[1] : forward_filters_in<R>(FILTERS_X, in[1], {O, false}, C);
        convolve_frames<R>(in[0], grid, F, C, U, O, out[0]);
    });
}

// x, w, dy, [dU] -> dx, dw. With prepared filters, w are the turned ones, and dw is their gradient, added to dU. Numbers as in
// convlstm_convolution.
void convlstm_convolution_backward(In in, Out out, Numbers n) {
    const Grid grid{int(n[1]), int(n[2])};
    const int F = int(n[0]), C = int(n[3]), O = int(n[4]);
    const bool prepared = n[6];
    const int64_t pixels = int64_t(grid.height) * grid.width;
    with_kernel(n[5], [&](auto size) {
        constexpr int R = decltype(size)::VALUE;
        const int64_t floats = filter_floats(CookToom<R>::POINTS, O, C);
        const float* U = prepared ? in[1] : backward_filters_in<R>(FILTERS_X, in[1], {O, false}, C);
        convolve_frames<R>(in[2], grid, F, O, U, C, out[0]);
        float* dU = prepared ? out[1] : workspace(GRADIENT_X, floats);
        if (prepared) take_over(in[3], floats, dU);
        correlate<R>(
            F * grid.tiles(), {{C, dU}},
            [&](int row, int, Place to) { input_tile<R>(in[0] + row / grid.tiles() * pixels * C, grid, C, row % grid.tiles(), C, to); },
            O,
            [&](int row, int first, int channels, Place to) {
                gradient_tile<R>(in[2] + row / grid.tiles() * pixels * O + first, grid, O, row % grid.tiles(), channels, to);
            },
            prepared);
        if (!prepared) filter_gradient<R>(dU, {O, false}, C, out[1]);
    });
}
}
