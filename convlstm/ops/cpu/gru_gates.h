// The gates of a GRU and their gradient, from the parts of the input, x, and of the hidden state, y, of the pre-activations,
// each (rows, 3 O) in the order z, r, h, with the biases bx and by:
//
//     z = sigmoid(x_z + y_z), r = sigmoid(x_r + y_r), a = x_h + r . y_h, h' = (1 - z) . f(a) + z . h
#pragma once

#include <algorithm>

#include "threads.h"
#include "vector.h"

constexpr int GATE_ROWS = 64;  // pixels of a task

struct GruGates {
    int64_t rows;
    int O;
    bool bounded;                          // true: f is the hyperbolic tangent, false: a leaky ReLU
    const float *x, *y, *h, *bx, *by;      // x is null without an input

    struct Values {
        vec z, r, yh, a, g, h;
    };

    INLINE Values at(int64_t row, int o) const {
        const int channels = O - o;
        const float* own = y + row * 3 * O + o;
        vec z = load(own, channels) + load(by + o, channels), r = load(own + O, channels) + load(by + O + o, channels);
        const vec yh = load(own + 2 * O, channels) + load(by + 2 * O + o, channels);
        vec xh{};
        if (x != nullptr) {
            const float* other = x + row * 3 * O + o;
            z += load(other, channels) + load(bx + o, channels);
            r += load(other + O, channels) + load(bx + O + o, channels);
            xh = load(other + 2 * O, channels) + load(bx + 2 * O + o, channels);
        }
        z = sigmoid(z), r = sigmoid(r);
        const vec a = xh + r * yh;
        return {z, r, yh, a, bounded ? tanh(a) : a > 0.0f ? a : 0.2f * a, load(h + row * O + o, channels)};
    }

    void forward(float* out) const {
        Threads::pool().run(int((rows + GATE_ROWS - 1) / GATE_ROWS), [&](int task) {
            for (int64_t row = int64_t(task) * GATE_ROWS; row < std::min(rows, int64_t(task + 1) * GATE_ROWS); row++)
                for (int o = 0; o < O; o += LANES) {
                    const Values v = at(row, o);
                    store(out + row * O + o, (fill(1.0f) - v.z) * v.g + v.z * v.h, O - o);
                }
        });
    }

    // dx and dbx may be null. The biases' gradients are summed per task and then in the order of the tasks.
    void backward(const float* dout, float* dx, float* dy, float* dh, float* dbx, float* dby) const {
        const int tasks = int((rows + GATE_ROWS - 1) / GATE_ROWS), ld = (O + LANES - 1) / LANES * LANES;
        float* sums = workspace(SUMS, size_t(tasks) * 4 * ld);
        Threads::pool().run(tasks, [&](int task) {
            float* sum = sums + int64_t(task) * 4 * ld;
            for (int o = 0; o < O; o += LANES) {
                const int channels = O - o;
                vec sz{}, sr{}, sg{}, sy{};
                for (int64_t row = int64_t(task) * GATE_ROWS; row < std::min(rows, int64_t(task + 1) * GATE_ROWS); row++) {
                    const Values v = at(row, o);
                    const vec d = load(dout + row * O + o, channels), one = fill(1.0f);
                    const vec slope = bounded ? one - v.g * v.g : v.a > 0.0f ? one : fill(0.2f);
                    const vec dz = d * (v.h - v.g) * v.z * (one - v.z), dg = d * (one - v.z) * slope;
                    const vec dr = dg * v.yh * v.r * (one - v.r), dyh = dg * v.r;
                    store(dh + row * O + o, d * v.z, channels);
                    float* to = dy + row * 3 * O + o;
                    store(to, dz, channels), store(to + O, dr, channels), store(to + 2 * O, dyh, channels);
                    if (dx != nullptr) {
                        to = dx + row * 3 * O + o;
                        store(to, dz, channels), store(to + O, dr, channels), store(to + 2 * O, dg, channels);
                    }
                    sz += dz, sr += dr, sg += dg, sy += dyh;
                }
                store(sum + o, sz), store(sum + ld + o, sr), store(sum + 2 * ld + o, sg), store(sum + 3 * ld + o, sy);
            }
        });
        for (int part = 0; part < 4; part++)
            for (int o = 0; o < O; o++) {
                float total = 0;
                for (int task = 0; task < tasks; task++) total += sums[int64_t(task) * 4 * ld + part * ld + o];
                if (part < 3 && dbx != nullptr) dbx[part * O + o] = total;
                if (part != 2) dby[std::min(part, 2) * O + o] = total;
            }
    }
};
