// Closed-form continuous-time cells: dense layers with lanes over the batch, alone or as a wired stack.
#pragma once

#include "dense.h"
#include "kernels.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

// One dense layer packed for both directions, with the places of its rows in a slot.
struct DenseLayer {
  int outputs, inputs;
  const float *weight, *bias;
  float *packed, *packed_back;
  int skipped;           // first inputs that need no gradient
  int64_t at_out;        // rows in a slot: outputs, later their gradients
  int64_t at_slope;      // backbone only: the activation's slope, times the dropout mask; then the gradient
  int64_t at_gradient;   // place in the parameters' gradients
};

template <int NV>
struct CfcCell {
  static constexpr int L = NV * kWidth;
  const Cfc& p;
  int H, C, widest = 0;
  bool pure;
  // If all spans are equal, the gate's maps a and b are merged into one map, span * a + b, which saves a quarter of the
  // heads' work. They are not merged if the gradient of the span is needed, since it needs a alone.
  bool merged;
  DenseLayer backbone[kMaxLayers], heads[kMaxLayers];
  float* merged_heads[kMaxLayers];
  int64_t at_in[kMaxLayers], first_unit[kMaxLayers + 1];  // rows in a slot of each layer's input; its part of the state
  int64_t parameters = 0, forward_rows, slot_rows = 0, backward_rows, block_rows;

  CfcCell(const Cfc& problem, Arena& plan, bool backward)
      : p(problem), H(problem.sequence.units), C(problem.sequence.inputs), pure(problem.mode == Mode::pure),
        merged(!pure && problem.common_span && !problem.sequence.grad_timespan) {
    const int outputs_per_unit = pure ? 1 : merged ? 3 : 4;
    auto lay = [&](DenseLayer& d, int outputs, int inputs, const float* weight, const float* bias, int skipped) {
      d = {outputs, inputs, weight, bias, plan.take(packed_size<NV>(outputs, inputs)), nullptr, skipped, 0, 0, parameters};
      if (backward) d.packed_back = plan.take(packed_size<NV>(inputs - skipped, outputs));
      parameters += int64_t(outputs) * (inputs + 1);
      d.at_out = slot_rows;
      slot_rows += outputs;
      if (outputs > widest) widest = outputs;
      if (inputs > widest) widest = inputs;
    };
    first_unit[0] = 0;
    int inputs = C;
    for (int l = 0; l < p.layers; ++l) {
      first_unit[l + 1] = first_unit[l] + p.layer_units[l];
      at_in[l] = slot_rows;
      slot_rows += inputs + p.layer_units[l];
      int width = inputs + p.layer_units[l], skipped = l == 0 && !problem.sequence.grad_input ? C : 0;
      if (width > widest) widest = width;
      for (int i = 0; i < p.backbone_layers; ++i) {
        lay(backbone[i], p.backbone_units[i], width, p.backbone_weight[i], p.backbone_bias[i], skipped);
        backbone[i].at_slope = slot_rows;
        slot_rows += p.backbone_units[i];
        width = p.backbone_units[i];
        skipped = 0;
      }
      const int outputs = outputs_per_unit * p.layer_units[l];
      lay(heads[l], outputs, width, p.head_weight[l], p.head_bias[l], skipped);
      if (pure) parameters += 2 * p.layer_units[l];
      if (merged) {
        parameters += int64_t(p.layer_units[l]) * (width + 1);
        slot_rows += p.layer_units[l];
        float* own = merged_heads[l] = plan.take(int64_t(outputs) * (width + 1));
        heads[l].weight = own;
        heads[l].bias = own + int64_t(outputs) * width;
      }
      inputs = p.layer_units[l];
    }
    forward_rows = slot_rows + widest;
    backward_rows = H + widest;
    block_rows = pure ? (2 * H + NV - 1) / NV : 0;
  }

  void fill(bool backward) {
    auto fill_layer = [&](DenseLayer& d) {
      pack<NV>(d.packed, d.weight, d.bias, d.outputs, d.inputs, d.inputs, 1);
      if (backward) pack<NV>(d.packed_back, d.weight + d.skipped, nullptr, d.inputs - d.skipped, d.outputs, 1, d.inputs);
    };
    for (int i = 0; i < p.backbone_layers; ++i) fill_layer(backbone[i]);
    for (int l = 0; l < p.layers; ++l) {
      if (merged) {
        float* own = merged_heads[l];
        own = merge(own, p.head_weight[l], int64_t(p.layer_units[l]) * heads[l].inputs);
        merge(own, p.head_bias[l], p.layer_units[l]);
      }
      fill_layer(heads[l]);
    }
  }
  // Merges four parts of n numbers, f, g, a, b, to three, f, g, span * a + b. Returns the position after them.
  float* merge(float* to, const float* parts, int64_t n) const {
    memcpy(to, parts, sizeof(float) * 2 * n);
    for (int64_t i = 2 * n; i < 3 * n; ++i) to[i] = *p.common_span * parts[i] + parts[n + i];
    return to + 3 * n;
  }

