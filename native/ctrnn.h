// Continuous-time cells dh/dt = tanh(W x + U h + b) - rate h by explicit solvers, lanes over the batch.
//
// With g the gradient of a step's end (see stages.h), that of k_j is d m_j, m_j = w_j g + c_(j+1) times the gradient of
// y_(j+1), and d's is sum m_j k_j.
#pragma once

#include "dense.h"
#include "kernels.h"
#include "math.h"
#include "rows.h"
#include "stages.h"

namespace torchliquid::TORCHLIQUID_ISA {

template <int NV>
struct CtrnnCell {
  static constexpr int L = NV * kWidth;
  const Ctrnn& p;
  int H, C;
  bool grad_input;
  Stages stages;
  int calls;  // of the field, a sample
  float *drive, *recurrent, *drive_back = nullptr, *recurrent_back = nullptr;
  int64_t parameters, forward_rows, slot_rows, backward_rows, block_rows;

  CtrnnCell(const Ctrnn& problem, Arena& plan, bool backward)
      : p(problem),
        H(problem.sequence.units),
        C(problem.sequence.inputs),
        grad_input(problem.sequence.grad_input),
        stages(stages_of(problem.solver)),
        calls(problem.unfolds * stages.count) {
    drive = plan.take(packed_size<NV>(H, C));
    recurrent = plan.take(packed_size<NV>(H, H));
    if (backward) {
      drive_back = plan.take(packed_size<NV>(C, H));
      recurrent_back = plan.take(packed_size<NV>(H, H));
    }
    parameters = int64_t(H) * (C + H + 1) + (p.rate ? H : 0);
    forward_rows = 5 * H;
    // A slot: y and tanh of each call (the latter is later replaced by the gradient of its argument), the sum of these
    // gradients, and the input.
    slot_rows = int64_t(2 * calls + 1) * H + C;
    backward_rows = 5 * H;
    block_rows = p.rate ? (H + NV - 1) / NV : 0;
  }

  void fill(bool backward) {
    pack<NV>(drive, p.drive, p.bias, H, C, C, 1);
    pack<NV>(recurrent, p.recurrent, nullptr, H, H, H, 1);
    if (!backward) return;
    pack<NV>(drive_back, p.drive, nullptr, C, H, 1, C);
    pack<NV>(recurrent_back, p.recurrent, nullptr, H, H, 1, H);
  }

  float* state(float* slot, int call) const { return slot + int64_t(2 * call) * H * L; }
  float* bounded(float* slot, int call) const { return slot + int64_t(2 * call + 1) * H * L; }
  float* sum(float* slot) const { return slot + int64_t(2 * calls) * H * L; }
  float* input(float* slot) const { return sum(slot) + int64_t(H) * L; }

  float rate(int i) const { return p.rate ? p.rate[i] : 0.0f; }

  // `slot` is null if nothing is stored. Rows of work: W x + b, y, tanh, k, sum of w k.
  void run(const float* x, const float* h, const float* span, float* out, float* slot, float* work) const {
    const int64_t size = int64_t(H) * L;
    float *held = work, *k = held + 3 * size, *total = k + size;
    dense<NV>(held, x, drive, H, C);
    memcpy(out, h, sizeof(float) * size);
    V d[NV];
    for (int v = 0; v < NV; ++v) d[v] = load(span + v * kWidth) / float(p.unfolds);
    for (int call = 0, unfold = 0; unfold < p.unfolds; ++unfold) {
      memset(total, 0, sizeof(float) * size);
      for (int j = 0; j < stages.count; ++j, ++call) {
        float *y = slot ? state(slot, call) : held + size, *a = slot ? bounded(slot, call) : held + 2 * size;
        if (j == 0)
          memcpy(y, out, sizeof(float) * size);
        else
          for (int i = 0; i < size; i += L)
            for (int v = 0, at = i; v < NV; ++v, at += kWidth)
              store(y + at, load(out + at) + stages.reach[j] * d[v] * load(k + at));
        dense<NV>(a, y, recurrent, H, H);
        for (int i = 0; i < H; ++i)
          for (int v = 0, at = i * L; v < NV; ++v, at += kWidth) {
            V f = tanh(load(a + at) + load(held + at));
            store(a + at, f);
            f -= rate(i) * load(y + at);
            store(k + at, f);
            store(total + at, load(total + at) + stages.weight[j] * f);
          }
      }
      for (int i = 0; i < size; i += L)
        for (int v = 0, at = i; v < NV; ++v, at += kWidth) store(out + at, load(out + at) + d[v] * load(total + at));
    }
  }

