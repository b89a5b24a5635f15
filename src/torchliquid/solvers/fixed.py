"""Explicit solvers with fixed steps: Euler (order 1) and the classical Runge-Kutta method (order 4)."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Field = Callable[[Tensor], Tensor]
"""The rate of change (B, H) of a state (B, H). Within a sample it depends only on the state."""

Step = Callable[[Field, Tensor, Tensor, int], Tensor]


def euler(field: Field, state: Float[Tensor, "B H"], span: Float[Tensor, "B 1"], unfolds: int) -> Float[Tensor, "B H"]:
    """The state after a span, by ``unfolds`` Euler steps of equal length: v <- v + d f(v).

    Stable if d |lambda| < 2 for every eigenvalue lambda of the field's Jacobian. A span of 0 does not change the state.
    """
    d = span / unfolds
    for _ in range(unfolds):
        state = state + d * field(state)
    return state


def rk4(field: Field, state: Float[Tensor, "B H"], span: Float[Tensor, "B 1"], unfolds: int) -> Float[Tensor, "B H"]:
    """The state after a span, by ``unfolds`` classical Runge-Kutta steps of equal length with four field calls each.

    Stable if d |lambda| < 2.785 (Hairer and Wanner, Solving Ordinary Differential Equations II, IV.2). A span of 0 does
    not change the state.
    """
    d = span / unfolds
    for _ in range(unfolds):
        k1 = field(state)
        k2 = field(state + d / 2 * k1)
        k3 = field(state + d / 2 * k2)
        k4 = field(state + d * k3)
        state = state + d / 6 * (k1 + 2 * (k2 + k3) + k4)
    return state


FIXED: dict[str, Step] = {"euler": euler, "rk4": rk4}
"""The solvers with fixed steps, by name."""