  template <bool with_slope>
  void activate_rows(float* rows, float* slopes, const float* mask, int n) const {
    with_activation(Activation(p.activation), [=](auto activation) {
      for (int i = 0; i < n * L; i += kWidth) {
        V slope, y = activate<activation.value, with_slope>(load(rows + i), &slope);
        if (mask) {
          V m = load(mask + i);
          y *= m;
          slope *= m;
        }
        store(rows + i, y);
        if (with_slope) store(slopes + i, slope);
      }
    });
  }

  // Computes the new state of layer l from the heads' outputs, and overwrites these with what backward needs: tanh f,
  // tanh g, a, s, or f in mode pure. Merged heads have no a; its place is unused.
  void combine(int l, float* y, const float* span, float* out) const {
    const int n = p.layer_units[l], part = n * L;
    for (int i = 0; i < n; ++i)
      for (int v = 0; v < NV; ++v) {
        const int at = i * L + v * kWidth;
        V t = load(span + v * kWidth), f = load(y + at);
        if (pure) {
          const float amplitude = p.amplitude[l][i], w_tau = p.w_tau[l][i];
          V decay = exp(-t * (absolute(f) + (w_tau < 0 ? -w_tau : w_tau)));
          store(out + at, amplitude - amplitude * decay * f);
          continue;
        }
        V gate = load(y + 2 * part + at);
        if (!merged) gate = gate * t + load(y + 3 * part + at);
        V g = tanh(load(y + part + at)), s = sigmoid(gate);
        f = tanh(f);
        store(out + at, p.mode == Mode::no_gate ? f + s * g : (1.0f - s) * f + s * g);
        store(y + at, f);
        store(y + part + at, g);
        store(y + 3 * part + at, s);
      }
  }

  // Computes the gradient of the heads' outputs from that of the new state of layer l, and adds to that of the span.
  void combine_back(int l, float* y, const float* span, const float* grad, V* to_span, float* block_state) const {
    const int n = p.layer_units[l], part = n * L;
    float* sums = block_state + 2 * first_unit[l] * kWidth;
    for (int i = 0; i < n; ++i)
      for (int v = 0; v < NV; ++v) {
        const int at = i * L + v * kWidth;
        V t = load(span + v * kWidth), f = load(y + at), to_h = load(grad + at);
        if (pure) {
          const float amplitude = p.amplitude[l][i], w_tau = p.w_tau[l][i], size = w_tau < 0 ? -w_tau : w_tau;
          V rate = absolute(f) + size, decay = exp(-t * rate), away = to_h * amplitude * decay;
          store(y + at, -away * (1.0f - t * absolute(f)));
          to_span[v] += away * f * rate;
          float* own = sums + 2 * i * kWidth;
          store(own, load(own) + away * f * t);
          store(own + kWidth, load(own + kWidth) + to_h * (1.0f - decay * f));
          continue;
        }
        V g = load(y + part + at), a = load(y + 2 * part + at), s = load(y + 3 * part + at);
        const bool gated = p.mode == Mode::standard;
        V to_gate = to_h * (gated ? g - f : g) * (s - s * s);
        store(y + at, to_h * (gated ? 1.0f - s : broadcast(1.0f)) * (1.0f - f * f));
        store(y + part + at, to_h * s * (1.0f - g * g));
        if (merged) {
          store(y + 2 * part + at, to_gate);
          continue;
        }
        store(y + 2 * part + at, to_gate * t);
        store(y + 3 * part + at, to_gate);
        to_span[v] += to_gate * a;
      }
  }

  template <bool for_backward>
  void run(const Block<NV>& b, int t, const float* x, const float* h, const float* span, float* out, float* slot,
           float* mask_rows) const {
    int inputs = C;
    for (int l = 0; l < p.layers; ++l) {
      const int n = p.layer_units[l];
      float *in = slot + at_in[l] * L, *y = slot + heads[l].at_out * L;
      memcpy(in, x, sizeof(float) * inputs * L);
      memcpy(in + inputs * L, h + first_unit[l] * L, sizeof(float) * n * L);
      for (int i = 0; i < p.backbone_layers; ++i) {
        const DenseLayer& d = backbone[i];
        float* z = slot + d.at_out * L;
        dense<NV>(z, in, d.packed, d.outputs, d.inputs);
        if (p.dropout[i]) b.load(mask_rows, p.dropout[i], t, d.outputs);
        activate_rows<for_backward>(z, slot + d.at_slope * L, p.dropout[i] ? mask_rows : nullptr, d.outputs);
        in = z;
      }
      dense<NV>(y, in, heads[l].packed, heads[l].outputs, heads[l].inputs);
      float* state = out + first_unit[l] * L;
      combine(l, y, span, state);
      x = state;
      inputs = n;
    }
  }

