// The LSTM cell of mixed-memory networks, which runs before the liquid cell of each step.
#pragma once

#include "dense.h"
#include "kernels.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

template <int NV>
struct Memory {
  static constexpr int L = NV * kWidth;
  bool active;
  int H;
  int64_t slot_rows;
  const float* drive;
  float *packed = nullptr, *packed_back = nullptr;

  Memory(const Sequence& s, Arena& plan, bool backward) : active(s.drive), H(s.units), drive(s.drive) {
    slot_rows = active ? 8 * H : 0;
    if (active) packed = plan.take(packed_size<NV>(4 * H, H));
    if (active && backward) packed_back = plan.take(packed_size<NV>(H, 4 * H));
  }
  void fill(const Sequence& s, bool backward) {
    if (active) pack<NV>(packed, s.memory, nullptr, 4 * H, H, H, 1);
    if (active && backward) pack<NV>(packed_back, s.memory, nullptr, H, 4 * H, 1, H);
  }

  // A slot: the gates' values (4H), the cell before, the cell after, its tanh, the new h.
  float* cell_before(float* slot) const { return slot + 4 * H * L; }
  float* new_cell(float* slot) const { return slot + 5 * H * L; }
  float* tanh_cell(float* slot) const { return slot + 6 * H * L; }
  float* remembered(float* slot) const { return slot + 7 * H * L; }
  float* grad_gates(float* slot) const { return slot; }

  void forward(const Block<NV>& b, int t, const float* h, const float* c, float* slot) const {
    // The space of the last four parts holds the drive until it has been used, row by row.
    float* driven = slot + 4 * H * L;
    dense<NV>(slot, h, packed, 4 * H, H);
    b.load(driven, drive, t, 4 * H);
    for (int i = 0; i < 4 * H * L; i += kWidth) store(slot + i, load(slot + i) + load(driven + i));
    memcpy(cell_before(slot), c, sizeof(float) * H * L);
    const int gate = H * L;
    for (int i = 0; i < H * L; i += kWidth) {
      V in = tanh(load(slot + i)), let = sigmoid(load(slot + gate + i));
      V keep = sigmoid(load(slot + 2 * gate + i) + 1.0f), out = sigmoid(load(slot + 3 * gate + i));
      V cell = keep * load(c + i) + let * in, bounded = tanh(cell);
      store(slot + i, in);
      store(slot + gate + i, let);
      store(slot + 2 * gate + i, keep);
      store(slot + 3 * gate + i, out);
      store(new_cell(slot) + i, cell);
      store(tanh_cell(slot) + i, bounded);
      store(remembered(slot) + i, out * bounded);
    }
  }

  // Takes the gradients of the new h, which it replaces by that of the previous h, and of the new cell.
  void backward(float* slot, float* grad_h, const float* grad_cell, float* grad_cell_before) const {
    const int gate = H * L;
    for (int i = 0; i < H * L; i += kWidth) {
      V in = load(slot + i), let = load(slot + gate + i), keep = load(slot + 2 * gate + i);
      V out = load(slot + 3 * gate + i), bounded = load(tanh_cell(slot) + i), gh = load(grad_h + i);
      V gc = load(grad_cell + i) + gh * out * (1.0f - bounded * bounded);
      store(slot + i, gc * let * (1.0f - in * in));
      store(slot + gate + i, gc * in * (let - let * let));
      store(slot + 2 * gate + i, gc * load(cell_before(slot) + i) * (keep - keep * keep));
      store(slot + 3 * gate + i, gh * bounded * (out - out * out));
      store(grad_cell_before + i, gc * keep);
    }
    dense<NV>(grad_h, slot, packed_back, H, 4 * H);
  }

  void accumulate(const float* h, const float* slot, int64_t stride, int steps, float* gradients,
                  float* turned) const {
    outer<NV>(gradients, slot, 4 * H, h, H, stride, steps, turned);
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
