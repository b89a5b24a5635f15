// An LTC forward and backward by each instruction set that this processor has: its name, then every number.
#include <cstdio>

#include "../../native/dispatch.h"
#include "../../native/run.h"

using namespace torchliquid;

static float uniform(float low, float high) {
  static uint32_t seed = 1;
  seed = seed * 1664525u + 1013904223u;
  return low + (high - low) * float(seed >> 8) / float(1 << 24);
}

static std::vector<float> uniform(size_t count, float low, float high) {
  std::vector<float> drawn(count);
  for (float& x : drawn) x = uniform(low, high);
  return drawn;
}

struct Edges {
  std::vector<int64_t> source, target;
  std::vector<float> weight, mu, sigma, erev;

  Edges(int sources, int targets)
      : weight(uniform(sources * targets, 0.1f, 1)), mu(uniform(sources * targets, 0, 1)),
        sigma(uniform(sources * targets, 3, 8)), erev(uniform(sources * targets, -1, 1)) {
    for (int i = 0; i < sources * targets; ++i) source.push_back(i % sources), target.push_back(i / sources);
  }
  operator Synapses() const {
    return {int(source.size()), weight.data(), mu.data(), sigma.data(), erev.data(), source.data(), target.data()};
  }
};

int main() {
  const int B = 19, T = 40, C = 3, H = 7;
  const auto input = uniform(B * T * C, -1, 1), timespan = uniform(B * T, 0.5f, 2), state = uniform(B * H, -1, 1);
  const auto grad_states = uniform(B * T * H, -1, 1), gleak = uniform(H, 0.1f, 1), vleak = uniform(H, -0.2f, 0.2f);
  const auto cm = uniform(H, 0.4f, 0.6f);
  const Edges inner(H, H), sensory(C, H);
  for (const InstructionSet* set : instruction_sets()) {
    std::vector<float> states(B * T * H), grad_input(B * T * C), grad_timespan(B * T), grad_state(B * H);
    Ltc problem{};
    Sequence& s = problem.sequence;
    s.batch = B, s.time = T, s.inputs = C, s.units = H;
    s.input = input.data(), s.timespan = timespan.data(), s.state = state.data(), s.states = states.data();
    s.grad_states = grad_states.data(), s.grad_input = grad_input.data(), s.grad_timespan = grad_timespan.data();
    s.grad_state = grad_state.data();
    problem.gleak = gleak.data(), problem.vleak = vleak.data(), problem.cm = cm.data();
    problem.synapses = inner, problem.sensory = sensory;
    problem.unfolds = 6, problem.epsilon = 1e-8f;
    std::vector<float> gradients(set->ltc[0].parameters(problem));
    run(set->ltc, problem, 2, nullptr);
    run(set->ltc, problem, 2, gradients.data());
    std::printf("%s", set->name);
    for (const auto* numbers : {&states, &grad_input, &grad_timespan, &grad_state, &gradients})
      for (float x : *numbers) std::printf(" %.9g", x);
    std::printf("\n");
  }
}
