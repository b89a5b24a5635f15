// One sample of one stream, with lanes over units and synapses instead of over the batch.
//
// Each recurrence is a class. Its constructor lays out the plan (made once, with repacked parameters) and the scratch,
// and `run` updates the state in place. Everything is padded to whole vectors.
#pragma once

#include <new>

#include "dense.h"
#include "kernels.h"
#include "ltc.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

constexpr int whole(int n) { return (n + kWidth - 1) / kWidth * kWidth; }
constexpr int kStepTile = 8;  // vectors of outputs that stay in registers

TL_INLINE V gather(const float* from, const int32_t* index) {
#if defined(__AVX512F__)
  return (V)_mm512_i32gather_ps(_mm512_load_si512(index), from, 4);
#elif defined(__AVX2__)
  return (V)_mm256_i32gather_ps(from, _mm256_load_si256((const __m256i*)index), 4);
#else
  V x;
  for (int lane = 0; lane < kWidth; ++lane) x[lane] = from[index[lane]];
  return x;
#endif
}

// A dense layer for one sample. Its outputs come in `parts` of equal size, each padded to whole vectors.
struct StepDense {
  int part, parts, inputs, vectors;
  float* packed;

  StepDense() {}
  StepDense(int outputs, int parts, int inputs, Arena& plan)
      : part(outputs / parts), parts(parts), inputs(inputs), vectors(parts * whole(part) / kWidth) {
    packed = plan.take(int64_t(vectors) * kWidth * (inputs + 1));
  }
  int padded() const { return vectors * kWidth; }

  void fill(const float* weight, const float* bias) {
    float* to = packed;
    for (int v0 = 0; v0 < vectors; v0 += kStepTile) {
      const int end = (v0 + kStepTile < vectors ? v0 + kStepTile : vectors) * kWidth;
      for (int k = -1; k < inputs; ++k)
        for (int i = v0 * kWidth; i < end; ++i) {
          const int u = i % whole(part), row = i / whole(part) * part + u;
          *to++ = u >= part ? 0.0f : k < 0 ? bias[row] : weight[int64_t(row) * inputs + k];
        }
    }
  }

  template <int R>
  TL_INLINE void tile(float* out, const float* in, const float* w) const {
    V sum[R];
    for (int r = 0; r < R; ++r) sum[r] = load(w + r * kWidth);
    for (int k = 0; k < inputs; ++k) {
      w += R * kWidth;
      V x = broadcast(in[k]);
      for (int r = 0; r < R; ++r) sum[r] += x * load(w + r * kWidth);
    }
    for (int r = 0; r < R; ++r) store(out + r * kWidth, sum[r]);
  }
  void run(float* out, const float* in) const {
    const float* w = packed;
    for (int v = 0; v < vectors; v += kStepTile, w += int64_t(kStepTile) * kWidth * (inputs + 1)) {
      const int rest = vectors - v;
      with_constant<kStepTile>(rest < kStepTile ? rest : kStepTile, [&](auto r) { tile<r.value>(out + v * kWidth, in, w); });
    }
  }
};

struct StepLinear {
  const Linear& p;
  StepDense dense;
  float* out;
  StepLinear(const Linear& p, Arena& plan, Arena& scratch) : p(p), dense(p.outputs, 1, p.inputs, plan) {
    out = scratch.take(dense.padded());
  }
  void fill() { dense.fill(p.weight, p.bias); }
  void run(const float* x, float, float* y, float*) const {
    dense.run(out, x);
    memcpy(y, out, sizeof(float) * p.outputs);
  }
};

