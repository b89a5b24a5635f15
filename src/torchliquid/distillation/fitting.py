"""The largest network of a kind that fits a device."""

from __future__ import annotations

from typing import Any

import torch

from torchliquid.edge import footprint, parity
from torchliquid.edge.artifact import make
from torchliquid.edge.emulator import missing
from torchliquid.edge.footprint import Footprint, Limits
from torchliquid.edge.targets import Target
from torchliquid.errors import InputError
from torchliquid.models.build import build
from torchliquid.models.predictor import Predictor
from torchliquid.random import seeded

FEWEST, MOST = 50, 20_000
"""Range of live parameters that is searched."""


def largest_that_fits(
    teacher: Predictor, kind: str, target: Target, limits: Limits, **hyper: Any
) -> tuple[int, Footprint]:
    """The largest number of live parameters, to a twentieth, with which a network of a kind keeps a device's limits in
    single precision. Its costs depend only on its size, so they are measured before training.

    Raises:
        InputError: not even the smallest fits, the target is not a machine, or the tools to measure are not installed.
    """
    if not target.triple:
        raise InputError(f"{target.name} is not a machine with limits; name one, such as cortex-m4")
    if lacking := missing(target):
        raise InputError(f"what fits {target.name} is measured in emulation: {lacking}")

    def cost(parameters: int) -> tuple[int, Footprint]:
        with seeded(0), torch.no_grad():
            model = build(kind, teacher.task, teacher.preprocessing, parameters, **hyper).eval()
            artifact = make(model, target, target.math, False, parity.made_up(model.preprocessing, footprint.STEPS))
        return model.live_parameters(), footprint.measure(artifact, target)

    low, high = _least(kind, teacher, hyper), MOST
    best = cost(low)
    if over := limits.exceeded(best[1]):
        raise InputError(f"the smallest {kind} does not fit {target.name}: {'; '.join(over)}")
    while high > 1.05 * low + 1:
        middle = round((low * high) ** 0.5)
        try:
            found = cost(middle)
            fits = not limits.exceeded(found[1])
        except InputError:  # larger than the emulated board
            fits = False
        if fits:
            low, best = middle, found
        else:
            high = middle
    return best


def _least(kind: str, teacher: Predictor, hyper: dict[str, Any]) -> int:
    """A budget for the smallest network of a kind, or close to it."""
    budget = FEWEST
    while True:
        try:
            with seeded(0):
                return build(kind, teacher.task, teacher.preprocessing, budget, **hyper).live_parameters()
        except InputError:
            budget *= 2
            if budget > MOST:
                raise
