// A GRU cell with lanes over the batch. The gates are in PyTorch's order: reset, keep, new.
#pragma once

#include "dense.h"
#include "kernels.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

template <int NV>
struct GruUpdate {
  static constexpr int L = NV * kWidth;
  const Gru& p;
  int H, C;
  bool grad_input;
  float *from_input, *from_state, *to_input = nullptr, *to_state = nullptr;
  int64_t parameters, slot_rows;

  GruUpdate(const Gru& weights, const Sequence& s, Arena& plan, bool backward)
      : p(weights), H(s.units), C(s.inputs), grad_input(s.grad_input) {
    from_input = plan.take(packed_size<NV>(3 * H, C));
    from_state = plan.take(packed_size<NV>(3 * H, H));
    if (backward) {
      to_input = plan.take(packed_size<NV>(C, 3 * H));
      to_state = plan.take(packed_size<NV>(H, 3 * H));
    }
    parameters = int64_t(3 * H) * (C + H + 2);
    slot_rows = C + 7 * H;
  }
  void fill(bool backward) {
    pack<NV>(from_input, p.input, p.input_bias, 3 * H, C, C, 1);
    pack<NV>(from_state, p.state, p.state_bias, 3 * H, H, H, 1);
    if (!backward) return;
    pack<NV>(to_input, p.input, nullptr, C, 3 * H, 1, C);
    pack<NV>(to_state, p.state, nullptr, H, 3 * H, 1, H);
  }

  // A slot: the sample and the previous state, which the caller writes, and their parts of the gates.
  float* input(float* slot) const { return slot; }
  float* state(float* slot) const { return slot + C * L; }
  float* input_share(float* slot) const { return slot + (C + H) * L; }
  float* state_share(float* slot) const { return slot + (C + 4 * H) * L; }

  // Overwrites the input's parts with the gates' values.
  void forward(float* slot, float* out) const {
    float *gates = input_share(slot), *shares = state_share(slot), *h = state(slot);
    const int part = H * L;
    dense<NV>(gates, input(slot), from_input, 3 * H, C);
    dense<NV>(shares, h, from_state, 3 * H, H);
    for (int at = 0; at < part; at += kWidth) {
      V reset = sigmoid(load(gates + at) + load(shares + at));
      V keep = sigmoid(load(gates + part + at) + load(shares + part + at));
      V fresh = tanh(load(gates + 2 * part + at) + reset * load(shares + 2 * part + at));
      store(gates + at, reset);
      store(gates + part + at, keep);
      store(gates + 2 * part + at, fresh);
      store(out + at, fresh + keep * (load(h + at) - fresh));
    }
  }

  // Overwrites the parts with their gradients. `back`: workspace of H rows.
  void backward(float* slot, const float* grad_out, float* grad_x, float* grad_h, float* back) const {
    float *gates = input_share(slot), *shares = state_share(slot);
    const float* h = state(slot);
    const int part = H * L;
    for (int at = 0; at < part; at += kWidth) {
      V g = load(grad_out + at), reset = load(gates + at), keep = load(gates + part + at);
      V fresh = load(gates + 2 * part + at);
      V to_fresh = g * (1.0f - keep) * (1.0f - fresh * fresh);
      V to_reset = to_fresh * load(shares + 2 * part + at) * (reset - reset * reset);
      V to_keep = g * (load(h + at) - fresh) * (keep - keep * keep);
      for (float* to : {gates, shares}) {
        store(to + at, to_reset);
        store(to + part + at, to_keep);
      }
      store(gates + 2 * part + at, to_fresh);
      store(shares + 2 * part + at, to_fresh * reset);
      store(grad_h + at, g * keep);
    }
    dense<NV>(back, shares, to_state, H, 3 * H);
    for (int at = 0; at < part; at += kWidth) store(grad_h + at, load(grad_h + at) + load(back + at));
    if (grad_input) dense<NV>(grad_x, gates, to_input, C, 3 * H);
  }

  void accumulate(float* slots, int64_t stride, int steps, float* gradients, float* turned) const {
    float* to_state_weight = gradients + int64_t(3 * H) * C;
    float* to_bias = to_state_weight + int64_t(3 * H) * H;
    outer<NV>(gradients, input_share(slots), 3 * H, input(slots), C, stride, steps, turned);
    outer<NV>(to_state_weight, state_share(slots), 3 * H, state(slots), H, stride, steps, turned);
    add_lane_sums<NV>(to_bias, input_share(slots), 3 * H, stride, steps);
    add_lane_sums<NV>(to_bias + 3 * H, state_share(slots), 3 * H, stride, steps);
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