// LSTM and GRU. The inputs of their gates are the inputs and the state next to each other.
struct StepGated {
  const Gated& p;
  StepDense dense;
  float *in, *gates, *cell;
  StepGated(const Gated& p, Arena& plan, Arena& scratch) : p(p), dense(4 * p.units, 4, p.inputs + p.units, plan) {
    in = scratch.take(p.inputs + whole(p.units));
    gates = scratch.take(dense.padded());
    cell = scratch.take(whole(p.units));
  }
  void fill() { dense.fill(p.weight, p.bias); }
  void run(const float* x, float, float* h, float* c) const {
    const int H = p.units, part = whole(H);
    memcpy(in, x, sizeof(float) * p.inputs);
    memcpy(in + p.inputs, h, sizeof(float) * H);
    dense.run(gates, in);
    if (p.lstm) {
      memcpy(cell, c, sizeof(float) * H);
      for (int i = 0; i < part; i += kWidth) {
        V let = sigmoid(load(gates + i)), keep = sigmoid(load(gates + part + i));
        V next = keep * load(cell + i) + let * tanh(load(gates + 2 * part + i));
        store(cell + i, next);
        store(gates + i, sigmoid(load(gates + 3 * part + i)) * tanh(next));
      }
      memcpy(c, cell, sizeof(float) * H);
    } else {
      memcpy(cell, h, sizeof(float) * H);
      for (int i = 0; i < part; i += kWidth) {
        V reset = sigmoid(load(gates + i)), keep = sigmoid(load(gates + part + i));
        V fresh = tanh(load(gates + 2 * part + i) + reset * load(gates + 3 * part + i));
        store(gates + i, fresh + keep * (load(cell + i) - fresh));
      }
    }
    memcpy(h, gates, sizeof(float) * H);
  }
};

struct StepCfc {
  const Cfc& p;
  StepDense backbone[kMaxLayers], heads[kMaxLayers];
  float *w_taus[kMaxLayers], *amplitudes[kMaxLayers];  // mode pure only
  float *in, *out, *state;
  StepCfc(const Cfc& p, Arena& plan, Arena& scratch) : p(p) {
    int inputs = p.sequence.inputs, widest = 0;
    const int parts = p.mode == Mode::pure ? 1 : 4;
    for (int l = 0; l < p.layers; ++l) {
      int width = inputs + p.layer_units[l];
      if (whole(width) > widest) widest = whole(width);
      for (int i = 0; i < p.backbone_layers; ++i) {
        backbone[i] = StepDense(p.backbone_units[i], 1, width, plan);
        if (backbone[i].padded() > widest) widest = backbone[i].padded();
        width = p.backbone_units[i];
      }
      heads[l] = StepDense(parts * p.layer_units[l], parts, width, plan);
      if (heads[l].padded() > widest) widest = heads[l].padded();
      if (p.mode == Mode::pure) {
        w_taus[l] = plan.take(whole(p.layer_units[l]));
        amplitudes[l] = plan.take(whole(p.layer_units[l]));
      }
      inputs = p.layer_units[l];
    }
    in = scratch.take(widest);
    out = scratch.take(widest);
    state = scratch.take(widest);
  }
  void fill() {
    for (int i = 0; i < p.backbone_layers; ++i) backbone[i].fill(p.backbone_weight[i], p.backbone_bias[i]);
    for (int l = 0; l < p.layers; ++l) {
      const int n = p.layer_units[l];
      heads[l].fill(p.head_weight[l], p.head_bias[l]);
      for (int i = 0; p.mode == Mode::pure && i < whole(n); ++i) {
        w_taus[l][i] = i < n ? p.w_tau[l][i] : 0.0f;
        amplitudes[l][i] = i < n ? p.amplitude[l][i] : 0.0f;
      }
    }
  }

  void activate_all(float* x, int n) const {
    with_activation(Activation(p.activation), [=](auto activation) {
      for (int i = 0; i < n; i += kWidth) store(x + i, activate<activation.value, false>(load(x + i), nullptr));
    });
  }

