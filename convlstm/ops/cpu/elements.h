// Loops over the values of an array, for element-wise operations.
#pragma once

#include <algorithm>

#include "calls.h"
#include "vector.h"

// Calls use(first, number of floats) for the vectors of an array.
template <class Use>
void each_vector(int64_t count, Use&& use) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    constexpr int64_t AT_ONCE = 256 * LANES;
    Threads::pool().run(int((count + AT_ONCE - 1) / AT_ONCE), [&](int task) {
        const int64_t end = std::min(count, (task + 1) * AT_ONCE);
        for (int64_t at = task * AT_ONCE; at < end; at += LANES) use(at, int(std::min<int64_t>(LANES, end - at)));
    });
}

// Calls use(row) for rows of `width` floats.
template <class Use>
void each_row(int64_t rows, int width, Use&& use) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    const int64_t at_once = std::max<int64_t>(1, 256 * LANES / width);
    Threads::pool().run(int((rows + at_once - 1) / at_once), [&](int task) {
        for (int64_t row = task * at_once; row < std::min(rows, (task + 1) * at_once); row++) use(row);
    });
}

// Calls use(row, first, number of floats) for the vectors of rows of `width` floats.
template <class Use>
void each_in_rows(int64_t rows, int width, Use&& use) {
    each_row(rows, width, [&](int64_t row) {
        for (int c = 0; c < width; c += LANES) use(row, c, std::min(LANES, width - c));
    });
}