  void forward(const Block<NV>& b, int t, const float* x, const float* h, const float* span, float* out, float* work) const {
    run<false>(b, t, x, h, span, out, work, work + slot_rows * L);
  }
  // The new states are only needed as inputs of the layers above.
  void recompute(const Block<NV>& b, int t, const float* x, const float* h, const float* span, float* slot, float* work) const {
    run<true>(b, t, x, h, span, work, slot, work + H * L);
  }

  void begin(float* block_state) const { memset(block_state, 0, sizeof(float) * block_rows * L); }
  void finish(float* block_state, float* gradients) const {
    for (int l = 0; merged && l < p.layers; ++l) {
      // The gradient of the merged map is at the position of b's. That of a is the same, times the span.
      const int64_t weights = int64_t(p.layer_units[l]) * heads[l].inputs, biases = p.layer_units[l];
      float* own = gradients + heads[l].at_gradient;
      for (int64_t i = 0; i < weights; ++i) own[2 * weights + i] = *p.common_span * own[3 * weights + i];
      own += 4 * weights;
      for (int64_t i = 0; i < biases; ++i) own[2 * biases + i] = *p.common_span * own[3 * biases + i];
    }
    if (!pure) return;
    const float* sums = block_state;
    for (int l = 0; l < p.layers; ++l) {
      float* w_tau = gradients + heads[l].at_gradient + int64_t(heads[l].outputs) * (heads[l].inputs + 1);
      float* amplitude = w_tau + p.layer_units[l];
      for (int i = 0; i < p.layer_units[l]; ++i, sums += 2 * kWidth) {
        float decayed = 0, scaled = 0;
        for (int lane = 0; lane < kWidth; ++lane) {
          decayed += sums[lane];
          scaled += sums[kWidth + lane];
        }
        const float w = p.w_tau[l][i];
        w_tau[i] += w > 0 ? decayed : w < 0 ? -decayed : w == 0 ? 0.0f : w;
        amplitude[i] += scaled;
      }
    }
  }

  void backward(const float*, const float*, const float* span, float* slot, float* grad_out, float* grad_x, float* grad_h,
                float* grad_span, float* work, float* block_state) const {
    V to_span[NV] = {};
    for (int l = p.layers - 1; l >= 0; --l) {
      const int n = p.layer_units[l], inputs = l ? p.layer_units[l - 1] : C;
      const DenseLayer* d = &heads[l];
      float *grad = slot + d->at_out * L, *back = work;
      combine_back(l, grad, span, grad_out + first_unit[l] * L, to_span, block_state);
      dense<NV>(back, grad, d->packed_back, d->inputs - d->skipped, d->outputs);
      for (int i = p.backbone_layers - 1; i >= 0; --i) {
        d = &backbone[i];
        grad = slot + d->at_slope * L;
        for (int at = 0; at < d->outputs * L; at += kWidth) store(grad + at, load(grad + at) * load(back + at));
        dense<NV>(back, grad, d->packed_back, d->inputs - d->skipped, d->outputs);
      }
      if (l) {
        float* below = grad_out + first_unit[l - 1] * L;
        for (int at = 0; at < inputs * L; at += kWidth) store(below + at, load(below + at) + load(back + at));
        back += inputs * L;
      } else if (!d->skipped) {
        memcpy(grad_x, back, sizeof(float) * inputs * L);
        back += inputs * L;
      }
      memcpy(grad_h + first_unit[l] * L, back, sizeof(float) * n * L);
    }
    for (int v = 0; v < NV; ++v) store(grad_span + v * kWidth, to_span[v]);
  }

  void accumulate(const float* slots, int64_t stride, int steps, float* gradients, float*, float* turned) const {
    auto add = [&](float* weight, float* bias, int64_t at_grad, int outputs, int64_t at_input, int inputs) {
      outer<NV>(weight, slots + at_grad * L, outputs, slots + at_input * L, inputs, stride, steps, turned);
      add_lane_sums<NV>(bias, slots + at_grad * L, outputs, stride, steps);
    };
    for (int l = 0; l < p.layers; ++l) {
      int64_t at_input = at_in[l];
      for (int i = 0; i < p.backbone_layers; ++i) {
        const DenseLayer& d = backbone[i];
        float* own = gradients + d.at_gradient;
        add(own, own + int64_t(d.outputs) * d.inputs, d.at_slope, d.outputs, at_input, d.inputs);
        at_input = d.at_out;
      }
      const DenseLayer& d = heads[l];
      const int n = p.layer_units[l];
      float *weight = gradients + d.at_gradient, *bias = weight + int64_t(merged ? 4 * n : d.outputs) * d.inputs;
      add(weight, bias, d.at_out, merged ? 2 * n : d.outputs, at_input, d.inputs);
      if (merged) add(weight + int64_t(3 * n) * d.inputs, bias + 3 * n, d.at_out + 2 * n, n, at_input, d.inputs);
    }
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
