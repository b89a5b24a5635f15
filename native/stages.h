// Explicit solvers as stages: a step of length d from v goes through y_j = v + c_j d k_(j-1), k_j = f(y_j), to
// v + d sum w_j k_j.
#pragma once

#include "kernels.h"

namespace torchliquid {

constexpr int kMaxStages = 4;
struct Stages {
  int count;
  float reach[kMaxStages + 1], weight[kMaxStages];  // c, and a 0 behind them; w
};
constexpr Stages kEuler{1, {0, 0}, {1}};
constexpr Stages kRungeKutta{4, {0, 0.5f, 0.5f, 1, 0}, {1 / 6.0f, 1 / 3.0f, 1 / 3.0f, 1 / 6.0f}};

constexpr const Stages& stages_of(Solver solver) { return solver == Solver::euler ? kEuler : kRungeKutta; }

}  // namespace torchliquid
