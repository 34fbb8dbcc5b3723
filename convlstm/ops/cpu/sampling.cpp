// Kernels that read fields between their pixels: at given positions, and along motions.
#include "sampling.h"

#include <vector>

#include "calls.h"

namespace {

constexpr int64_t PIXELS = 64 * GROUP;  // of a task

// Calls use(frame, first, count) for groups of pixels of frames.
template <class Use>
void each_group(int64_t frames, int64_t pixels, Use&& use) {
    const int64_t parts = (pixels + PIXELS - 1) / PIXELS;
    Threads::pool().run(int(frames * parts), [&](int task) {
        const int64_t start = task % parts * PIXELS, end = std::min(pixels, start + PIXELS);
        for (int64_t first = start; first < end; first += GROUP)
            use(task / parts, first, int(std::min<int64_t>(GROUP, end - first)));
    });
}

// Writes v = u + a p + b q of a member as a padded frame: u and p are (H, W, 4), and q is p turned by a right angle.
void motion_of(const Frame& f, const float* motion, float a, float b, float* to) {
    for (int y = 0; y <= f.H; y++) {
        const float* from = motion + int64_t(std::min(y, f.H - 1)) * f.W * 4;
        float* row = to + int64_t(y) * f.row() * 2;
        for (int x = 0; x < f.W; x++) {
            const float *u = from + 4 * x, *p = u + 2;
            row[2 * x] = u[0] + a * p[0] - b * p[1];
            row[2 * x + 1] = u[1] + a * p[1] + b * p[0];
        }
        const float* last = row + (f.circular ? 0 : 2 * (f.W - 1));
        row[2 * f.W] = last[0], row[2 * f.W + 1] = last[1];
    }
}

}  // namespace

