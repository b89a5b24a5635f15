"""Computes all states of a recurrence at once, exactly, by Newton's method over time.

The states solve T equations, h(t) = step(x(t), h(t - 1)). Newton's method linearises all of them around a guess of the
states. The result is a linear recurrence, which an associative scan solves in O(log T) steps, each of which processes
many samples (DEER, Lim et al., arXiv 2309.12252). If a network forgets, a few iterations reach, up to rounding, the
states of processing one sample after the other.

If the neurons of a cell do not act on each other, the Jacobian is diagonal and everything is O(T H). For other cells
with many units only its diagonal is used, which needs more iterations and gives the same states (quasi-DEER, Gonzalez
et al., arXiv 2407.19115). If an iteration diverges, the next one uses a part of the Jacobian, which has the same
solution.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from torchliquid import scan
from torchliquid.backends import solve_linear
from torchliquid.cells.linear import times
from torchliquid.cells.memory import lstm_step
from torchliquid.cells.recurrence import Recurrence, Sequences, States

ITERATIONS, DIAGONAL_ITERATIONS = 30, 100
"""Maximum number of iterations. A network that needs more is not solved faster than it is stepped."""

NEARLY = 1e-6
"""Largest change of a state in the last iteration, in single precision; 1e-10 in double."""

FULL = 64
"""Maximum number of units, with those of a memory, for which the full Jacobian is used."""

STRETCH, STRETCH_ON_GPU = 2**20, 2**24
"""Maximum number of elements of the Jacobians at once. Longer sequences are solved in consecutive stretches."""

LONG = 256
"""Minimum number of samples for which it is faster."""

STIFFEST, FARTHEST = 12, 1e3
"""``STIFFEST``: how often Jacobians may be halved before the samples are stepped instead. ``FARTHEST``: by how much the
error of an iteration may exceed that of the best one before they are halved."""


class Solved(NamedTuple):
    """How a call was solved.

    Attributes:
        iterations: number of Newton iterations; with several stretches, their maximum.
        moved: the largest change of any state in the last iteration, that is, the error before it.
        converged: whether the states of stepping were reached; if not, the samples were stepped instead.
        residual: the largest difference between a state and the step from the previous state.
        damped: number of iterations that were repeated with damping.
    """

    iterations: int
    moved: float
    converged: bool
    residual: float = math.nan
    damped: int = 0


def run(cell: Recurrence, over: Sequences, guess: Tensor | None = None) -> tuple[States | None, Solved]:
    """The states after each sample and the memory's cell states, equal to those of stepping, and how they were found.
    The states are None if Newton's method does not converge. Gradients are exact, but only of first order: they follow
    from one linear recurrence backwards in time.

    Args:
        guess: initial states (B, T, H), followed by the cell states with a memory; None: zeros.
    """
    state, memory_cell = over.state, over.memory_cell
    units = state.shape[1]
    found: list[Tensor] = []
    all_solved: list[Solved] = []
    for part, own in _stretches(cell, over, guess):
        states, solved = _solve(cell, part._replace(state=state, memory_cell=memory_cell), own)
        all_solved.append(solved)
        if states is None:
            return None, _joined(all_solved)
        found.append(states)
        state = states[:, -1, :units]
        memory_cell = None if memory_cell is None else states[:, -1, units:]
    states = found[0] if len(found) == 1 else torch.cat(found, 1)
    cell_states = states[:, :0] if over.memory_cell is None else states[..., units:]
    return (states[..., :units], cell_states), _joined(all_solved)


def pays(cell: Recurrence, over: Sequences) -> bool:
    """Whether this is faster than a loop over the samples in Python, by ``python -m benchmarks.over_time``: if the
    Jacobian is diagonal. On a CPU, compiled kernels are faster than both."""
    return over.timespans.shape[1] >= LONG and _is_diagonal(cell, over)


def _joined(parts: list[Solved]) -> Solved:
    iterations, moved, converged, residual, damped = zip(*parts, strict=True)
    return Solved(max(iterations), max(moved), all(converged), max(residual), sum(damped))


def _stretches(cell: Recurrence, over: Sequences, guess: Tensor | None) -> Iterator[tuple[Sequences, Tensor | None]]:
    batch, time = over.timespans.shape
    size = over.state.shape[1] * (1 if over.memory_cell is None else 2)
    most = STRETCH if over.timespans.device.type == "cpu" else STRETCH_ON_GPU
    step = max(64, most // max(1, batch * size * (1 if _is_diagonal(cell, over) or size > FULL else size)))
    for start in range(0, time, step):
        now = slice(start, start + step)
        cut = {name: value[:, now] for name, value in over._asdict().items() if name in SERIES and value is not None}
        left = None if over.lengths is None else (over.lengths - start).clamp(0, step)
        yield over._replace(lengths=left, **cut), None if guess is None else guess[:, now]


SERIES = ("inputs", "timespans", "memory_drive", "reset")


def _is_diagonal(cell: Recurrence, over: Sequences) -> bool:
    return over.memory_cell is None and getattr(cell, "diagonal", False)


Advance = Callable[[Float[Tensor, "B T D"]], Float[Tensor, "B T D"]]
Linearise = Callable[[Advance, Tensor], tuple[Tensor, Tensor]]


def _solve(cell: Recurrence, over: Sequences, guess: Tensor | None) -> tuple[Tensor | None, Solved]:
    first = over.state if over.memory_cell is None else torch.cat([over.state, over.memory_cell], 1)
    advance = _all_at_once(cell, over)
    diagonal, exact = _is_diagonal(cell, over), True
    linearise: Linearise = _along_units if diagonal else _linearised
    if not diagonal and first.shape[1] > FULL:
        linearise, exact = _own_slopes, False
    with torch.no_grad():
        states, jacobians, found = _newton(advance, linearise, first, over.inputs.shape[1], guess, exact)
    if states is None or jacobians is None:
        return None, found
    # One more step of the method, for the gradients. The Jacobians and the guess are constants in it.
    before = torch.cat([first.unsqueeze(1), states[:, :-1]], 1)
    after = advance(before)
    found = found._replace(residual=float((after.detach() - states).abs().max()))
    if not exact:
        return _Implicit.apply(after, jacobians, advance, before.detach()), found
    drive = torch.cat([after[:, :1], after[:, 1:] - times(jacobians[:, 1:], states[:, :-1])], 1)
    return _Linear.apply(jacobians, drive), found


def _all_at_once(cell: Recurrence, over: Sequences) -> Advance:
    """A function from the states before all samples to those after them. The memory's cell follows the state."""
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


