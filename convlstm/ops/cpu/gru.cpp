// The kernels of the ConvGRU and the TrajGRU; kernels.cpp has those of the ConvLSTM.
#include "calls.h"
#include "gru_gates.h"
#include "warp.h"

namespace {

Field field(Numbers n) { return {int(n[0]), int(n[1]), int(n[2]), int(n[3]), int(n[4])}; }

GruGates gates(In in, Numbers n) {
    return {n[0], int(n[1]), n[2] != 0, n[3] ? in[0] : nullptr, in[1], in[2], in[3], in[4]};
}

}  // namespace

extern "C" {

// h, flow, W -> y. Numbers: N, H, W, O, L, M.
void convlstm_warp(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    warp_product(field(n), int(n[5]), in[0], in[1], in[2], out[0]);
}

// h, flow, W, dy -> dh, dflow, dW. Numbers as in convlstm_warp.
void convlstm_warp_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    warp_product_backward(field(n), int(n[5]), in[0], in[1], in[2], in[3], out[0], out[1], out[2]);
}

// x, y, h, bx, by -> h'. Numbers: rows, O, f (0: leaky ReLU, 1: tanh), x (0: none, 1: given).
void convlstm_gru_gates(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    gates(in, n).forward(out[0]);
}

// x, y, h, bx, by, dh' -> dx, dy, dh, dbx, dby. Numbers as in convlstm_gru_gates. Without an x, dx and dbx are not written.
void convlstm_gru_gates_backward(In in, Out out, Numbers n) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    gates(in, n).backward(in[5], n[3] ? out[0] : nullptr, out[1], out[2], n[3] ? out[3] : nullptr, out[4]);
}
}
