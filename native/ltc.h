// Liquid time-constant cells: synapse by synapse, with lanes over the batch.
//
// With P the summed pull and G the summed conductance of a neuron, r = 1 / (cm + d G) and i = (P - G v) r, a sub-step
// is v' = v + d i, and its gradients are
//
//   dv'/dP = d r,  dv'/dG = -d r v',  dv'/dv = cm r,  dv'/dcm = -d i r,  dv'/dd = i cm r,
//
// so that one pass over the synapses serves them all. The sub-steps of a sample are recomputed from the state before.
#pragma once

#include "kernels.h"
#include "math.h"
#include "rows.h"

namespace torchliquid::TORCHLIQUID_ISA {

// Adds the pull and conductance of a synapse to its neuron, for sequences and for live samples. (Their sub-steps are
// separate code: common code makes live samples 1 % slower.)
template <class Value>
TL_INLINE void conduct(V source, Value mu, Value slope, Value weight, Value drawn, V& pull, V& conductance) {
  V g = sigmoid_of_power((source - mu) * slope);
  pull += drawn * g;
  conductance += weight * g;
}

// Synapses ordered by target, for the forward pass; `slope` is -sigma log2(e), `pull` is w erev.
struct Arriving {
  float mu, slope, weight, pull;
  int32_t source;
};
// The same ordered by source, for the backward pass; `gain` is w sigma, `index` the position in the caller's order.
struct Leaving {
  float mu, slope, erev, gain;
  int32_t target, index;
};

template <int NV>
struct SynapseTable {
  static constexpr int L = NV * kWidth;
  int count, sources, targets;
  Arriving* arriving = nullptr;
  Leaving* leaving = nullptr;
  int32_t *first_arriving = nullptr, *first_leaving = nullptr;

  SynapseTable(const Synapses& s, int sources, int targets, Arena& plan, bool backward)
      : count(s.count), sources(sources), targets(targets) {
    auto floats = [](size_t bytes) { return int64_t((bytes + 3) / 4); };
    arriving = reinterpret_cast<Arriving*>(plan.take(floats(sizeof(Arriving) * count)));
    first_arriving = reinterpret_cast<int32_t*>(plan.take(targets + 1));
    if (!backward) return;
    leaving = reinterpret_cast<Leaving*>(plan.take(floats(sizeof(Leaving) * count)));
    first_leaving = reinterpret_cast<int32_t*>(plan.take(sources + 2));
  }

  void fill(const Synapses& s, bool backward) {
    int k = 0;
    for (int target = 0; target < targets; ++target) {
      first_arriving[target] = k;
      for (; k < count && s.target[k] == target; ++k)
        arriving[k] = {s.mu[k], -kLog2e * s.sigma[k], s.weight[k], s.weight[k] * s.erev[k], int32_t(s.source[k])};
    }
    first_arriving[targets] = k;
    if (!backward) return;
    memset(first_leaving, 0, sizeof(int32_t) * (sources + 2));
    for (k = 0; k < count; ++k) ++first_leaving[s.source[k] + 2];
    for (int j = 0; j < sources; ++j) first_leaving[j + 2] += first_leaving[j + 1];
    for (k = 0; k < count; ++k)
      leaving[first_leaving[s.source[k] + 1]++] = {s.mu[k],    -kLog2e * s.sigma[k], s.erev[k], s.weight[k] * s.sigma[k],
                                                   int32_t(s.target[k]), k};
  }

  // Adds all synapses of one neuron to its pull and conductance.
  TL_INLINE void arrive(int target, const float* source_rows, V* pull, V* conductance) const {
    const Arriving *p = arriving + first_arriving[target], *end = arriving + first_arriving[target + 1];
    for (; p < end; ++p) {
      const float* row = source_rows + int64_t(p->source) * L;
      for (int v = 0; v < NV; ++v)
        conduct(load(row + v * kWidth), p->mu, p->slope, p->weight, p->pull, pull[v], conductance[v]);
    }
  }

