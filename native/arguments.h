// Checks the arguments from Python and converts them to the kernels' plain data.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.h"

namespace torchliquid {

namespace nb = nanobind;

using Floats = nb::ndarray<const float, nb::c_contig, nb::device::cpu>;
using Out = nb::ndarray<float, nb::c_contig, nb::device::cpu>;
using Whole = nb::ndarray<const int64_t, nb::c_contig, nb::device::cpu>;
template <class T>
using Maybe = std::optional<T>;

template <class Array>
auto checked(const Array& array, std::initializer_list<int64_t> shape, const char* name) {
  bool fits = array.ndim() == shape.size();
  size_t axis = 0;
  for (int64_t n : shape) fits = fits && int64_t(array.shape(axis++)) == n;
  if (!fits) throw std::invalid_argument(std::string(name) + ": unexpected shape");
  return array.data();
}
template <class Array>
auto checked(const Maybe<Array>& array, std::initializer_list<int64_t> shape, const char* name) {
  return array ? checked(*array, shape, name) : nullptr;
}

// The arguments that all recurrences start with.
struct SequenceArguments {
  Floats input, timespan, state;
  Maybe<Whole> lengths;
  Maybe<Floats> drive, memory, cell, reset;
};

// Where backward writes.
struct Gradients {
  Floats states;
  Maybe<Floats> cells;
  Maybe<Out> input;
  Maybe<Out> timespan;
  Out state;
  Maybe<Out> drive, cell;
  Out parameters;
};

template <class States>
inline Sequence sequence(const SequenceArguments& a, const States& states, const Maybe<States>& cells) {
  if (a.input.ndim() != 3 || a.state.ndim() != 2) throw std::invalid_argument("input (B, T, C), state (B, H) expected");
  const int64_t B = a.input.shape(0), T = a.input.shape(1), C = a.input.shape(2), H = a.state.shape(1);
  for (int64_t n : {B, T, C, H, 8 * H})
    if (n > (int64_t(1) << 26)) throw std::invalid_argument("a dimension is too large");
  if (H == 0) throw std::invalid_argument("no units");
  Sequence s{};
  s.batch = int(B), s.time = int(T), s.inputs = int(C), s.units = int(H);
  s.input = a.input.data();
  s.timespan = checked(a.timespan, {B, T}, "timespan");
  s.state = checked(a.state, {B, H}, "state");
  s.lengths = checked(a.lengths, {B}, "lengths");
  if (bool(a.drive) != bool(a.memory) || bool(a.drive) != bool(a.cell) || bool(a.drive) != bool(cells))
    throw std::invalid_argument("drive, memory, cell and cells: all or none");
  s.drive = checked(a.drive, {B, T, 4 * H}, "drive");
  s.memory = checked(a.memory, {4 * H, H}, "memory");
  s.cell = checked(a.cell, {B, H}, "cell");
  s.reset = checked(a.reset, {B, T}, "reset");
  s.states = const_cast<float*>(checked(states, {B, T, H}, "states"));
  s.cells = const_cast<float*>(checked(cells, {B, T, H}, "cells"));
  return s;
}

inline void add_gradients(Sequence& s, const Gradients& g) {
  const int64_t B = s.batch, T = s.time, C = s.inputs, H = s.units;
  s.grad_states = checked(g.states, {B, T, H}, "gradient of states");
  s.grad_cells = checked(g.cells, {B, T, H}, "gradient of cells");
  s.grad_input = checked(g.input, {B, T, C}, "gradient of input");
  s.grad_timespan = checked(g.timespan, {B, T}, "gradient of timespan");
  s.grad_state = checked(g.state, {B, H}, "gradient of state");
  s.grad_drive = checked(g.drive, {B, T, 4 * H}, "gradient of drive");
  s.grad_cell = checked(g.cell, {B, H}, "gradient of cell");
  if (bool(s.drive) != bool(s.grad_cells) || bool(s.drive) != bool(s.grad_drive) || bool(s.drive) != bool(s.grad_cell))
    throw std::invalid_argument("gradients of drive, cell and cells: as the sequence");
}

inline Synapses synapses(const std::vector<Floats>& values, const Whole& index, int64_t sources, int64_t targets) {
  if (values.size() != 4) throw std::invalid_argument("synapses: (w, mu, sigma, erev) expected");
  const int64_t n = int64_t(values[0].size());
  Synapses s{int(n), checked(values[0], {n}, "w"), checked(values[1], {n}, "mu"), checked(values[2], {n}, "sigma"),
             checked(values[3], {n}, "erev"), nullptr, nullptr};
  s.source = checked(index, {2, n}, "synapse index");
  s.target = s.source + n;
  for (int64_t k = 0; k < n; ++k)
    if (s.source[k] < 0 || s.source[k] >= sources || s.target[k] < (k ? s.target[k - 1] : 0) || s.target[k] >= targets)
      throw std::invalid_argument("synapse index: a neuron that is not there, or not ordered by target");
  return s;
}

struct LtcArguments {
  SequenceArguments sequence;
  std::vector<Floats> leak, synapses;
  Whole synapse_index;
  std::vector<Floats> sensory;
  Whole sensory_index;
  int unfolds;
  float epsilon;
};

inline Ltc ltc(const LtcArguments& a, Sequence s) {
  if (a.leak.size() != 3) throw std::invalid_argument("leak: (gleak, vleak, cm) expected");
  if (a.unfolds < 1) throw std::invalid_argument("unfolds: at least 1");
  Ltc p{};
  p.sequence = s;
  p.gleak = checked(a.leak[0], {s.units}, "gleak");
  p.vleak = checked(a.leak[1], {s.units}, "vleak");
  p.cm = checked(a.leak[2], {s.units}, "cm");
  p.synapses = synapses(a.synapses, a.synapse_index, s.units, s.units);
  p.sensory = synapses(a.sensory, a.sensory_index, s.inputs, s.units);
  p.unfolds = a.unfolds;
  p.epsilon = a.epsilon;
  return p;
}

struct CfcArguments {
  SequenceArguments sequence;
  std::vector<Floats> backbone, heads;
  std::vector<int> layer_sizes;
  std::string mode, activation;
  std::vector<Floats> dropout;
};

inline int place(const std::string& name, std::initializer_list<const char*> names) {
  int i = 0;
  for (const char* n : names) {
    if (name == n) return i;
    ++i;
  }
  throw std::invalid_argument("unknown name: " + name);
}

// The common span of all samples, up to each sequence's length; null if spans differ, or if the span is so long that
// span * a + b would lose the last digits of b.
inline const float* common_span(const Sequence& s) {
  const float* common = nullptr;
  for (int64_t b = 0; b < s.batch; ++b) {
    const float* own = s.timespan + b * s.time;
    const int64_t steps = s.lengths ? std::min<int64_t>(s.lengths[b], s.time) : s.time;
    for (int64_t t = 0; t < steps; ++t) {
      if (!common) common = own + t;
      if (own[t] != *common) return nullptr;
    }
  }
  return common && *common <= 8 ? common : nullptr;
}

inline Cfc cfc(const CfcArguments& a, Sequence s) {
  Cfc p{};
  p.sequence = s;
  p.common_span = common_span(s);
  p.mode = Mode(place(a.mode, {"default", "no_gate", "pure"}));
  p.activation = place(a.activation, {"lecun_tanh", "tanh", "relu", "silu", "gelu"});
  const size_t per_layer = p.mode == Mode::pure ? 4 : 2;
  if (a.layer_sizes.empty() || a.layer_sizes.size() > kMaxLayers || a.backbone.size() > 2 * kMaxLayers)
    throw std::invalid_argument("1 to 64 layers, at most 64 of a backbone");
  if (a.heads.size() != per_layer * a.layer_sizes.size() || a.backbone.size() % 2)
    throw std::invalid_argument("heads or backbone: wrong number of tensors");
  if (!a.backbone.empty() && a.layer_sizes.size() > 1) throw std::invalid_argument("only a single layer has a backbone");
  if (!a.dropout.empty() && 2 * a.dropout.size() != a.backbone.size())
    throw std::invalid_argument("dropout: one mask a backbone layer");
  p.layers = int(a.layer_sizes.size());
  p.backbone_layers = int(a.backbone.size() / 2);
  int64_t inputs = s.inputs, units = 0;
  for (int l = 0; l < p.layers; ++l) {
    const int64_t n = p.layer_units[l] = a.layer_sizes[l];
    if (n < 1) throw std::invalid_argument("a layer without units");
    int64_t width = inputs + n;
    for (int i = 0; i < p.backbone_layers; ++i) {
      const int64_t u = int64_t(a.backbone[2 * i + 1].size());
      p.backbone_units[i] = int(u);
      p.backbone_weight[i] = checked(a.backbone[2 * i], {u, width}, "backbone weight");
      p.backbone_bias[i] = checked(a.backbone[2 * i + 1], {u}, "backbone bias");
      if (!a.dropout.empty()) p.dropout[i] = checked(a.dropout[i], {s.batch, s.time, u}, "dropout mask");
      width = u;
    }
    const Floats* head = &a.heads[per_layer * l];
    const int64_t outputs = p.mode == Mode::pure ? n : 4 * n;
    p.head_weight[l] = checked(head[0], {outputs, width}, "head weight");
    p.head_bias[l] = checked(head[1], {outputs}, "head bias");
    if (p.mode == Mode::pure) {
      p.w_tau[l] = checked(head[2], {n}, "w_tau");
      p.amplitude[l] = checked(head[3], {n}, "A");
    }
    inputs = n;
    units += n;
  }
  if (units != s.units) throw std::invalid_argument("layer sizes do not add up to the state's");
  return p;
}

struct CtrnnArguments {
  SequenceArguments sequence;
  Floats drive, recurrent, bias;
  Maybe<Floats> rate;
  std::string solver;
  int unfolds;
};

inline Ctrnn ctrnn(const CtrnnArguments& a, Sequence s) {
  if (a.unfolds < 1 || a.unfolds > (1 << 20)) throw std::invalid_argument("unfolds: 1 to 2^20");
  Ctrnn p{};
  p.sequence = s;
  p.drive = checked(a.drive, {s.units, s.inputs}, "drive");
  p.recurrent = checked(a.recurrent, {s.units, s.units}, "recurrent");
  p.bias = checked(a.bias, {s.units}, "bias");
  p.rate = checked(a.rate, {s.units}, "rate");
  p.solver = Solver(place(a.solver, {"euler", "rk4"}));
  p.unfolds = a.unfolds;
  return p;
}

struct CtgruArguments {
  SequenceArguments sequence;
  Floats gates, gates_bias, signal, signal_bias;
  int scales;
};

inline Ctgru ctgru(const CtgruArguments& a, Sequence s) {
  if (a.scales < 1 || s.units % a.scales) throw std::invalid_argument("scales: a divisor of the state's size");
  if (s.drive) throw std::invalid_argument("a CT-GRU has no memory in front");
  const int64_t units = s.units / a.scales, width = s.inputs + units;
  Ctgru p{};
  p.sequence = s;
  p.scales = a.scales;
  p.gates = checked(a.gates, {2 * units, width}, "gates");
  p.gates_bias = checked(a.gates_bias, {2 * units}, "bias of the gates");
  p.signal = checked(a.signal, {units, width}, "signal");
  p.signal_bias = checked(a.signal_bias, {units}, "bias of the signal");
  return p;
}

struct OdeRnnArguments {
  SequenceArguments sequence;
  std::vector<Floats> field, update;
  std::string solver;
  int unfolds;
};

inline OdeRnn ode_rnn(const OdeRnnArguments& a, Sequence s) {
  if (a.unfolds < 1 || a.unfolds > (1 << 20)) throw std::invalid_argument("unfolds: 1 to 2^20");
  if (s.drive) throw std::invalid_argument("an ODE-RNN has no memory in front");
  if (a.field.size() != 4 || a.update.size() != 4)
    throw std::invalid_argument("field and update: two weights and two biases each");
  const int64_t H = s.units, C = s.inputs;
  auto matrix = [&](int i) { return checked(a.field[i], {H, H}, "field"); };
  auto bias = [&](int i) { return checked(a.field[i], {H}, "bias of the field"); };
  OdeRnn p{};
  p.sequence = s;
  p.hidden = matrix(0), p.hidden_bias = bias(1), p.out = matrix(2), p.out_bias = bias(3);
  p.update.input = checked(a.update[0], {3 * H, C}, "update's weight of the input");
  p.update.state = checked(a.update[1], {3 * H, H}, "update's weight of the state");
  p.update.input_bias = checked(a.update[2], {3 * H}, "update's bias of the input");
  p.update.state_bias = checked(a.update[3], {3 * H}, "update's bias of the state");
  p.solver = Solver(place(a.solver, {"euler", "rk4"}));
  p.unfolds = a.unfolds;
  return p;
}

struct LrcSsmArguments {
  SequenceArguments sequence;
  std::vector<Floats> synapses;
  Floats vleak;
  std::vector<Floats> elastance;
  bool exponential;
};

inline LrcSsm lrcssm(const LrcSsmArguments& a, Sequence s) {
  if (s.drive) throw std::invalid_argument("an LrcSSM has no memory in front");
  if (s.inputs != 2 * s.units) throw std::invalid_argument("input (B, T, 2 H) expected");
  if (a.synapses.size() != 4 || a.elastance.size() < 2 || a.elastance.size() > 3)
    throw std::invalid_argument("synapses (w, k, mu, sigma) and elastance (p, q) or (p, q, r) expected");
  auto one = [&](const Floats& values) { return checked(values, {s.units}, "a neuron's parameter"); };
  return {s, one(a.synapses[0]), one(a.synapses[1]), one(a.synapses[2]), one(a.synapses[3]), one(a.vleak),
          one(a.elastance[0]), one(a.elastance[1]), a.elastance.size() == 3 ? one(a.elastance[2]) : nullptr, a.exponential};
}

struct StateSpaceArguments {
  Floats fading;
  Whole which;
  Floats gain, input, read, state;
  Whole sizes;
};

template <class States>
inline StateSpace state_space(const StateSpaceArguments& a, const States& output, const States& last) {
  if (a.state.ndim() != 4 || a.fading.ndim() != 4) throw std::invalid_argument("state (B, 2, N, W), fading (K, 2, N, W) expected");
  const int64_t B = a.state.shape(0), N = a.state.shape(2), W = a.state.shape(3), P = int64_t(a.which.size());
  const int64_t K = a.fading.shape(0);
  StateSpace p{};
  p.batch = B, p.time = int64_t(a.sizes.size()), p.states = N, p.width = W;
  p.fading = checked(a.fading, {K, 2, N, W}, "fading");
  p.gain = checked(a.gain, {2, N, W}, "gain");
  p.input = checked(a.input, {P, W}, "input");
  p.read = checked(a.read, {2, N, W}, "read");
  p.state = checked(a.state, {B, 2, N, W}, "state");
  p.which = checked(a.which, {P}, "which");
  p.sizes = checked(a.sizes, {p.time}, "sizes");
  p.output = const_cast<float*>(checked(output, {P, W}, "output"));
  p.last = const_cast<float*>(checked(last, {B, 2, N, W}, "last"));
  int64_t samples = 0;
  for (int64_t t = 0; t < p.time; samples += p.sizes[t++])
    if (p.sizes[t] < 0 || p.sizes[t] > (t ? p.sizes[t - 1] : B)) throw std::invalid_argument("sizes: the longest sequence first");
  if (samples != P) throw std::invalid_argument("sizes: they add up to the samples");
  for (int64_t i = 0; i < P; ++i)
    if (p.which[i] < 0 || p.which[i] >= K) throw std::invalid_argument("which: a fading that is not there");
  return p;
}

struct GatedArguments {
  Floats weight, bias;
  bool lstm;
};

inline Gated gated(const GatedArguments& a) {
  const int64_t units = int64_t(a.bias.size()) / 4, inputs = a.weight.ndim() == 2 ? int64_t(a.weight.shape(1)) - units : -1;
  if (inputs < 0 || units < 1) throw std::invalid_argument("weight (4 H, C + H) expected");
  return {int(inputs), int(units), a.lstm, checked(a.weight, {4 * units, inputs + units}, "weight"),
          checked(a.bias, {4 * units}, "bias")};
}

struct LinearArguments {
  Floats weight, bias;
};

inline Linear linear(const LinearArguments& a) {
  const int64_t outputs = int64_t(a.bias.size()), inputs = a.weight.ndim() == 2 ? int64_t(a.weight.shape(1)) : -1;
  return {int(inputs), int(outputs), checked(a.weight, {outputs, inputs}, "weight"), checked(a.bias, {outputs}, "bias")};
}

}  // namespace torchliquid
