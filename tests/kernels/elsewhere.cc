// Runs recurrences on made-up numbers and writes every result to stdout as raw floats, for `test_elsewhere.py`.
#include <cstdio>
#include <vector>

#include "../../native/dispatch.h"
#include "../../native/run.h"

using namespace torchliquid;

static uint32_t seed = 1;
static std::vector<float> numbers(size_t n, float low = -0.5f, float high = 0.5f) {
  std::vector<float> made(n);
  for (float& x : made) {
    seed = seed * 1664525u + 1013904223u;
    x = low + (high - low) * float(seed >> 8) / float(1 << 24);
  }
  return made;
}

static void write(const std::vector<float>& values) { fwrite(values.data(), sizeof(float), values.size(), stdout); }

struct Data {
  Sequence s{};
  std::vector<float> input, timespan, state, states, grad_states, grad_input, grad_timespan, grad_state;
  Data(int batch, int time, int inputs, int units, bool equal_spans) {
    const size_t steps = size_t(batch) * time;
    input = numbers(steps * inputs), timespan = numbers(steps, equal_spans ? 1 : 0, equal_spans ? 1 : 3);
    state = numbers(size_t(batch) * units), grad_states = numbers(steps * units);
    states.resize(steps * units), grad_input.resize(steps * inputs), grad_timespan.resize(steps);
    grad_state.resize(size_t(batch) * units);
    s.batch = batch, s.time = time, s.inputs = inputs, s.units = units;
    s.input = input.data(), s.timespan = timespan.data(), s.state = state.data(), s.states = states.data();
    s.grad_states = grad_states.data(), s.grad_input = grad_input.data(), s.grad_state = grad_state.data();
    s.grad_timespan = equal_spans ? nullptr : grad_timespan.data();
  }
  template <class Problem>
  void run(const Recurrence<Problem> (&kernels)[2], const Problem& p) {
    std::vector<float> gradients(kernels[0].parameters(p));
    torchliquid::run(kernels, p, 1, nullptr);
    torchliquid::run(kernels, p, 1, gradients.data());
    for (const auto* part : {&states, &grad_input, &grad_timespan, &grad_state, &gradients}) write(*part);
  }
};

static void cfc(const InstructionSet& set, Mode mode, int activation, bool equal_spans) {
  const int C = 5, H = 19, U = 23, per_unit = mode == Mode::pure ? 1 : 4;
  Data data(37, 9, C, H, equal_spans);
  auto weight = numbers(size_t(U) * (C + H)), bias = numbers(U), head = numbers(size_t(per_unit) * H * U);
  auto head_bias = numbers(size_t(per_unit) * H), w_tau = numbers(H), amplitude = numbers(H);
  Cfc p{};
  p.sequence = data.s, p.mode = mode, p.activation = activation, p.layers = 1, p.layer_units[0] = H;
  p.common_span = equal_spans ? data.timespan.data() : nullptr;
  p.backbone_layers = 1, p.backbone_units[0] = U, p.backbone_weight[0] = weight.data(), p.backbone_bias[0] = bias.data();
  p.head_weight[0] = head.data(), p.head_bias[0] = head_bias.data(), p.w_tau[0] = w_tau.data();
  p.amplitude[0] = amplitude.data();
  data.run(set.cfc, p);
}

static void ltc(const InstructionSet& set) {
  const int C = 4, H = 21;
  Data data(37, 9, C, H, false);
  std::vector<int64_t> index[2][2];
  std::vector<float> values[2][4];
  Synapses parts[2];
  for (int side = 0; side < 2; ++side) {
    for (int target = 0; target < H; ++target)
      for (int source = target % 3; source < (side ? C : H); source += 3)
        index[side][0].push_back(source), index[side][1].push_back(target);
    const size_t n = index[side][0].size();
    for (int i = 0; i < 4; ++i) values[side][i] = numbers(n, i < 3 ? 0.1f : -1, i == 2 ? 6 : 1);
    parts[side] = {int(n), values[side][0].data(), values[side][1].data(), values[side][2].data(),
                   values[side][3].data(), index[side][0].data(), index[side][1].data()};
  }
  auto gleak = numbers(H, 0.1f, 1), vleak = numbers(H), cm = numbers(H, 0.4f, 0.6f);
  data.run(set.ltc, Ltc{data.s, gleak.data(), vleak.data(), cm.data(), parts[0], parts[1], 6, 1e-8f});
}

static void ctgru(const InstructionSet& set) {
  const int C = 5, U = 19, M = 6;
  Data data(37, 9, C, U * M, false);
  auto gates = numbers(size_t(2 * U) * (C + U)), gates_bias = numbers(2 * U, -1, 7);
  auto signal = numbers(size_t(U) * (C + U)), signal_bias = numbers(U);
  data.run(set.ctgru, Ctgru{data.s, M, gates.data(), gates_bias.data(), signal.data(), signal_bias.data()});
}

static void ode_rnn(const InstructionSet& set) {
  const int C = 5, H = 19;
  Data data(37, 9, C, H, false);
  auto hidden = numbers(size_t(H) * H), hidden_bias = numbers(H), out = numbers(size_t(H) * H), out_bias = numbers(H);
  auto input = numbers(size_t(3 * H) * C), state = numbers(size_t(3 * H) * H);
  auto input_bias = numbers(3 * H), state_bias = numbers(3 * H);
  const Gru update{input.data(), state.data(), input_bias.data(), state_bias.data()};
  data.run(set.ode_rnn, OdeRnn{data.s, hidden.data(), hidden_bias.data(), out.data(), out_bias.data(), update, Solver::rk4, 2});
}

int main(int, char** arguments) {
  for (const InstructionSet* set : instruction_sets())
    if (std::string(set->name) == arguments[1]) {
      for (Mode mode : {Mode::standard, Mode::no_gate, Mode::pure})
        for (int activation = 0; activation < 5; ++activation) cfc(*set, mode, activation, activation % 2);
      ltc(*set);
      ctgru(*set);
      ode_rnn(*set);
      return 0;
    }
  return 1;
}