  // From the gradients of each neuron's pull and conductance, computes those of the sources (added) and of the
  // synapses: four sums over lanes, w, erev / w, mu / (-w sigma) and sigma / w, each a quarter of sums[synapse].
  void leave(const float* source_rows, const float* grad_pull, const float* grad_conductance, float* grad_source,
             float* sums) const {
    for (int j = 0; j < sources; ++j) {
      V x[NV], grad[NV];
      for (int v = 0; v < NV; ++v) {
        x[v] = load(source_rows + j * L + v * kWidth);
        grad[v] = load(grad_source + j * L + v * kWidth);
      }
      for (int k = first_leaving[j]; k < first_leaving[j + 1]; ++k) {
        const Leaving& p = leaving[k];
        const int64_t row = int64_t(p.target) * L;
        V sum[4] = {};
        for (int v = 0; v < NV; ++v) {
          V distance = x[v] - p.mu, g = sigmoid_of_power(distance * p.slope);
          V to_pull = load(grad_pull + row + v * kWidth);
          V to_g = p.erev * to_pull + load(grad_conductance + row + v * kWidth);
          V to_argument = to_g * (g - g * g);
          sum[0] += g * to_g;
          sum[1] += g * to_pull;
          sum[2] += to_argument;
          sum[3] += to_argument * distance;
          grad[v] += p.gain * to_argument;
        }
        V folded = fold<kWidth / 2>(fold<kWidth>(sum[0], sum[1]), fold<kWidth>(sum[2], sum[3]));
        store(sums + k * kWidth, load(sums + k * kWidth) + folded);
      }
      for (int v = 0; v < NV; ++v) store(grad_source + j * L + v * kWidth, grad[v]);
    }
  }

  // Adds the sums of a block to the parameters' gradients (weight, mu, sigma, erev; count each).
  void finish(const Synapses& s, const float* sums, float* gradients) const {
    constexpr int quarter = kWidth / 4;
    for (int k = 0; k < count; ++k) {
      const int index = leaving[k].index;
      float total[4] = {};
      for (int q = 0; q < 4; ++q)
        for (int lane = 0; lane < quarter; ++lane) total[q] += sums[k * kWidth + q * quarter + lane];
      gradients[index] += total[0];
      gradients[count + index] -= s.weight[index] * s.sigma[index] * total[2];
      gradients[2 * count + index] += s.weight[index] * total[3];
      gradients[3 * count + index] += s.weight[index] * total[1];
    }
  }
};

template <int NV>
struct LtcCell {
  static constexpr int L = NV * kWidth;
  const Ltc& p;
  int H, C;
  bool grad_input;
  SynapseTable<NV> synapses, sensory;
  int64_t parameters, forward_rows, slot_rows, backward_rows, block_rows;

  LtcCell(const Ltc& problem, Arena& plan, bool backward)
      : p(problem),
        H(problem.sequence.units),
        C(problem.sequence.inputs),
        grad_input(problem.sequence.grad_input),
        synapses(problem.synapses, H, H, plan, backward),
        sensory(problem.sensory, C, H, plan, backward) {
    parameters = 4 * int64_t(synapses.count) + 4 * int64_t(sensory.count) + 3 * int64_t(H);
    forward_rows = 4 * H;
    slot_rows = 0;
    backward_rows = 2 * H + (p.unfolds + 1) * H + 2 * p.unfolds * H + 5 * H;
    block_rows = (synapses.count + sensory.count + 3 * H + NV - 1) / NV;
  }
  void fill(bool backward) {
    synapses.fill(p.synapses, backward);
    sensory.fill(p.sensory, backward);
  }

  // The part of the inputs and the leak in every sub-step of a sample.
  void drive(const float* x, float* pull, float* conductance) const {
    for (int i = 0; i < H; ++i) {
      V pull_in[NV], conductance_in[NV];
      for (int v = 0; v < NV; ++v) {
        pull_in[v] = broadcast(p.gleak[i] * p.vleak[i]);
        conductance_in[v] = broadcast(p.gleak[i] + p.epsilon);
      }
      sensory.arrive(i, x, pull_in, conductance_in);
      for (int v = 0; v < NV; ++v) {
        store(pull + i * L + v * kWidth, pull_in[v]);
        store(conductance + i * L + v * kWidth, conductance_in[v]);
      }
    }
  }

  template <bool keep>
  void unfold(const float* pull_in, const float* conductance_in, const float* span, const float* before, float* after,
              float* share, float* rate) const {
    V d[NV];
    for (int v = 0; v < NV; ++v) d[v] = load(span + v * kWidth) / float(p.unfolds);
    for (int i = 0; i < H; ++i) {
      V pull[NV], conductance[NV];
      for (int v = 0; v < NV; ++v) {
        pull[v] = load(pull_in + i * L + v * kWidth);
        conductance[v] = load(conductance_in + i * L + v * kWidth);
      }
      synapses.arrive(i, before, pull, conductance);
      for (int v = 0; v < NV; ++v) {
        const int64_t at = i * L + v * kWidth;
        V potential = load(before + at), r = reciprocal(p.cm[i] + d[v] * conductance[v]);
        V increment = (pull[v] - conductance[v] * potential) * r;
        store(after + at, potential + d[v] * increment);
        if (keep) {
          store(share + at, r);
          store(rate + at, increment);
        }
      }
    }
  }

