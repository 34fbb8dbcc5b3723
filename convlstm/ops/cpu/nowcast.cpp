// Kernels of ensembles by bands of scales: processes with noise, distributions, and the surroundings of rain.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "calls.h"
#include "noise.h"
#include "vector.h"

namespace {

constexpr int BINS = 4096;

// The part of a spectrum (H, C) that a band keeps: rows up to `reach` from row 0, both ways, and as many columns.
struct Part {
    int H, C, reach;
    int columns() const { return std::min(C, reach + 1); }
    int rows() const { return std::min(H, 2 * reach + 1); }
    bool has(int row) const { return rows() == H || row <= reach || row >= H - reach; }
    int place(int row) const { return rows() == H || row <= reach ? row : row - (H - rows()); }
    int64_t size() const { return int64_t(rows()) * columns(); }
};

struct Bands {
    int H, W, C;
    std::vector<Part> parts;
    std::vector<int64_t> starts;
    int64_t size = 0;

    Bands(Numbers n) : H(int(n[1])), W(int(n[2])), C(int(n[2] / 2 + 1)) {
        for (int k = 0; k < n[3]; k++) {
            parts.push_back({H, C, int(n[7 + k])});
            starts.push_back(size);
            size += parts.back().size();
        }
    }
};

// The variances of the noise's bands: sums of its power times the squares of the weights.
void variances(const Bands& bands, const float* re, const float* im, const float* weights, std::vector<double>& sums) {
    std::fill(sums.begin(), sums.end(), 0.0);
    std::vector<float> power(bands.C);
    for (int row = 0; row < bands.H; row++) {
        const float *x = re + int64_t(row) * bands.C, *y = im + int64_t(row) * bands.C;
        for (int c = 0; c < bands.C; c++) power[c] = 2 * (x[c] * x[c] + y[c] * y[c]);
        power[0] *= row == 0 ? 0.0f : 0.5f;
        if (bands.W % 2 == 0) power[bands.C - 1] *= 0.5f;
        for (size_t k = 0; k < bands.parts.size(); k++) {
            const Part& part = bands.parts[k];
            if (!part.has(row)) continue;
            const float* w = weights + bands.starts[k] + int64_t(part.place(row)) * part.columns();
            vec sum{};
            for (int c = 0; c < part.columns(); c += LANES) {
                const vec v = load(w + c, part.columns() - c);
                sum += v * v * load(power.data() + c, part.columns() - c);
            }
            for (int lane = 0; lane < LANES; lane++) sums[k] += sum[lane];
        }
    }
    const double pixels = double(bands.H) * bands.W;
    for (double& sum : sums) sum /= pixels * pixels;
}

}  // namespace

extern "C" {

// One step of the processes of all bands and members, with noise, and the spectra of their sums.
//
//     x_k = phi1_k x_k + phi2_k y_k + phi0_k e_k,  z = sum_k deviation_k x_k
//
// now x and before y (m or 1, 2, S) of S numbers in all bands, real parts first; amplitudes of the noise (H, C); weights (S);
// phi1, phi2, phi0, deviation (4, K); mean (1): the first number of z's spectrum; keys (m, 2), whole numbers in the bits of
// floats; quantiles (65536) of the noise -> the new x (m, 2, S), z's spectrum (m, H, C, 2).
// Numbers: m, H, W, K, lead, x's and y's number of members, the reach of each band.
void convlstm_band_step(In in, Out out, Numbers n) {
    const Bands bands(n);
    const int levels = int(n[3]), C = bands.C;
    const int64_t S = bands.size, P = int64_t(bands.H) * C;
    const float *phi1 = in[4], *phi2 = phi1 + levels, *phi0 = phi2 + levels, *deviation = phi0 + levels;
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int(n[0]), [&](int m) {
        static thread_local std::vector<float> noise;
        noise.resize(2 * P + 4 * LANES);
        float *re = noise.data(), *im = re + P;
        white_noise(in[6] + 2 * m, uint32_t(n[4]), in[7], bands.H, bands.W, re, im);
        for (int64_t p = 0; p < P; p++) re[p] *= in[2][p], im[p] *= in[2][p];
        std::vector<double> sums(levels);
        variances(bands, re, im, in[3], sums);
        std::vector<float> row_re(C), row_im(C);
        for (int row = 0; row < bands.H; row++) {
            std::fill(row_re.begin(), row_re.end(), 0.0f);
            std::fill(row_im.begin(), row_im.end(), 0.0f);
            for (int k = 0; k < levels; k++) {
                const Part& part = bands.parts[k];
                if (!part.has(row)) continue;
                const int64_t at = bands.starts[k] + int64_t(part.place(row)) * part.columns();
                const float scale = phi0[k] / std::sqrt(float(std::max(sums[k], 1e-12)));
                const float a = phi1[k], b = phi2[k], d = deviation[k], *w = in[3] + at;
                for (int half = 0; half < 2; half++) {
                    const auto place = [&](int64_t members) { return (members > 1 ? 2 * int64_t(m) + half : half) * S + at; };
                    const float *x = in[0] + place(n[5]), *y = in[1] + place(n[6]), *e = (half ? im : re) + int64_t(row) * C;
                    float *to = out[0] + place(n[0]), *sum = half ? row_im.data() : row_re.data();
                    for (int c = 0; c < part.columns(); c++) {
                        const float value = a * x[c] + b * y[c] + scale * (w[c] * e[c]);
                        to[c] = value;
                        sum[c] += d * value;
                    }
                }
            }
            if (row == 0) row_re[0] = in[5][0], row_im[0] = 0;
            float* z = out[1] + 2 * (int64_t(m) * P + int64_t(row) * C);
            for (int c = 0; c < C; c++) z[2 * c] = row_re[c], z[2 * c + 1] = row_im[c];
        }
    });
}

