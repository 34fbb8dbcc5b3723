// The sum of the squares of an array's values.
#include <vector>

#include "elements.h"

extern "C" {

// x -> the sum. Numbers: count. Blocks are added up in their order, so the sum does not depend on the number of threads.
void convlstm_squares(In in, Out out, Numbers n) {
    constexpr int64_t BLOCK_FLOATS = 256 * LANES;
    const int64_t count = n[0], blocks = (count + BLOCK_FLOATS - 1) / BLOCK_FLOATS;
    std::vector<double> sums(blocks);
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    Threads::pool().run(int(blocks), [&](int block) {
        const int64_t first = block * BLOCK_FLOATS, end = std::min(count, first + BLOCK_FLOATS);
        vec sum{};
        for (int64_t at = first; at < end; at += LANES) {
            const vec x = load(in[0] + at, int(std::min<int64_t>(LANES, end - at)));
            sum += x * x;
        }
        for (int lane = 0; lane < LANES; lane++) sums[block] += sum[lane];
    });
    double total = 0;
    for (double sum : sums) total += sum;
    out[0][0] = float(total);
}
}