  void run(const float* x, float span, float* h, float*) const {
    int inputs = p.sequence.inputs;
    V t = broadcast(span);
    for (int l = 0; l < p.layers; ++l) {
      const int n = p.layer_units[l], part = whole(n);
      memcpy(in, x, sizeof(float) * inputs);
      memcpy(in + inputs, h, sizeof(float) * n);
      float *from = in, *to = out;
      for (int i = 0; i < p.backbone_layers; ++i) {
        backbone[i].run(to, from);
        activate_all(to, backbone[i].padded());
        float* swap = from;
        from = to;
        to = swap;
      }
      heads[l].run(to, from);
      for (int i = 0; i < part; i += kWidth) {
        V f = load(to + i);
        if (p.mode == Mode::pure) {
          V amplitude = load(amplitudes[l] + i), rate = absolute(f) + absolute(load(w_taus[l] + i));
          store(state + i, amplitude - amplitude * exp(-t * rate) * f);
        } else {
          V g = tanh(load(to + part + i)), s = sigmoid(load(to + 2 * part + i) * t + load(to + 3 * part + i));
          f = tanh(f);
          store(state + i, p.mode == Mode::no_gate ? f + s * g : (1.0f - s) * f + s * g);
        }
      }
      memcpy(h, state, sizeof(float) * n);
      x = h;
      h += n;
      inputs = n;
    }
  }
};

// Synapses in slots: slot s of a group holds the s-th synapse of each of kWidth targets, or one of weight 0.
struct StepSynapses {
  struct Slot {
    alignas(64) int32_t source[kWidth];
    alignas(64) float mu[kWidth], slope[kWidth], weight[kWidth], pull[kWidth];
  };
  const Synapses& s;
  int groups;
  Slot* slots;
  int32_t* first;  // slot of each group

  StepSynapses(const Synapses& s, int targets, Arena& plan) : s(s), groups(whole(targets) / kWidth) {
    // At most one slot per synapse, and at most the number of groups times that of possible sources of one target.
    slots = reinterpret_cast<Slot*>(plan.take(int64_t(sizeof(Slot) / sizeof(float)) * most_slots(targets)));
    first = reinterpret_cast<int32_t*>(plan.take(groups + 1));
  }
  int64_t most_slots(int targets) const {
    int64_t most = 0, run = 0;
    for (int k = 0; k < s.count; ++k) {
      run = k && s.target[k] == s.target[k - 1] ? run + 1 : 1;
      if (run > most) most = run;
    }
    most *= whole(targets) / kWidth;
    return most < s.count ? most : s.count;
  }
  // `place` is the position of a target and, with `sources_too`, of a source. An empty entry of a slot has weight 0 and
  // reads its own neuron, or the zero after the inputs, because weight 0 would not remove the NaN of another source.
  void fill(const int32_t* place, bool sources_too, int zero) {
    int used = 0;
    for (int group = 0; group < groups; ++group) {
      first[group] = used;
      int depth[kWidth] = {};
      for (int k = 0; k < s.count; ++k) {
        const int at = place[s.target[k]] - group * kWidth;
        if (at < 0 || at >= kWidth) continue;
        const int slot = first[group] + depth[at]++;
        if (slot == used) {
          memset(static_cast<void*>(&slots[used]), 0, sizeof(Slot));
          for (int i = 0; i < kWidth; ++i) slots[used].source[i] = sources_too ? group * kWidth + i : zero;
          ++used;
        }
        Slot& to = slots[slot];
        to.source[at] = int32_t(sources_too ? place[s.source[k]] : s.source[k]);
        to.mu[at] = s.mu[k];
        to.slope[at] = -kLog2e * s.sigma[k];
        to.weight[at] = s.weight[k];
        to.pull[at] = s.weight[k] * s.erev[k];
      }
    }
    first[groups] = used;
  }
  TL_INLINE void arrive(int group, const float* from, V& pull, V& conductance) const {
    for (int k = first[group]; k < first[group + 1]; ++k) {
      const Slot& slot = slots[k];
      conduct(gather(from, slot.source), load(slot.mu), load(slot.slope), load(slot.weight), load(slot.pull), pull,
              conductance);
    }
  }
};

struct StepLtc {
  const Ltc& p;
  int H, padded;
  int32_t* place;  // position of each neuron: those with the most synapses first, so that slots are full
  StepSynapses synapses, sensory;
  float *leak, *conductance_leak, *cm, *potential, *next, *pull, *conductance, *input;