  void forward(const Block<NV>&, int, const float* x, const float* h, const float* span, float* out, float* work) const {
    float *pull = work, *conductance = work + H * L, *a = work + 2 * H * L, *b = work + 3 * H * L;
    drive(x, pull, conductance);
    for (int k = 0; k < p.unfolds; ++k) {
      float* after = k == p.unfolds - 1 ? out : a;
      unfold<false>(pull, conductance, span, h, after, nullptr, nullptr);
      h = a;
      a = b;
      b = const_cast<float*>(h);
    }
  }

  void recompute(const Block<NV>&, int, const float*, const float*, const float*, float*, float*) const {}
  void accumulate(const float*, int64_t, int, float*, float*, float*) const {}

  // A block's state: four sums a synapse, then sums of the gradients of pull, conductance and cm of each neuron.
  float* neuron_sums(float* block_state) const { return block_state + (synapses.count + sensory.count) * kWidth; }
  void begin(float* block_state) const { memset(block_state, 0, sizeof(float) * block_rows * L); }
  void finish(float* block_state, float* gradients) const {
    synapses.finish(p.synapses, block_state, gradients);
    sensory.finish(p.sensory, block_state + synapses.count * kWidth, gradients + 4 * int64_t(synapses.count));
    float *gleak = gradients + 4 * int64_t(synapses.count) + 4 * int64_t(sensory.count), *vleak = gleak + H, *cm = vleak + H;
    const float* sums = neuron_sums(block_state);
    for (int i = 0; i < H; ++i, sums += 3 * kWidth) {
      float pull = 0, conductance = 0, capacity = 0;
      for (int lane = 0; lane < kWidth; ++lane) {
        pull += sums[lane];
        conductance += sums[kWidth + lane];
        capacity += sums[2 * kWidth + lane];
      }
      gleak[i] += pull * p.vleak[i] + conductance;
      vleak[i] += pull * p.gleak[i];
      cm[i] += capacity;
    }
  }

  void backward(const float* x, const float* h, const float* span, float*, float* grad_out, float* grad_x, float* grad_h,
                float* grad_span, float* work, float* block_state) const {
    const int64_t size = int64_t(H) * L;
    const int n = p.unfolds;
    float *pull = work, *conductance = pull + size, *potentials = conductance + size;
    float *shares = potentials + (n + 1) * size, *rates = shares + n * size;
    float *to_pull = rates + n * size, *to_conductance = to_pull + size;
    float *sum_pull = to_conductance + size, *sum_conductance = sum_pull + size, *other = sum_conductance + size;

    drive(x, pull, conductance);
    memcpy(potentials, h, sizeof(float) * size);
    for (int k = 0; k < n; ++k)
      unfold<true>(pull, conductance, span, potentials + k * size, potentials + (k + 1) * size, shares + k * size,
                   rates + k * size);

    memset(sum_pull, 0, sizeof(float) * 2 * size);
    V to_span[NV] = {};
    float *grad = grad_out, *before = other;
    for (int k = n - 1; k >= 0; --k) {
      float* sums = neuron_sums(block_state);
      for (int i = 0; i < H; ++i, sums += 3 * kWidth) {
        V capacity = load(sums + 2 * kWidth);
        for (int v = 0; v < NV; ++v) {
          const int64_t at = i * L + v * kWidth;
          V d = load(span + v * kWidth) / float(n);
          V share = load(shares + k * size + at) * load(grad + at), rate = load(rates + k * size + at);
          V pulled = share * d, conducted = -pulled * load(potentials + (k + 1) * size + at);
          store(to_pull + at, pulled);
          store(to_conductance + at, conducted);
          store(sum_pull + at, load(sum_pull + at) + pulled);
          store(sum_conductance + at, load(sum_conductance + at) + conducted);
          V direct = share * p.cm[i];
          to_span[v] += direct * rate;
          capacity -= pulled * rate;
          store(before + at, direct);
        }
        store(sums + 2 * kWidth, capacity);
      }
      synapses.leave(potentials + k * size, to_pull, to_conductance, before, block_state);
      float* swap = grad;
      grad = before;
      before = swap;
    }
    memcpy(grad_h, grad, sizeof(float) * size);
    for (int v = 0; v < NV; ++v) store(grad_span + v * kWidth, to_span[v] / float(n));
    float* sums = neuron_sums(block_state);
    for (int i = 0; i < H; ++i, sums += 3 * kWidth)
      for (int v = 0; v < NV; ++v) {
        store(sums, load(sums) + load(sum_pull + i * L + v * kWidth));
        store(sums + kWidth, load(sums + kWidth) + load(sum_conductance + i * L + v * kWidth));
      }
    memset(grad_x, 0, sizeof(float) * C * L);
    sensory.leave(x, sum_pull, sum_conductance, grad_x, block_state + synapses.count * kWidth);
  }
};

}  // namespace torchliquid::TORCHLIQUID_ISA
