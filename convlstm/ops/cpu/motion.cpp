// The equations of the motion between frames.
#include <vector>

#include "calls.h"
#include "sampling.h"

namespace {

constexpr int ROWS = 16;  // of a task

// Differences of a row's values from pixel to pixel: central ones, one-sided at the border, or round.
void across(const float* row, int W, bool circular, float* to) {
    for (int x = 1; x < W - 1; x++) to[x] = (row[x + 1] - row[x - 1]) / 2;
    if (circular) {
        to[0] = (row[W > 1 ? 1 : 0] - row[W - 1]) / 2;
        to[W - 1] = (row[0] - row[W > 1 ? W - 2 : 0]) / 2;
    } else {
        to[0] = W > 1 ? row[1] - row[0] : 0;
        to[W - 1] = W > 1 ? row[W - 1] - row[W - 2] : 0;
    }
}

}  // namespace

extern "C" {

// frames (N, T, H, W), u (2, N, H, W), weights (P) -> sums over pairs (5, N, H, W): a, b, c, a u + b v - p, b u + c v - q, as
// in convlstm.ops.motion_equations. Numbers: N, T, H, W, circular, P, then the frame and the distance of each pair.
void convlstm_motion_equations(In in, Out out, Numbers n) {
    const Frame frame{int(n[2]), int(n[3]), n[4] != 0};
    const int H = frame.H, W = frame.W;
    const int64_t N = n[0], T = n[1], pairs = n[5], pixels = n[2] * n[3], size = frame.size();
    const float bottom = float(H - 1), right = float(W - 1);
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    float* fields = workspace(INPUTS, N * T * size);
    Threads::pool().run(int(N * T), [&](int i) { padded<1>(frame, in[0] + i * pixels, fields + i * size); });
    const int bands = (H + ROWS - 1) / ROWS;
    Threads::pool().run(int(N) * bands, [&](int task) {
        const int64_t f = task / bands;
        const int start = task % bands * ROWS, end = std::min(H, start + ROWS);
        const int first = std::max(start - 1, 0), last = std::min(end + 1, H);
        static thread_local std::vector<float> memory;
        // Of each row: the mean of both frames, their difference, and the weight; then the differences across a row.
        memory.resize(int64_t(last - first) * W * 3 + W);
        float *means = memory.data(), *errors = means + int64_t(last - first) * W, *weights = errors + (errors - means);
        float* gx = weights + (errors - means);
        const float *u = in[1] + f * pixels, *v = u + N * pixels;
        for (int s = 0; s < 5; s++)
            std::memset(out[s] + f * pixels + int64_t(start) * W, 0, sizeof(float) * (end - start) * W);
        for (int64_t pair = 0; pair < pairs; pair++) {
            const int64_t t = n[6 + 2 * pair], k = n[7 + 2 * pair];
            const float *now = in[0] + (f * T + t) * pixels, *before = fields + (f * T + t - k) * size;
            const float distance = float(k), weight = in[2][pair];
            for (int y = first; y < last; y++) {
                const int64_t row = int64_t(y) * W, local = int64_t(y - first) * W;
                for (int x = 0; x < W; x += GROUP) {
                    const int count = std::min(GROUP, W - x);
                    float ys[GROUP], xs[GROUP];
                    Places places;
                    for (int g = 0; g < count; g++) {
                        ys[g] = float(y) - distance * u[row + x + g];
                        xs[g] = float(x + g) - distance * v[row + x + g];
                    }
                    places.find(frame, count, ys, xs);
                    for (int g = 0; g < count; g++) {
                        const float moved = places.of(before, frame.row(), g), here = now[row + x + g];
                        means[local + x + g] = (here + moved) / 2;
                        errors[local + x + g] = here - moved;
                        const bool inside = ys[g] >= 0 && ys[g] <= bottom;
                        const bool between = frame.circular || (xs[g] >= 0 && xs[g] <= right);
                        weights[local + x + g] = inside && between ? weight : 0;
                    }
                }
            }
            for (int y = start; y < end; y++) {
                const int64_t row = int64_t(y) * W, local = int64_t(y - first) * W, to = f * pixels + row;
                const float *upper = means + (y > 0 ? local - W : local), *lower = means + (y < H - 1 ? local + W : local);
                const float half = y > 0 && y < H - 1 ? distance / 2 : distance;
                across(means + local, W, frame.circular, gx);
                for (int x = 0; x < W; x++) {
                    const float down = half * (lower[x] - upper[x]), side = distance * gx[x];
                    const float m = weights[local + x], error = errors[local + x];
                    const float a = m * down * down, b = m * down * side, c = m * side * side;
                    out[0][to + x] += a, out[1][to + x] += b, out[2][to + x] += c;
                    out[3][to + x] += a * u[row + x] + b * v[row + x] - m * down * error;
                    out[4][to + x] += b * u[row + x] + c * v[row + x] - m * side * error;
                }
            }
        }
    });
}

}  // extern "C"