  void forward(const Block<NV>&, int, const float* x, const float* h, const float* span, float* out, float* work) const {
    run(x, h, span, out, nullptr, work);
  }
  void recompute(const Block<NV>&, int, const float* x, const float* h, const float* span, float* slot, float* work) const {
    memcpy(input(slot), x, sizeof(float) * C * L);
    run(x, h, span, sum(slot), slot, work);
  }

  void begin(float* block_state) const { memset(block_state, 0, sizeof(float) * block_rows * L); }
  void finish(float* block_state, float* gradients) const {
    float* own = gradients + int64_t(H) * (C + H + 1);
    for (int i = 0; p.rate && i < H; ++i)
      for (int lane = 0; lane < kWidth; ++lane) own[i] += block_state[i * kWidth + lane];
  }

  void backward(const float*, const float*, const float* span, float* slot, float* grad_out, float* grad_x, float* grad_h,
                float* grad_span, float* work, float* block_state) const {
    const int64_t size = int64_t(H) * L;
    float *to_y = work, *leaked = work + size, *back = work + 2 * size, *g = grad_h, *summed = sum(slot);
    memcpy(g, grad_out, sizeof(float) * size);
    memset(summed, 0, sizeof(float) * size);
    V d[NV], to_span[NV] = {};
    for (int v = 0; v < NV; ++v) d[v] = load(span + v * kWidth) / float(p.unfolds);
    for (int call = calls - 1, unfold = 0; unfold < p.unfolds; ++unfold) {
      float* total = back + size;  // added to g after all stages have read it
      memset(total, 0, sizeof(float) * size);
      memset(to_y, 0, sizeof(float) * size);
      for (int j = stages.count - 1; j >= 0; --j, --call) {
        const float* y = state(slot, call);
        float* a = bounded(slot, call);
        for (int i = 0; i < H; ++i) {
          V to_rate = zero();
          for (int v = 0, at = i * L; v < NV; ++v, at += kWidth) {
            V f = load(a + at), h = load(y + at), m = stages.weight[j] * load(g + at);
            if (j + 1 < stages.count) m += stages.reach[j + 1] * load(to_y + at);
            to_span[v] += m * (f - rate(i) * h);
            V to_k = d[v] * m, to_argument = to_k * (1.0f - f * f);
            to_rate -= to_k * h;
            store(a + at, to_argument);
            store(summed + at, load(summed + at) + to_argument);
            store(leaked + at, rate(i) * to_k);
          }
          if (p.rate) store(block_state + i * kWidth, load(block_state + i * kWidth) + to_rate);
        }
        dense<NV>(back, a, recurrent_back, H, H);
        for (int at = 0; at < size; at += kWidth) {
          V own = load(back + at) - load(leaked + at);
          store(to_y + at, own);
          store(total + at, load(total + at) + own);
        }
      }
      for (int at = 0; at < size; at += kWidth) store(g + at, load(g + at) + load(total + at));
    }
    for (int v = 0; v < NV; ++v) store(grad_span + v * kWidth, to_span[v] / float(p.unfolds));
    if (grad_input) dense<NV>(grad_x, summed, drive_back, C, H);
  }

  void accumulate(float* slots, int64_t stride, int steps, float* gradients, float*, float* turned) const {
    float *to_recurrent = gradients + int64_t(H) * C, *to_bias = to_recurrent + int64_t(H) * H;
    outer<NV>(gradients, sum(slots), H, input(slots), C, stride, steps, turned);
    add_lane_sums<NV>(to_bias, sum(slots), H, stride, steps);
    for (int call = 0; call < calls; ++call)
      outer<NV>(to_recurrent, bounded(slots, call), H, state(slots, call), H, stride, steps, turned);
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
