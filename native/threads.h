// Runs tasks on a few threads that live as long as the call.
//
// A thread costs some 20 µs to start, a sequence milliseconds: a pool would save nothing that shows, and threads
// that are gone when the call returns can neither spin nor be missing after a fork.
#pragma once

#include <atomic>
#include <system_error>
#include <thread>
#include <vector>

namespace torchliquid {

// Calls f(task, worker) once for each task in [0, tasks); worker < threads. f must not throw.
template <class F>
void parallel(int tasks, int threads, F f) {
  std::atomic<int> next{0};
  auto work = [&](int worker) {
    for (int task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) f(task, worker);
  };
  std::vector<std::thread> others;
  try {
    for (int worker = 1; worker < threads && worker < tasks; ++worker) others.emplace_back(work, worker);
  } catch (const std::system_error&) {
    // No more threads to be had: those there are do the work.
  }
  work(0);
  for (std::thread& t : others) t.join();
}

}  // namespace torchliquid
