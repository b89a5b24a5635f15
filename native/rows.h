// Blocks of sequences as rows of lanes: reads tensors into rows and back, and knows the sequences' lengths.
#pragma once

#include <cstring>

#include "kernels.h"
#include "vec.h"

namespace torchliquid::TORCHLIQUID_ISA {

// Divides the caller's memory into pieces of whole cache lines. Without memory, it only computes the size.
struct Arena {
  float* memory;
  size_t used = 0;
  float* take(int64_t floats) {
    float* piece = memory ? memory + used : nullptr;
    used += size_t(floats + 15) / 16 * 16;
    return piece;
  }
};

template <int NV>
struct Block {
  static constexpr int L = NV * kWidth;
  int64_t first;           // sample of the first lane
  int count;               // lanes that have a sample
  int64_t time;
  int steps = 0;           // the longest sequence
  int whole = 1 << 30;     // up to this step every lane is active
  alignas(64) int32_t until[L];  // lane active while t < until; 0 for lanes without a sample

  Block(const Sequence& s, int block) : first(int64_t(block) * L), time(s.time) {
    count = int(s.batch - first < L ? s.batch - first : L);
    for (int lane = 0; lane < L; ++lane) {
      int64_t length = lane < count ? (s.lengths ? s.lengths[first + lane] : time) : 0;
      until[lane] = int32_t(length > time ? time : length < 0 ? 0 : length);
      if (until[lane] > steps) steps = until[lane];
      if (until[lane] < whole) whole = until[lane];
    }
  }

  I active(int t, int v) const {
    I end;
    memcpy(&end, until + v * kWidth, sizeof(end));
    return end > t;
  }

  // rows[j] = tensor[sample, t, j], 0 for lanes that have ended, because padding must not reach a weight's gradient.
  void load(float* rows, const float* tensor, int t, int n) const { gather(rows, tensor, t, n, t); }
  // The same for the step before t, in lanes that are active at t.
  void load_before(float* rows, const float* tensor, int t, int n) const { gather(rows, tensor, t - 1, n, t); }
  // The same for all lanes that have a sample.
  void load_always(float* rows, const float* tensor, int t, int n) const { gather(rows, tensor, t, n, -1); }
  // rows[j] = tensor[sample, j].
  void load_state(float* rows, const float* tensor, int n) const {
    transpose_in(rows, tensor + first * n, n, n, [&](int lane) { return lane < count; });
  }
  void store_state(float* tensor, const float* rows, int n) const {
    transpose_out(tensor + first * n, n, rows, n, [&](int lane) { return lane < count; });
  }
  // tensor[sample, t, j] = rows[j], for every sample or for those that are active.
  void store(float* tensor, const float* rows, int t, int n, bool active_only = false) const {
    const int from = active_only ? t : -1;
    transpose_out(tensor + (first * time + t) * n, time * n, rows, n,
                  [&](int lane) { return lane < count && until[lane] > from; });
  }

  // to = active ? from : to.
  void update(float* to, const float* from, int t, int n) const {
    if (t < whole) {
      memcpy(to, from, sizeof(float) * n * L);
      return;
    }
    for (int v = 0; v < NV; ++v) {
      I mask = active(t, v);
      for (int i = v * kWidth; i < n * L; i += L)
        torchliquid::TORCHLIQUID_ISA::store(to + i, choose(mask, at(from + i), at(to + i)));
    }
  }
  // to = active ? from : 0.
  void only_active(float* to, const float* from, int t, int n) const {
    memset(to, 0, sizeof(float) * n * L);
    update(to, from, t, n);
  }

 private:
  static V at(const float* p) { return torchliquid::TORCHLIQUID_ISA::load(p); }

  void gather(float* rows, const float* tensor, int t, int n, int from) const {
    transpose_in(rows, tensor + (first * time + t) * n, time * n, n,
                 [&](int lane) { return lane < count && until[lane] > from; });
  }

  // Tiles of kWidth samples and as many columns go through registers. Neighbouring samples are a whole sequence apart,
  // too far for the hardware's prefetcher, so the rows of the next and the previous step are prefetched here.
  template <class Wanted>
  static void transpose_in(float* rows, const float* base, int64_t stride, int n, Wanted wanted) {
    for (int v = 0; v < L; v += kWidth)
      for (int j = 0; j < n; j += kWidth) {
        const int columns = n - j < kWidth ? n - j : kWidth;
        V x[kWidth];
        for (int lane = 0; lane < kWidth; ++lane) {
          const float* from = base + (v + lane) * stride + j;
          const bool there = wanted(v + lane);
          x[lane] = there ? load_first(from, columns) : zero();
          if (there) __builtin_prefetch(from + n), __builtin_prefetch(from - n);
        }
        transpose(x);
        for (int i = 0; i < columns; ++i) torchliquid::TORCHLIQUID_ISA::store(rows + (j + i) * L + v, x[i]);
      }
  }
  template <class Wanted>
  static void transpose_out(float* base, int64_t stride, const float* rows, int n, Wanted wanted) {
    for (int v = 0; v < L; v += kWidth)
      for (int j = 0; j < n; j += kWidth) {
        const int columns = n - j < kWidth ? n - j : kWidth;
        V x[kWidth];
        for (int i = 0; i < kWidth; ++i) x[i] = i < columns ? at(rows + (j + i) * L + v) : zero();
        transpose(x);
        for (int lane = 0; lane < kWidth; ++lane)
          if (wanted(v + lane)) store_first(base + (v + lane) * stride + j, x[lane], columns);
      }
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
