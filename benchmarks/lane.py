"""Steers the simulated car with the generated C of a lane-keeping policy, which runs in an emulator.

Give the policy's file from the ``policies`` folder of ``torchliquid control drive``. Each lap is driven twice: by
PyTorch, and by the C compiled for ``--target``. In the second lap, each answer of the C is compared with PyTorch's.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid import Model
from torchliquid.control.evaluation import Run, policy_of
from torchliquid.control.worlds.drive import KeepLane
from torchliquid.edge.pipe import Piped
from torchliquid.edge.targets import TARGETS


class Both:
    """A policy that acts as the first policy, and keeps the largest difference of the second."""

    def __init__(self, first: Any, second: Any) -> None:
        self.first, self.second = first, second
        self.apart = 0.0

    def __call__(self, observation: Any, elapsed: float) -> Any:
        action, other = self.first(observation, elapsed), self.second(observation, elapsed)
        self.apart = max(self.apart, float(np.abs(action - other).max()))
        return action


def lap(policy: Any, seed: int) -> Run:
    run = Run(KeepLane(), 10_000)  # type: ignore[arg-type]
    run.go(policy, seed)
    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("policy", type=Path)
    parser.add_argument("--target", default="raspberry-pi")
    parser.add_argument("--laps", type=int, default=2)
    parser.add_argument("--seed", type=int, default=400_000)
    options = parser.parse_args()
    model = Model.load(options.policy)
    assert isinstance(model, Model)
    with Piped(model, TARGETS[options.target]) as device:
        for seed in range(options.seed, options.seed + options.laps):
            ours: Any = policy_of(model)
            alone = lap(ours, seed)
            ours.reset()
            device.reset()
            both = Both(device, ours)
            steered = lap(both, seed)
            for name, run in (("PyTorch", alone), (f"C on {options.target}", steered)):
                end = "a lap in its lane" if run.success else "left its lane" if run.crashed else "out of time"
                print(f"world {seed}, {name}: {end} after {run.steps} steps, {run.seconds:.1f} s", flush=True)
            print(f"world {seed}: at each step the same to {both.apart:.1e} of the steering's range", flush=True)


if __name__ == "__main__":
    main()
