// Runs a recurrence over a whole batch, block by block, on some threads.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "kernels.h"
#include "threads.h"

namespace torchliquid {

class AlignedFloats {
  struct Delete {
    void operator()(float* memory) const { ::operator delete(memory, std::align_val_t{64}); }
  };
  std::unique_ptr<float, Delete> memory;

 public:
  explicit AlignedFloats(size_t count)
      : memory(static_cast<float*>(::operator new((count + 16) * sizeof(float), std::align_val_t{64}))) {}
  float* data() { return memory.get(); }
};

// Each group of blocks sums its own gradients; the groups are then summed in order. Groups depend only on the batch, so
// the number of threads does not change the result.
constexpr int kMaxGroups = 32;

// Narrow blocks for small batches, so that every thread has one.
template <class Problem>
const Recurrence<Problem>& choose(const Recurrence<Problem> (&choices)[2], int batch) {
  return batch <= 2 * choices[0].lanes ? choices[0] : choices[1];
}

template <class Problem>
void run(const Recurrence<Problem> (&choices)[2], const Problem& problem, int threads, float* gradients) {
  const bool backward = gradients;
  const int batch = problem.sequence.batch;
  const Recurrence<Problem>& r = choose(choices, batch);
  const int blocks = (batch + r.lanes - 1) / r.lanes;
  const int groups = backward ? std::min(blocks, kMaxGroups) : blocks;
  const int64_t parameters = backward ? r.parameters(problem) : 0;
  if (backward) std::memset(gradients, 0, sizeof(float) * parameters);
  if (blocks == 0) return;
  threads = std::clamp(threads, 1, groups);

  AlignedFloats plan(r.plan_size(problem));
  const size_t size = (r.scratch_size(problem, backward) + 31) / 16 * 16;
  AlignedFloats scratch(size * threads);
  r.make_plan(problem, plan.data(), backward);
  AlignedFloats partial(groups * parameters);
  parallel(groups, threads, [&](int group, int worker) {
    float* own = partial.data() + group * parameters;
    std::memset(own, 0, sizeof(float) * parameters);
    for (int block = int(int64_t(group) * blocks / groups); block < int64_t(group + 1) * blocks / groups; ++block)
      backward ? r.backward(problem, plan.data(), scratch.data() + worker * size, block, own)
               : r.forward(problem, plan.data(), scratch.data() + worker * size, block);
  });
  for (int group = 0; backward && group < groups; ++group)
    for (int64_t i = 0; i < parameters; ++i) gradients[i] += partial.data()[group * parameters + i];
}

}  // namespace torchliquid
