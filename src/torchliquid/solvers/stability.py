"""The stability of explicit solvers: how short their steps must be."""

from __future__ import annotations

import math

LIMITS = {"euler": 2.0, "rk4": 2.785}
"""Largest stable product of step and rate of decay (Hairer and Wanner, Solving ODEs II, IV.2)."""


def steps_that_hold(solver: str, rate: float, span: float) -> int:
    """The smallest number of steps with which an explicit solver is stable over a span.

    Args:
        solver: one of :data:`LIMITS`.
        rate: the fastest possible decay, 1 / time.
        span: the longest span, in the same unit of time.
    """
    return math.floor(rate * span / LIMITS[solver]) + 1


def instability(solver: str, unfolds: int, rate: float, span: float, otherwise: str = "fused") -> str | None:
    """A warning in one line if a solver's steps may be too long; None if they are short enough.

    A solver that is not in :data:`LIMITS` is stable at any span; ``otherwise`` names such a solver of the network.
    """
    if solver not in LIMITS or not math.isfinite(rate * span):
        return None
    needed = steps_that_hold(solver, rate, span)
    if unfolds >= needed:
        return None
    return (
        f"{unfolds} steps of the solver {solver} may be unstable: a neuron's time constant can fall to {1 / rate:.2g}, "
        f"the longest gap is {span:.3g} (both in usual gaps); {needed:,} steps hold, "
        f"and the solver {otherwise} at any gap"
    )
