// Threads that share the tasks of a loop, and memory that lives on between calls.
#pragma once

#include <malloc.h>
#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

// The thread that runs a task changes from run to run. The result of a task must not depend on it.
class Threads {
   public:
    static Threads& pool() {
        // Never destroyed, since its threads wait on it when the process ends. A forked process has no threads: it gets a new
        // pool.
        static std::mutex first;
        static Threads* one = nullptr;
        static pid_t owner = 0;
        std::lock_guard<std::mutex> lock(first);
        if (owner != getpid()) {
            one = new Threads;
            owner = getpid();
        }
        return *one;
    }

    int size() const { return static_cast<int>(workers.size()) + 1; }

    // Calls task(0) ... task(count - 1), in any order, on all threads.
    template <class Task>
    void run(int count, Task&& task) {
        if (count <= 1 || workers.empty()) {
            for (int n = 0; n < count; n++) task(n);
            return;
        }
        std::function<void(int)> call = [&task](int n) { task(n); };
        job = &call;
        total = count;
        next.store(0, std::memory_order_relaxed);
        working.store(static_cast<int>(workers.size()), std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(mutex);
            round.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
        take();
        while (working.load(std::memory_order_acquire) > 0) pause();
    }

    // Held by each call of a kernel, since calls share the threads and the memory.
    std::mutex busy;

   private:
    Threads() {
        for (int n = 1; n < wanted(); n++) {
            workers.emplace_back([this] { work(); });
            workers.back().detach();  // they end with the process
        }
    }

    static int wanted() {
        for (const char* name : {"CONVLSTM_THREADS", "OMP_NUM_THREADS"})
            if (const char* text = std::getenv(name))
                if (int n = std::atoi(text); n > 0) return n;
        cpu_set_t set;
        if (sched_getaffinity(0, sizeof(set), &set) == 0) return CPU_COUNT(&set);
        return std::max(1u, std::thread::hardware_concurrency());
    }

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#else
        std::this_thread::yield();
#endif
    }

    void take() {
        for (int n; (n = next.fetch_add(1, std::memory_order_relaxed)) < total;) (*job)(n);
    }

    void work() {
        for (unsigned seen = 0;;) {
            for (int spins = 0; spins < 20000 && round.load(std::memory_order_acquire) == seen; spins++) pause();
            if (round.load(std::memory_order_acquire) == seen) {
                std::unique_lock<std::mutex> lock(mutex);
                wake.wait(lock, [&] { return round.load(std::memory_order_acquire) != seen; });
            }
            seen = round.load(std::memory_order_acquire);
            take();
            working.fetch_sub(1, std::memory_order_release);
        }
    }

    std::vector<std::thread> workers;
    std::mutex mutex;
    std::condition_variable wake;
    std::atomic<unsigned> round{0};
    std::atomic<int> next{0}, working{0};
    int total = 0;
    std::function<void(int)>* job = nullptr;
};

// Memory for intermediate results, by purpose, as large as the largest call needed. Use it only with `busy` held. It is mapped
// outside the heap, which its growth would fragment.
enum Use { INPUTS, PRODUCTS, FILTERS_X, FILTERS_H, GRADIENT_X, GRADIENT_H, GATES, SUMS, USES };

class Workspace {
   public:
    float* of(size_t count) {
        if (bytes < count * sizeof(float)) {
            release();
            void* mapped = mmap(nullptr, count * sizeof(float), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            if (mapped == MAP_FAILED) throw std::bad_alloc();
            madvise(mapped, count * sizeof(float), MADV_HUGEPAGE);  // fewer pages to look up
            memory = static_cast<float*>(mapped);
            bytes = count * sizeof(float);
        }
        return memory;
    }
    void release() {
        if (memory != nullptr) munmap(memory, bytes);
        memory = nullptr, bytes = 0;
    }

   private:
    float* memory = nullptr;
    size_t bytes = 0;
};

inline Workspace& workspace_of(Use use) {
    static Workspace held[USES];
    return held[use];
}
inline float* workspace(Use use, size_t count) { return workspace_of(use).of(count); }
inline void release_workspaces() {
    for (int use = 0; use < USES; use++) workspace_of(Use(use)).release();
}

// Returns free memory of the heap to the system, so that workspaces can use it.
inline void trim_heap() {
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}
