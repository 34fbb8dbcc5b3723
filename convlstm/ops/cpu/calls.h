// What the files of kernels share: how their functions are called.
#pragma once

#include <cstring>

#include "threads.h"

// Every function takes its inputs, its outputs, and its integers, in the order that Python gives them.
using In = const float* const*;
using Out = float* const*;
using Numbers = const int64_t*;

// Calls work(Size<R>{}) for the kernel's size, with the threads and the memory to itself.
template <int R>
struct Size {
    static constexpr int VALUE = R;
};
template <class Work>
inline void with_kernel(int64_t size, Work&& work) {
    std::lock_guard<std::mutex> lock(Threads::pool().busy);
    if (size == 5) work(Size<5>{});
    else work(Size<3>{});
}

// What an output begins with, unless it has the input's memory.
inline void take_over(const float* from, int64_t count, float* to) {
    if (to != from) std::memcpy(to, from, count * sizeof(float));
}
