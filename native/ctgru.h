// Continuous-time GRU cells (arXiv 1710.04110): traces that decay with time constants tau_i = 10^(i / 2), i < M, lanes
// over the batch. The state is the traces, with those of one unit next to each other.
//
// A gate is a softmax over the scales, s_i ~ exp -(l - ln tau_i)^2, where l is the dense layer's output. For any a_i,
// the gradient of sum s_i a_i with respect to l is twice the covariance of a and ln tau under s.
#pragma once

#include "dense.h"
#include "kernels.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

constexpr float kLogTauStep = 1.15129254649702284f;  // ln tau_(i + 1) - ln tau_i

// Sums of a gate's weights, not yet divided by their total, with those of two quantities: d, the place of a scale, and a.
struct Gate {
  V total = zero(), d = zero(), a = zero(), both = zero();
  TL_INLINE void add(V weight, V place, V value) {
    V weighted = weight * value;
    total += weight;
    d += weight * place;
    a += weighted;
    both += place * weighted;
  }
  TL_INLINE V slope() const {
    V one = reciprocal(total);
    return 2.0f * one * (both - d * a * one);
  }
};

template <int NV>
struct CtgruCell {
  static constexpr int L = NV * kWidth;
  const Ctgru& p;
  int M, U, C, skipped;  // scales, units, inputs, inputs without a gradient
  float *gates, *signal, *gates_back = nullptr, *signal_back = nullptr, *rates;
  int64_t parameters, forward_rows, slot_rows, backward_rows, block_rows = 0;

  CtgruCell(const Ctgru& problem, Arena& plan, bool backward)
      : p(problem),
        M(problem.scales),
        U(problem.sequence.units / problem.scales),
        C(problem.sequence.inputs),
        skipped(problem.sequence.grad_input ? 0 : C) {
    gates = plan.take(packed_size<NV>(2 * U, C + U));
    signal = plan.take(packed_size<NV>(U, C + U));
    rates = plan.take(M);
    if (backward) {
      gates_back = plan.take(packed_size<NV>(C + U - skipped, 2 * U));
      signal_back = plan.take(packed_size<NV>(C + U - skipped, U));
    }
    parameters = int64_t(3 * U) * (C + U + 1);
    // A slot: the inputs of gates and signal, their outputs (later the gradients of these), and the traces' decay.
    slot_rows = 2 * (C + U) + 3 * U + M;
    forward_rows = slot_rows + M;
    backward_rows = C + U + M;
  }

  void fill(bool backward) {
    const int width = C + U;
    double rate = 1;
    for (int i = 0; i < M; ++i, rate /= 3.16227766016837933) rates[i] = float(rate);
    pack<NV>(gates, p.gates, nullptr, 2 * U, width, width, 1);
    pack<NV>(signal, p.signal, p.signal_bias, U, width, width, 1);
    if (!backward) return;
    pack<NV>(gates_back, p.gates + skipped, nullptr, width - skipped, 2 * U, 1, width);
    pack<NV>(signal_back, p.signal + skipped, nullptr, width - skipped, U, 1, width);
  }

  // Rows of a slot.
  float* to_gates(float* slot) const { return slot; }
  float* to_signal(float* slot) const { return slot + (C + U) * L; }
  float* read_gate(float* slot) const { return slot + 2 * (C + U) * L; }
  float* store_gate(float* slot) const { return read_gate(slot) + U * L; }
  float* bounded(float* slot) const { return read_gate(slot) + 2 * U * L; }
  float* losses(float* slot) const { return read_gate(slot) + 3 * U * L; }

  // A decayed trace. The lost part is subtracted: the rounding of a factor just below 1 would add up over the steps.
  TL_INLINE V trace(const float* h, const float* lost, int u, int i, int v) const {
    V before = load(h + (u * M + i) * L + v);
    return before - before * load(lost + i * L + v);
  }

  // ln tau of a gate. The bias, which can be large, is added last: added first, the sum would lose its last digits.
  TL_INLINE V reading(float* slot, int u, int v) const { return load(read_gate(slot) + u * L + v) + p.gates_bias[u]; }
  TL_INLINE V storing(float* slot, int u, int v) const { return load(store_gate(slot) + u * L + v) + p.gates_bias[U + u]; }

  // Calls f(i, place, weight) for each scale: its place from the one nearest to log_tau, and its weight, at most 1.
  template <class F>
  TL_INLINE void each_scale(V log_tau, F f) const {
    constexpr float beyond = 64;  // from here on all weights but the nearest are 0
    V l = at_most(at_least(log_tau, -beyond), float(M - 1) * kLogTauStep + beyond);
    V whole = (l * (1 / kLogTauStep) + 12582912.0f) - 12582912.0f;
    V nearest = at_most(at_least(whole, 0), float(M - 1)) * kLogTauStep;
    V twice = (l - nearest) * (2 * kLog2e);
    for (int i = 0; i < M; ++i) {
      V place = float(i) * kLogTauStep - nearest;
      f(i, place, power_of_two(place * (twice - place * kLog2e)));
    }
  }

