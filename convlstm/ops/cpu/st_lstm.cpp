// The kernels of the spatiotemporal LSTM; kernels.cpp has those of the ConvLSTM.
#include "st_lstm.h"

#include "calls.h"
#include "elements.h"

extern "C" {

// A step of a spatiotemporal LSTM. Numbers: N, H, W, C, O, kernel size, products.
//
// x, h, c, m, forget bias, 6 filters -> c', m', zo, gates, [i . g, i' . g']
void convlstm_st_lstm_forward(In in, Out out, Numbers n) {
    with_kernel(n[5], [&](auto size) {
        SpatioTemporal<decltype(size)::VALUE> step(n[0], n[1], n[2], n[3], n[4]);
        step.forward({in[0], in[1], in[2], in[3], *in[4], {in[5], in[6], in[7], in[8], in[9], in[10]}}, out[0], out[1], out[2],
                     out[3], n[6] ? out[4] : nullptr, n[6] ? out[5] : nullptr);
    });
}

// x, h, c, m, forget bias, 6 turned filters, 6 gradients of filters, gates, c', m', dc', dm', dzo, [d(i . g), d(i' . g')]
// -> dx, dh, dc, dm, 6 gradients of filters
void convlstm_st_lstm_backward(In in, Out out, Numbers n) {
    const int C = int(n[3]), O = int(n[4]);
    with_kernel(n[5], [&](auto size) {
        constexpr int R = decltype(size)::VALUE;
        typename SpatioTemporal<R>::Backward b{};
        b.x = in[0], b.h = in[1], b.c = in[2], b.m = in[3], b.forget_bias = *in[4];
        b.gates = in[17], b.c_after = in[18], b.m_after = in[19], b.dc_after = in[20], b.dm_after = in[21], b.dzo = in[22];
        b.dig = n[6] ? in[23] : nullptr, b.dig_too = n[6] ? in[24] : nullptr;
        b.dx = out[0], b.dh = out[1], b.dc = out[2], b.dm = out[3];
        const int inputs[KERNELS] = {O, C, C, O, O, O}, outputs[KERNELS] = {4 * O, 4 * O, 3 * O, 3 * O, O, O};
        for (int k = 0; k < KERNELS; k++) {
            b.U[k] = in[5 + k], b.dU[k] = out[4 + k];
            take_over(in[11 + k], filter_floats(CookToom<R>::POINTS, outputs[k], inputs[k]), b.dU[k]);
        }
        SpatioTemporal<R>(n[0], n[1], n[2], C, O).backward(b);
    });
}

// z, a (count) -> sigmoid(z) tanh(a). Numbers: count.
void convlstm_gated_forward(In in, Out out, Numbers n) {
    each_vector(n[0], [&](int64_t at, int count) {
        store(out[0] + at, sigmoid(load(in[0] + at, count)) * tanh(load(in[1] + at, count)), count);
    });
}

// z, a, dh -> dz, da
void convlstm_gated_backward(In in, Out out, Numbers n) {
    each_vector(n[0], [&](int64_t at, int count) {
        const vec o = sigmoid(load(in[0] + at, count)), g = tanh(load(in[1] + at, count)), d = load(in[2] + at, count);
        store(out[0] + at, d * g * o * (1 - o), count);
        store(out[1] + at, d * o * (1 - g * g), count);
    });
}
}
