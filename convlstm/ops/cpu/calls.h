// The form of a kernel's functions, for all files of kernels.
#pragma once

#include <cstring>

#include "threads.h"

// Every function takes its inputs, its outputs and its integers in the order in which Python passes them.
using In = const float* const*;
using Out = float* const*;
using Numbers = const int64_t*;

// Calls work(Size<R>{}) for the kernel's size, with exclusive use of the threads and the memory.
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

// Copies an input into an output, unless the output has taken over the input's memory.
inline void take_over(const float* from, int64_t count, float* to) {
    if (to != from) std::memcpy(to, from, count * sizeof(float));
}
