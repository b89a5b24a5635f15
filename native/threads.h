// Runs tasks on a few threads.
//
// If OpenMP is loaded, as with PyTorch, its waiting threads do the work. They keep the cores busy between two calls, and
// own threads would have to share the cores with them. Otherwise, and in a child after a fork, which has none of
// OpenMP's threads, each call starts its own threads. This takes about 20 µs, and they end when the call returns.
#pragma once

#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__unix__) || defined(__APPLE__)
#include <dlfcn.h>
#include <pthread.h>
#endif

namespace torchliquid {

// OpenMP's entry point, which has the same name in libgomp and libomp: calls f(data) on this many threads or fewer.
using OpenMp = void (*)(void (*f)(void*), void* data, unsigned threads, unsigned flags);

#if defined(__unix__) || defined(__APPLE__)
inline std::atomic<bool> forked{false};
// Set at loading, because PyTorch may start its threads, and the process may fork, before the first call.
inline const int watching = pthread_atfork(nullptr, nullptr, [] { forked = true; });
#endif

inline OpenMp openmp() {
#if defined(__unix__) || defined(__APPLE__)
  static const OpenMp found = reinterpret_cast<OpenMp>(dlsym(RTLD_DEFAULT, "GOMP_parallel"));
  return forked ? nullptr : found;
#else
  return nullptr;
#endif
}

// Calls f(task, worker) once for each task in [0, tasks); worker < threads. f must not throw.
template <class F>
void parallel(int tasks, int threads, F f) {
  if (threads > tasks) threads = tasks;
  std::atomic<int> next{0}, workers{0};
  auto work = [&] {
    const int worker = workers.fetch_add(1, std::memory_order_relaxed);
    for (int task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) f(task, worker);
  };
  if (threads <= 1) return work();
  if (OpenMp run = openmp()) return run([](void* mine) { (*static_cast<decltype(work)*>(mine))(); }, &work, threads, 0);
  std::vector<std::thread> others;
  try {
    for (int worker = 1; worker < threads; ++worker) others.emplace_back(work);
  } catch (const std::system_error&) {
    // No more threads can be started: the existing ones do the work.
  }
  work();
  for (std::thread& t : others) t.join();
}

}  // namespace torchliquid