// The values of fields in rising order, (m, P) -> (m, P). Many of them may be the lowest one. Numbers: m, P.
void convlstm_rising(In in, Out out, Numbers n) {
    const int64_t P = n[1];
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int(n[0]), [&](int m) {
        float* to = out[0] + m * P;
        std::memcpy(to, in[0] + m * P, P * sizeof(float));
        const float low = *std::min_element(to, to + P);
        std::sort(std::partition(to, to + P, [low](float value) { return value == low; }), to + P);
    });
}

// The rank of each of M members in every pixel, as a number, (M, P) -> (M, P). Of equal ones the first is lower.
// Numbers: M, P.
void convlstm_member_ranks(In in, Out out, Numbers n) {
    const int64_t M = n[0], P = n[1], block = 512;
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int((P + block - 1) / block), [&](int task) {
        const int64_t first = task * block, count = std::min(block, P - first);
        for (int64_t i = 0; i < M; i++) {
            float *own = out[0] + i * P + first;
            const float* a = in[0] + i * P + first;
            std::fill(own, own + count, 0.0f);
            for (int64_t j = 0; j < i; j++) {
                float* other = out[0] + j * P + first;
                const float* b = in[0] + j * P + first;
                for (int64_t p = 0; p < count; p++) {
                    const float above = a[p] >= b[p] ? 1.0f : 0.0f;
                    own[p] += above;
                    other[p] += 1.0f - above;
                }
            }
        }
    });
}

// Values (M, P) put in the places that ranks name, or taken from there, in every pixel. Numbers: M, P, take.
void convlstm_by_rank(In in, Out out, Numbers n) {
    const int64_t M = n[0], P = n[1], block = 512;
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int((P + block - 1) / block), [&](int task) {
        const int64_t first = task * block, last = std::min(first + block, P);
        for (int64_t m = 0; m < M; m++) {
            for (int64_t p = first; p < last; p++) {
                const int64_t own = m * P + p, place = int64_t(in[1][own]) * P + p;
                if (n[2]) out[0][own] = in[0][place];
                else out[0][place] = in[0][own];
            }
        }
    });
}

// Fields weakened by masks, with the values of a reference in their order, and 0 where they are lowest.
//
// z (m, P), mask (m or 1, P), the reference's values, rising (P) -> (m, P). Numbers: m, P, masks.
void convlstm_match(In in, Out out, Numbers n) {
    const int64_t P = n[1];
    const float* values = in[2];
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int(n[0]), [&](int m) {
        const float *z = in[0] + m * P, *mask = in[1] + (n[2] > 1 ? m * P : 0);
        float *to = out[0] + m * P, low = z[0], high = 0;
        for (int64_t p = 1; p < P; p++) low = std::min(low, z[p]);
        for (int64_t p = 0; p < P; p++) to[p] = (z[p] - low) * mask[p];
        for (int64_t p = 0; p < P; p++) high = std::max(high, to[p]);
        const float scale = BINS * (1 - 1e-6f) / std::max(high, 1e-12f);
        std::vector<int64_t> below(BINS + 1);
        for (int64_t p = 0; p < P; p++) below[std::min(int(to[p] * scale), BINS - 1) + 1]++;
        for (int b = 0; b < BINS; b++) below[b + 1] += below[b];
        for (int64_t p = 0; p < P; p++) {
            if (!(to[p] > 0)) {
                to[p] = 0;
                continue;
            }
            const float place = to[p] * scale;
            const int b = std::min(int(place), BINS - 1);
            const int64_t rank = below[b] + int64_t(float(below[b + 1] - below[b]) * (place - float(b)));
            to[p] = values[std::min(rank, P - 1)];
        }
    });
}

// 1 near the rain of fields, less and less over the rim around, and 0 beyond it: (rim + 1 - (distance - reach)) / (rim + 1)
// with the distance in steps down or across.
//
// fields (m, H, W), threshold (1) -> (m, H, W). Numbers: m, H, W, reach, rim, circular.
void convlstm_near(In in, Out out, Numbers n) {
    const int H = int(n[1]), W = int(n[2]), reach = int(n[3]), rim = int(n[4]), most = reach + rim + 1;
    const float threshold = in[1][0];
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int(n[0]), [&](int m) {
        const float* field = in[0] + int64_t(m) * H * W;
        float* to = out[0] + int64_t(m) * H * W;
        static thread_local std::vector<int32_t> distance;
        distance.resize(int64_t(H) * W);
        for (int row = 0; row < H; row++) {
            int32_t *d = distance.data() + int64_t(row) * W, *above = row ? d - W : d;
            for (int c = 0; c < W; c++) d[c] = field[int64_t(row) * W + c] >= threshold ? 0 : row ? above[c] + 1 : most;
        }
        for (int row = H - 1; row >= 0; row--) {
            int32_t* d = distance.data() + int64_t(row) * W;
            if (row + 1 < H)
                for (int c = 0; c < W; c++) d[c] = std::min(d[c], d[W + c] + 1);
            const int rounds = n[5] ? 2 : 1;  // round the columns
            for (int round = 0; round < rounds; round++) {
                int32_t near = n[5] ? d[W - 1] : most;
                for (int c = 0; c < W; c++) d[c] = near = std::min(d[c], near + 1);
                near = n[5] ? d[0] : most;
                for (int c = W - 1; c >= 0; c--) d[c] = near = std::min(d[c], near + 1);
            }
        }
        for (int64_t p = 0; p < int64_t(H) * W; p++) {
            const int beyond = std::min(std::max(distance[p] - reach, 0), rim + 1);
            to[p] = float(rim + 1 - beyond) / float(rim + 1);
        }
    });
}
}