  StepLtc(const Ltc& p, Arena& plan, Arena& scratch)
      : p(p),
        H(p.sequence.units),
        padded(whole(p.sequence.units)),
        place(reinterpret_cast<int32_t*>(plan.take(p.sequence.units))),
        synapses(p.synapses, p.sequence.units, plan),
        sensory(p.sensory, p.sequence.units, plan) {
    for (float** rows : {&leak, &conductance_leak, &cm}) *rows = plan.take(padded);
    for (float** rows : {&potential, &next, &pull, &conductance}) *rows = scratch.take(padded);
    input = scratch.take(p.sequence.inputs + 1);
  }
  void fill() {
    // Counting the neurons that come first is quadratic in H, but it is done once.
    int32_t* degree = reinterpret_cast<int32_t*>(cm);
    memset(degree, 0, sizeof(int32_t) * padded);
    for (int k = 0; k < p.synapses.count; ++k) ++degree[p.synapses.target[k]];
    for (int i = 0; i < H; ++i) {
      place[i] = 0;
      for (int j = 0; j < H; ++j) place[i] += degree[j] > degree[i] || (degree[j] == degree[i] && j < i);
    }
    for (int i = 0; i < padded; ++i) leak[i] = 0.0f, conductance_leak[i] = 0.0f, cm[i] = 1.0f;
    for (int i = 0; i < H; ++i) {
      leak[place[i]] = p.gleak[i] * p.vleak[i];
      conductance_leak[place[i]] = p.gleak[i] + p.epsilon;
      cm[place[i]] = p.cm[i];
    }
    synapses.fill(place, true, 0);
    sensory.fill(place, false, p.sequence.inputs);
  }
  void run(const float* x, float span, float* h, float*) const {
    V d = broadcast(span / float(p.unfolds));
    memcpy(input, x, sizeof(float) * p.sequence.inputs);
    input[p.sequence.inputs] = 0.0f;
    for (int i = H; i < padded; ++i) potential[i] = 0.0f;
    for (int i = 0; i < H; ++i) potential[place[i]] = h[i];
    for (int group = 0; group < synapses.groups; ++group) {
      const int at = group * kWidth;
      V pulled = load(leak + at), conducted = load(conductance_leak + at);
      sensory.arrive(group, input, pulled, conducted);
      store(pull + at, pulled);
      store(conductance + at, conducted);
    }
    float *from = potential, *to = next;
    for (int k = 0; k < p.unfolds; ++k) {
      for (int group = 0; group < synapses.groups; ++group) {
        const int at = group * kWidth;
        V pulled = load(pull + at), conducted = load(conductance + at), v = load(from + at);
        synapses.arrive(group, from, pulled, conducted);
        store(to + at, v + d * (pulled - conducted * v) / (load(cm + at) + d * conducted));
      }
      float* swap = from;
      from = to;
      to = swap;
    }
    for (int i = 0; i < H; ++i) h[i] = from[place[i]];
  }
};

template <class Recurrence, class Problem>
struct Stepped {
  static void sizes(const Problem& p, size_t* plan_size, size_t* scratch_size) {
    Arena plan{nullptr}, scratch{nullptr};
    Recurrence(p, plan, scratch);
    *plan_size = plan.used;
    *scratch_size = scratch.used;
  }
  static void make(void* object, const Problem& p, float* plan_memory, float* scratch_memory, bool fill) {
    Arena plan{plan_memory}, scratch{scratch_memory};
    Recurrence* made = new (object) Recurrence(p, plan, scratch);
    if (fill) made->fill();
  }
  static void run(const void* object, const float* x, float span, float* h, float* c) {
    static_cast<const Recurrence*>(object)->run(x, span, h, c);
  }
};

template <class Recurrence, class Problem>
constexpr Step<Problem> step() {
  using S = Stepped<Recurrence, Problem>;
  static_assert(alignof(Recurrence) <= 64);
  return {sizeof(Recurrence), S::sizes, S::make, S::run};
}

}  // namespace torchliquid::TORCHLIQUID_ISA
