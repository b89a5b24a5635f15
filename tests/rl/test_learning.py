"""PPO learns with a liquid memory what cannot be done without one."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sb3_contrib")

from benchmarks.rl import MEMORIES, made, trained
from sb3_contrib import RecurrentPPO


def parameters(model: RecurrentPPO) -> int:
    return sum(p.numel() for p in model.policy.parameters())


def test_the_benchmarks_policies_have_as_many_parameters_as_the_lstm() -> None:
    lstm = parameters(made("lstm", 0))
    assert all(abs(parameters(made(name, 0)) - lstm) < 0.01 * lstm for name in MEMORIES)


@pytest.mark.slow
def test_a_cfc_learns_cartpole_without_velocities_at_jittering_intervals() -> None:
    line = next(trained("cfc", 0, 40_000))
    assert np.mean(line["rewards"]) > 150  # at most 500; untrained about 10