def _newton(
    advance: Advance, linearise: Linearise, first: Tensor, time: int, guess: Tensor | None, exact: bool
) -> tuple[Tensor | None, Tensor | None, Solved]:
    """States and Jacobians that solve all equations; None if the method does not converge."""
    # If the Jacobians are diagonals only, the last change underestimates the remaining error.
    nearly = (NEARLY if first.dtype is torch.float32 else 1e-10) / (1 if exact else 4)
    shape = (first.shape[0], time, first.shape[1])
    states = first.new_zeros(shape) if guess is None or guess.shape != shape else guess.detach().to(first)
    moved, best, kept, damping, damped = math.inf, math.inf, states, 1.0, 0
    for iteration in range(1, (ITERATIONS if exact else DIAGONAL_ITERATIONS) + 1):
        before = torch.cat([first.unsqueeze(1), states[:, :-1]], 1)
        after, jacobians = linearise(advance, before)
        wrong = float((after - states).abs().max())
        if not wrong <= FARTHEST * max(best, 1.0):  # diverged: back to the best states with halved Jacobians
            damping, damped, states = damping / 2, damped + 1, kept
            if damped > STIFFEST:
                break
            continue
        if wrong < best:
            best, kept, damping = wrong, states, min(1.0, 2 * damping)
        jacobians[:, 0] = 0.0  # the state before the first sample is known
        if not exact:
            jacobians = jacobians.clamp(-1, 1)
        slopes = jacobians if damping == 1 else damping * jacobians
        drive = after.clone()
        drive[:, 1:] -= times(slopes[:, 1:], before[:, 1:])
        new = solve_linear(slopes, drive)
        moved = float((new - states).abs().max())
        states = new
        if moved <= nearly * max(1.0, float(states.abs().max())):
            return states, jacobians, Solved(iteration, moved, converged=True, damped=damped)
    return None, None, Solved(iteration, moved, converged=False, damped=damped)


def _linearised(advance: Advance, before: Tensor) -> tuple[Tensor, Tensor]:
    """The states after each sample, and their Jacobians (B, T, D, D) by the states before, one column per unit."""
    columns = torch.func.vmap(partial(_slopes, advance, before), out_dims=-1)
    return advance(before), columns(_units(before))


def _own_slopes(advance: Advance, before: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`_linearised`, but only the diagonal, (B, T, D)."""

    def own(unit: Tensor) -> Tensor:
        return (_slopes(advance, before, unit) * unit).sum(-1)

    return advance(before), torch.func.vmap(own, out_dims=-1, chunk_size=8)(_units(before))


def _slopes(advance: Advance, before: Tensor, direction: Tensor) -> Tensor:
    """The derivative of the states after each sample, in one direction of the states before."""
    slopes: Tensor = torch.func.jvp(advance, (before,), (direction.expand_as(before),))[1]
    return slopes


def _units(before: Tensor) -> Tensor:
    """(D, D) the directions of the units, made on the states' device."""
    return torch.eye(before.shape[-1], dtype=before.dtype, device=before.device)


def _along_units(advance: Advance, before: Tensor) -> tuple[Tensor, Tensor]:
    """As :func:`_own_slopes`, for cells whose neurons do not act on each other."""
    found = torch.func.jvp(advance, (before,), (torch.ones_like(before),))
    return found[0], found[1]


class _Linear(torch.autograd.Function):
    """:func:`solve_linear` with gradients for its drive."""

    @staticmethod
    def forward(ctx: Any, matrices: Tensor, drive: Tensor) -> Tensor:
        ctx.save_for_backward(matrices)
        return solve_linear(matrices, drive)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        (matrices,) = ctx.saved_tensors
        return None, solve_linear(matrices, grad, reverse=True)


class _Implicit(torch.autograd.Function):
    """The states, with the gradient of the full recurrence, of which only the diagonal is known. The rest is found by
    iteration; if this does not converge, the full Jacobian is computed."""

    @staticmethod
    def forward(ctx: Any, after: Tensor, diagonal: Tensor, advance: Advance, before: Tensor) -> Tensor:
        ctx.save_for_backward(diagonal, before)
        ctx.advance = advance
        return after.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        diagonal, before = ctx.saved_tensors
        pull: Any = torch.func.vjp(ctx.advance, before)[1]
        nearly = 1e-6 if grad.dtype is torch.float32 else 1e-11
        found = solve_linear(diagonal, grad, reverse=True)
        for _ in range(DIAGONAL_ITERATIONS):
            rest = pull(found)[0] - diagonal * found
            new = solve_linear(diagonal, torch.cat([grad[:, :-1] + rest[:, 1:], grad[:, -1:]], 1), reverse=True)
            moved = float((new - found).abs().max())
            found = new
            if moved <= nearly * float(found.abs().max()):
                return found, None, None, None
        return solve_linear(_linearised(ctx.advance, before)[1], grad, reverse=True), None, None, None