extern "C" {

// field (n, C, H, W), y (n, H', W'), x (n, H', W') -> (n, C, H', W'). Numbers: n, C, H, W, H' W', circular.
void convlstm_bilinear(In in, Out out, Numbers n) {
    const Frame frame{int(n[2]), int(n[3]), n[5] != 0};
    const int64_t C = n[1], P = n[4], size = frame.size();
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    float* fields = workspace(INPUTS, n[0] * C * size);
    Threads::pool().run(int(n[0] * C), [&](int i) { padded<1>(frame, in[0] + i * n[2] * n[3], fields + i * size); });
    each_group(n[0], P, [&](int64_t i, int64_t first, int count) {
        Places places;
        places.find(frame, count, in[1] + i * P + first, in[2] + i * P + first);
        for (int64_t c = i * C; c < (i + 1) * C; c++)
            for (int g = 0; g < count; g++) out[0][c * P + first + g] = places.of(fields + c * size, frame.row(), g);
    });
}

// field, y, x as above, dout (n, C, H', W') -> dfield, dy, dx. Beyond the border the place makes no difference.
void convlstm_bilinear_backward(In in, Out out, Numbers n) {
    const Frame frame{int(n[2]), int(n[3]), n[5] != 0};
    const int64_t C = n[1], P = n[4], size = frame.size(), pixels = n[2] * n[3];
    const float bottom = float(frame.H - 1), right = float(frame.W - 1);
    const int row = frame.row();
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    // A thread has a field of its own, and adds to it in the order of the places.
    Threads::pool().run(int(n[0]), [&](int i) {
        static thread_local std::vector<float> field, sums;
        field.resize(size), sums.resize(size);
        const float *ys = in[1] + i * P, *xs = in[2] + i * P;
        float *dys = out[1] + i * P, *dxs = out[2] + i * P;
        std::memset(dys, 0, sizeof(float) * P);
        std::memset(dxs, 0, sizeof(float) * P);
        for (int64_t c = i * C; c < (i + 1) * C; c++) {
            padded<1>(frame, in[0] + c * pixels, field.data());
            std::fill(sums.begin(), sums.end(), 0.0f);
            Places places;
            for (int64_t first = 0; first < P; first += GROUP) {
                const int count = int(std::min<int64_t>(GROUP, P - first));
                places.find(frame, count, ys + first, xs + first);
                for (int g = 0; g < count; g++) {
                    const float d = in[3][c * P + first + g], a = places.a[g], b = places.b[g];
                    const float *upper = field.data() + places.at[g], *lower = upper + row;
                    float *to = sums.data() + places.at[g], *below = to + row;
                    to[0] += (1 - a) * (1 - b) * d, to[1] += (1 - a) * b * d;
                    below[0] += a * (1 - b) * d, below[1] += a * b * d;
                    dys[first + g] += d * ((1 - b) * (lower[0] - upper[0]) + b * (lower[1] - upper[1]));
                    dxs[first + g] += d * ((1 - a) * (upper[1] - upper[0]) + a * (lower[1] - lower[0]));
                }
            }
            for (int x = 0; x <= frame.W; x++) sums[(frame.H - 1) * row + x] += sums[frame.H * row + x];
            for (int y = 0; y < frame.H; y++) {
                float* from = sums.data() + y * row;
                from[frame.circular ? 0 : frame.W - 1] += from[frame.W];
                std::memcpy(out[0] + c * pixels + y * frame.W, from, sizeof(float) * frame.W);
            }
        }
        for (int64_t p = 0; p < P; p++) {
            if (!(ys[p] > 0 && ys[p] < bottom)) dys[p] = 0;
            if (!frame.circular && !(xs[p] > 0 && xs[p] < right)) dxs[p] = 0;
        }
    });
}

// One step of members along their motions v = u + a p + b q, by the midpoint rule, and the fields that arrive.
//
//     d = v(s),  d = v(s - d / 2),  s = s - d,  frame = field(s)
//
// field (m, H, W), s (m, 2, H, W), u and p (1 or m, H, W, 4), a and b (m, 2), (lowest, width, threshold, margin) (4)
// -> frame (m, H, W), s. If width is positive, values from the threshold on become (value - lowest) / width in [0, 1], and
// those below it 0. Values from beyond the frame by more than the margin are 0, unless it is negative.
// Numbers: m, H, W, circular, flows.
void convlstm_drift(In in, Out out, Numbers n) {
    const Frame frame{int(n[1]), int(n[2]), n[3] != 0};
    const int64_t m = n[0], P = n[1] * n[2], size = frame.size();
    const float lowest = in[4][0], width = in[4][1], threshold = in[4][2], margin = in[4][3];
    const float bottom = float(frame.H - 1) + margin, right = float(frame.W - 1) + margin;
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    // As many members at a time as there are threads, so that their motions stay in the cache.
    const int64_t at_once = std::min<int64_t>(m, Threads::pool().size());
    float *motions = workspace(INPUTS, at_once * 2 * size), *fields = workspace(PRODUCTS, at_once * size);
    for (int64_t start = 0; start < m; start += at_once) {
        const int64_t members = std::min(at_once, m - start);
        Threads::pool().run(int(members), [&](int i) {
            const int64_t k = start + i;
            const float* motion = in[2] + (n[4] > 1 ? 4 * k * P : 0);
            motion_of(frame, motion, in[3][2 * k], in[3][2 * k + 1], motions + 2 * i * size);
            padded<1>(frame, in[0] + k * P, fields + i * size);
        });
        each_group(members, P, [&](int64_t i, int64_t first, int count) {
            const int64_t from = 2 * (start + i) * P + first;
            const float *motion = motions + 2 * i * size, *field = fields + i * size;
            float y[GROUP], x[GROUP], dy[GROUP], dx[GROUP], value[GROUP];
            Places places;
            std::memcpy(y, in[1] + from, sizeof(float) * count);
            std::memcpy(x, in[1] + from + P, sizeof(float) * count);
            places.find(frame, count, y, x);
            for (int g = 0; g < count; g++) places.of(motion, frame.row(), g, dy[g], dx[g]);
            for (int g = 0; g < count; g++) dy[g] = y[g] - dy[g] / 2, dx[g] = x[g] - dx[g] / 2;
            places.find(frame, count, dy, dx);
            for (int g = 0; g < count; g++) places.of(motion, frame.row(), g, dy[g], dx[g]);
            for (int g = 0; g < count; g++) y[g] -= dy[g], x[g] -= dx[g];
            places.find(frame, count, y, x);
            for (int g = 0; g < count; g++) value[g] = places.of(field, frame.row(), g);
            if (margin >= 0)
                for (int g = 0; g < count; g++) {
                    const bool across = frame.circular || (x[g] >= -margin && x[g] <= right);
                    value[g] = across && y[g] >= -margin && y[g] <= bottom ? value[g] : 0;
                }
            if (width > 0)
                for (int g = 0; g < count; g++) {
                    const float scaled = std::min(std::max((value[g] - lowest) / width, 0.0f), 1.0f);
                    value[g] = value[g] >= threshold ? scaled : value[g] < threshold ? 0 : value[g];  // NaN stays NaN
                }
            std::memcpy(out[0] + (start + i) * P + first, value, sizeof(float) * count);
            std::memcpy(out[1] + from, y, sizeof(float) * count);
            std::memcpy(out[1] + from + P, x, sizeof(float) * count);
        });
    }
}
}
