"""A recurrence solved for all its samples at once, exactly: Newton's method over time.

The states are the solution of T equations, h(t) = step(x(t), h(t - 1)). Newton's method linearises all of them around a
guess of all states; what is left is a linear recurrence, which an associative scan solves in O(log T) steps that each
work on many samples (DEER, Lim et al., arXiv 2309.12252). Where a network forgets, a few iterations reach the states
that one sample after the other gives, to rounding.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchliquid import scan
from torchliquid.cells.memory import lstm_step
from torchliquid.cells.recurrence import Recurrence, Sequences, States

ITERATIONS = 30
"""Of Newton's method, at most; a network that needs more is not solved faster than it is stepped."""

NEARLY = 1e-6
"""What the last iteration may still move a state by, in single precision; 1e-10 in double."""


class Solved(NamedTuple):
    """How a call was solved.

    Attributes:
        iterations: of Newton's method.
        moved: the largest change of any state in the last one: the error before it.
        converged: whether to the states of one sample after the other; if not, these are stepped instead.
    """

    iterations: int
    moved: float
    converged: bool


def run(cell: Recurrence, over: Sequences) -> tuple[States | None, Solved]:
    """The states after each sample and the memory's cell states, as one sample after the other gives them, and how they
    were found; no states where Newton's method does not converge. Gradients are exact, and can be taken once: one
    linear recurrence backwards through the converged states."""
    first = over.state if over.memory_cell is None else torch.cat([over.state, over.memory_cell], 1)
    units = over.state.shape[1]
    advance = _all_at_once(cell, over)
    with torch.no_grad():
        states, jacobians, found = _newton(advance, first, over.inputs.shape[1])
    if states is None or jacobians is None:
        return None, found
    # One more step of the method, which gradients go through; the jacobians and the guess are constants in it.
    before = torch.cat([first.unsqueeze(1), states[:, :-1]], 1)
    drive = advance(before)
    drive = torch.cat([drive[:, :1], drive[:, 1:] - _times(jacobians[:, 1:], states[:, :-1])], 1)
    solved = _Linear.apply(jacobians, drive)
    return (solved[..., :units], solved[..., units:]), found


Advance = Callable[[Float[Tensor, "B T D"]], Float[Tensor, "B T D"]]


def _all_at_once(cell: Recurrence, over: Sequences) -> Advance:
    """A function from the states before all samples to those after them; the memory's cell follows the state."""
    series, weights = cell.prepare(over.inputs, over.timespans)
    batch, time, units = *over.inputs.shape[:2], over.state.shape[1]
    active = scan.active_of(over)
    rows = [None if x is None else x.flatten(0, 1) for x in (over.memory_drive, active, over.reset)]
    inputs, spans = over.inputs.flatten(0, 1), over.timespans.flatten(0, 1)
    of_samples = [s.flatten(0, 1) for s in series]
    memory = over.memory_weight

    def step(x: Tensor, h: Tensor, span: Tensor, *series: Tensor) -> Tensor:
        return cell.step(x, h, span, series, weights)

    def remember(drive: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        assert memory is not None
        return lstm_step(drive, memory, h, c)

    def advance(before: Tensor) -> Tensor:
        z = before.flatten(0, 1)
        h, c = (z, None) if memory is None else (z[:, :units], z[:, units:])
        h, c = scan.advance(step, None if memory is None else remember, inputs, spans, of_samples, h, c, *rows)
        return (h if c is None else torch.cat([h, c], 1)).unflatten(0, (batch, time))

    return advance


def _newton(advance: Advance, first: Tensor, time: int) -> tuple[Tensor | None, Tensor | None, Solved]:
    """States and jacobians that solve all equations; None where that does not converge."""
    nearly = NEARLY if first.dtype is torch.float32 else 1e-10
    states, moved = first.new_zeros(first.shape[0], time, first.shape[1]), math.inf
    for iteration in range(1, ITERATIONS + 1):
        before = torch.cat([first.unsqueeze(1), states[:, :-1]], 1)
        after, jacobians = _linearised(advance, before)
        jacobians[:, 0] = 0.0  # what is before the first sample is known
        drive = after.clone()
        drive[:, 1:] -= _times(jacobians[:, 1:], before[:, 1:])
        new = solve_linear(jacobians, drive)
        moved = float((new - states).abs().max())
        states = new
        if not math.isfinite(moved):
            break
        if moved <= nearly * max(1.0, float(states.abs().max())):
            return states, jacobians, Solved(iteration, moved, converged=True)
    return None, None, Solved(iteration, moved, converged=False)


def _linearised(advance: Advance, before: Tensor) -> tuple[Tensor, Tensor]:
    """The states after, and (B, T, D, D) by which they change with those before: a column for each unit."""
    units = torch.eye(before.shape[-1], dtype=before.dtype, device=before.device)

    def along(unit: Tensor) -> Tensor:
        column: Tensor = torch.func.jvp(advance, (before,), (unit.expand_as(before),))[1]
        return column

    return advance(before), torch.func.vmap(along, out_dims=-1)(units)


class _Linear(torch.autograd.Function):
    """:func:`solve_linear`, differentiable in what drives it."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, drive: Tensor) -> Tensor:
        ctx.save_for_backward(matrices)
        return solve_linear(matrices, drive)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (matrices,) = ctx.saved_tensors
        ahead = torch.cat([matrices[:, 1:], torch.zeros_like(matrices[:, :1])], 1)
        return None, solve_linear(ahead.mT.flip(1), grad.flip(1)).flip(1)


def solve_linear(matrices: Float[Tensor, "B T D D"], drive: Float[Tensor, "B T D"]) -> Float[Tensor, "B T D"]:
    """y(t) = A(t) y(t - 1) + b(t) for all t at once, y(0) = b(0): every second sample from pairs, then those between.

    O(T) work in O(log T) steps (Blelloch, 1990).
    """
    time = drive.shape[1]
    if time == 1:
        return drive
    even, odd = slice(0, time - 1, 2), slice(1, time, 2)
    pairs = matrices[:, odd] @ matrices[:, even]
    ends = solve_linear(pairs, _times(matrices[:, odd], drive[:, even]) + drive[:, odd])
    solved = torch.empty_like(drive)
    solved[:, odd] = ends
    solved[:, 0] = drive[:, 0]
    rest = slice(2, time, 2)
    solved[:, rest] = _times(matrices[:, rest], ends[:, : len(range(2, time, 2))]) + drive[:, rest]
    return solved


def _times(matrices: Tensor, vectors: Tensor) -> Tensor:
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