  void recompute(const Block<NV>&, int, const float* x, const float* h, const float* span, float* slot, float*) const {
    float *sums = to_gates(slot) + C * L, *read = to_signal(slot) + C * L, *q = bounded(slot), *lost = losses(slot);
    memcpy(to_gates(slot), x, sizeof(float) * C * L);
    memcpy(to_signal(slot), x, sizeof(float) * C * L);
    for (int i = 0; i < M; ++i)
      for (int v = 0; v < L; v += kWidth)
        store(lost + i * L + v, -power_less_one(split(at_least(load(span + v) * (-rates[i] * kLog2e), -126.0f))));
    for (int u = 0; u < U; ++u)
      for (int v = 0; v < L; v += kWidth) {
        V sum = zero();
        for (int i = 0; i < M; ++i) sum += trace(h, lost, u, i, v);
        store(sums + u * L + v, sum);
      }
    dense<NV>(read_gate(slot), to_gates(slot), gates, 2 * U, C + U);
    for (int u = 0; u < U; ++u)
      for (int v = 0; v < L; v += kWidth) {
        V total = zero(), sum = zero();
        each_scale(reading(slot, u, v), [&](int i, V, V weight) {
          total += weight;
          sum += weight * trace(h, lost, u, i, v);
        });
        store(read + u * L + v, sum * reciprocal(total));
      }
    dense<NV>(q, to_signal(slot), signal, U, C + U);
    for (int at = 0; at < U * L; at += kWidth) store(q + at, tanh(load(q + at)));
  }

  void forward(const Block<NV>& b, int t, const float* x, const float* h, const float* span, float* out, float* slot) const {
    float* weights = slot + slot_rows * L;
    recompute(b, t, x, h, span, slot, nullptr);
    for (int u = 0; u < U; ++u)
      for (int v = 0; v < L; v += kWidth) {
        V total = zero(), q = load(bounded(slot) + u * L + v);
        each_scale(storing(slot, u, v), [&](int i, V, V weight) {
          total += weight;
          store(weights + i * kWidth, weight);
        });
        V share = reciprocal(total);
        for (int i = 0; i < M; ++i) {
          V e = trace(h, losses(slot), u, i, v);
          store(out + (u * M + i) * L + v, e + share * load(weights + i * kWidth) * (q - e));
        }
      }
  }

  void begin(float*) const {}
  void finish(float*, float*) const {}

  // Meanwhile, grad_h is the gradient of the decayed traces.
  void backward(const float*, const float* h, const float*, float* slot, float* grad_out, float* grad_x,
                float* grad_h, float* grad_span, float* work, float*) const {
    float *back = work, *weights = work + (C + U) * L, *lost = losses(slot);
    const int shown = C - skipped;
    for (int u = 0; u < U; ++u)
      for (int v = 0; v < L; v += kWidth) {
        const int unit = u * L + v;
        V q = load(bounded(slot) + unit), to_q = zero();
        Gate gate;
        each_scale(storing(slot, u, v), [&](int i, V place, V weight) {
          V g = load(grad_out + (u * M + i) * L + v);
          gate.add(weight, place, g * (q - trace(h, lost, u, i, v)));
          to_q += weight * g;
          store(weights + i * kWidth, weight);
        });
        V share = reciprocal(gate.total);
        for (int i = 0; i < M; ++i) {
          const int at = (u * M + i) * L + v;
          V g = load(grad_out + at);
          store(grad_h + at, g - g * share * load(weights + i * kWidth));
        }
        store(store_gate(slot) + unit, gate.slope());
        store(bounded(slot) + unit, to_q * share * (1.0f - q * q));
      }
    dense<NV>(back, bounded(slot), signal_back, shown + U, U);
    memcpy(grad_x, back, sizeof(float) * shown * L);
    for (int u = 0; u < U; ++u)
      for (int v = 0; v < L; v += kWidth) {
        V to_read = load(back + (shown + u) * L + v);
        Gate gate;
        each_scale(reading(slot, u, v), [&](int i, V place, V weight) {
          gate.add(weight, place, trace(h, lost, u, i, v));
          store(weights + i * kWidth, weight);
        });
        V share = to_read * reciprocal(gate.total);
        for (int i = 0; i < M; ++i) {
          const int at = (u * M + i) * L + v;
          store(grad_h + at, load(grad_h + at) + share * load(weights + i * kWidth));
        }
        store(read_gate(slot) + u * L + v, to_read * gate.slope());
      }
    dense<NV>(back, read_gate(slot), gates_back, shown + U, 2 * U);
    for (int at = 0; at < shown * L; at += kWidth) store(grad_x + at, load(grad_x + at) + load(back + at));
    V to_span[NV] = {};
    for (int u = 0; u < U; ++u)
      for (int v = 0; v < NV; ++v) {
        V to_sum = load(back + (shown + u) * L + v * kWidth);
        for (int i = 0; i < M; ++i) {
          const int at = (u * M + i) * L + v * kWidth;
          V own = (load(grad_h + at) + to_sum) * (1.0f - load(lost + i * L + v * kWidth));
          to_span[v] -= own * load(h + at) * rates[i];
          store(grad_h + at, own);
        }
      }
    for (int v = 0; v < NV; ++v) store(grad_span + v * kWidth, to_span[v]);
  }

  void accumulate(float* slots, int64_t stride, int steps, float* gradients, float*, float* turned) const {
    const int width = C + U;
    auto add = [&](float* weight, const float* grad, int outputs, const float* in) {
      outer<NV>(weight, grad, outputs, in, width, stride, steps, turned);
      add_lane_sums<NV>(weight + int64_t(outputs) * width, grad, outputs, stride, steps);
    };
    add(gradients, read_gate(slots), 2 * U, to_gates(slots));
    add(gradients + int64_t(2 * U) * (width + 1), bounded(slots), U, to_signal(slots));
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
