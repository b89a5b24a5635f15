"""Runs a recurrence over time, one sample after the other.

In PyTorch this is a loop in Python; in ``torch.jit.trace`` a TorchScript loop; in ``torch.export`` and for ONNX a
``scan`` in the graph, so that batch size and number of samples stay free. It only needs a cell's ``prepare`` and
``step`` (:class:`~torchliquid.cells.recurrence.Recurrence`). The rows of a step are independent, so that a step can
also be applied to all samples of all sequences at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from torchliquid.cells.memory import lstm_step
from torchliquid.cells.recurrence import Recurrence, Sequences, States
from torchliquid.torch_private import graph_scan, tree_map
from torchliquid.tracing import is_for_onnx, is_traced, is_written_down

Step = Callable[..., Tensor]
Remember = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


def run(cell: Recurrence, over: Sequences) -> States:
    """The states after each sample, and the memory's cell states, (B, 0, H) without a memory."""
    series, weights = cell.prepare(over.inputs, over.timespans)
    memory = over.memory_weight
    if not is_written_down():
        step = lambda x, h, span, *series: cell.step(x, h, span, series, weights)  # noqa: E731
        remember = None if memory is None else lambda d, h, c: lstm_step(d, memory, h, c)
        return unrolled(step, over, remember, series)
    loop: Loop = _scripted if is_traced() else _as_operator
    sample = _Sample(cell, len(series), memory is not None, over.lengths is not None, over.reset is not None)
    rows = [over.inputs, over.timespans, *series, over.memory_drive, active_of(over), over.reset]
    carried = [over.state] if over.memory_cell is None else [over.state, over.memory_cell]
    shared = [*weights, *(() if memory is None else (memory,))]
    results = loop(sample, carried, [row for row in rows if row is not None], shared)
    return results[0], results[1] if len(results) > 1 else _no_cells(over)


def unrolled(step: Step, over: Sequences, remember: Remember | None = None, series: Sequence[Tensor] = ()) -> States:
    """As :func:`run`, but always with a loop in Python and with any function as the step.

    Args:
        step: ``step(input, state, span, *series)``.
        remember: ``remember(drive, h, c)`` returns the memory's new (h, c).
        series: (B, T, ...) each; a step gets their rows.
    """
    state, cell, active = over.state, over.memory_cell, active_of(over)
    states, cells = [], []
    for t in range(over.inputs.shape[1]):
        drive, on, resets = (None if x is None else x[:, t] for x in (over.memory_drive, active, over.reset))
        x, span, rows = over.inputs[:, t], over.timespans[:, t], [s[:, t] for s in series]
        state, cell = advance(step, remember, x, span, rows, state, cell, drive, on, resets)
        states.append(state)
        if cell is not None:
            cells.append(cell)
    return torch.stack(states, 1), torch.stack(cells, 1) if cells else _no_cells(over)


def advance(
    step: Step,
    remember: Remember | None,
    x: Tensor,
    span: Tensor,
    rows: Sequence[Tensor],
    state: Tensor,
    cell: Tensor | None,
    drive: Tensor | None,
    active: Tensor | None,
    resets: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """The new state and cell after one sample."""
    before, cell_before = state, cell
    if resets is not None:
        state = state.masked_fill(resets.unsqueeze(1), 0.0)
        cell = None if cell is None else cell.masked_fill(resets.unsqueeze(1), 0.0)
    if remember is not None and drive is not None and cell is not None:
        state, cell = remember(drive, state, cell)
    state = step(x, state, span, *rows)
    if active is not None:
        state = torch.where(active.unsqueeze(1), state, before)
        if cell is not None and cell_before is not None:
            cell = torch.where(active.unsqueeze(1), cell, cell_before)
    return state, cell


def active_of(over: Sequences) -> Tensor | None:
    if over.lengths is None:
        return None
    return torch.arange(over.inputs.shape[1], device=over.inputs.device) < over.lengths.unsqueeze(1)


def _no_cells(over: Sequences) -> Tensor:
    return over.inputs.new_zeros(over.inputs.shape[0], 0, over.state.shape[1])


@dataclass(frozen=True)
class _Sample:
    """:func:`advance` as a function of lists of tensors: (state[, cell]), the sample's rows, weights."""

    cell: Recurrence
    n_series: int
    with_memory: bool
    with_lengths: bool
    with_reset: bool

    def __call__(self, carried: Sequence[Tensor], sample: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        rest = iter(sample)
        x, span, *rows = (next(rest) for _ in range(2 + self.n_series))
        flags = (self.with_memory, self.with_lengths, self.with_reset)
        drive, active, resets = (next(rest) if there else None for there in flags)
        own, remember = weights, None
        if self.with_memory:
            *own, memory = weights

            def remember(d: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
                return lstm_step(d, memory, h, c)

        step = lambda x, h, span, *rows: self.cell.step(x, h, span, rows, own)  # noqa: E731
        cell = carried[1] if self.with_memory else None
        new = advance(step, remember, x, span, rows, carried[0], cell, drive, active, resets)
        return [part for part in new if part is not None]


Loop = Callable[[_Sample, list[Tensor], list[Tensor], list[Tensor]], Sequence[Tensor]]


def _scripted(sample: _Sample, carried: list[Tensor], series: list[Tensor], weights: list[Tensor]) -> Sequence[Tensor]:
    """A TorchScript loop around the traced step. The older ONNX exporter turns it into a Loop."""

    def one(carried: list[Tensor], of_sample: list[Tensor], weights: list[Tensor]) -> Any:
        new = sample(carried, of_sample, weights)
        return tuple(new) if len(new) > 1 else new[0]

    def make() -> Any:
        example = ([t.clone() for t in carried], [s[:, 0].clone() for s in series], weights)
        with torch.no_grad():
            return torch.jit.trace(one, tree_map(torch.Tensor.detach, example), check_trace=False)

    with ThreadPoolExecutor(1) as aside:  # traces cannot be nested in one thread
        traced = aside.submit(make).result()
    loop = (_loop_with_memory if sample.with_memory else _loop)(traced)
    result = loop(*carried, series, weights)
    return result if sample.with_memory else (result,)


def _loop(step: Any) -> Any:
    @torch.jit.script
    def loop(state: Tensor, series: list[Tensor], weights: list[Tensor]) -> Tensor:
        states: list[Tensor] = []
        for t in range(series[0].size(1)):
            state = step([state], [s[:, t] for s in series], weights)
            states.append(state)
        return torch.stack(states, 1)

    return loop


def _loop_with_memory(step: Any) -> Any:
    @torch.jit.script
    def loop(state: Tensor, cell: Tensor, series: list[Tensor], weights: list[Tensor]) -> tuple[Tensor, Tensor]:
        states: list[Tensor] = []
        cells: list[Tensor] = []
        for t in range(series[0].size(1)):
            state, cell = step([state, cell], [s[:, t] for s in series], weights)
            states.append(state)
            cells.append(cell)
        return torch.stack(states, 1), torch.stack(cells, 1)

    return loop


def _as_operator(
    sample: _Sample, carried: list[Tensor], series: list[Tensor], weights: list[Tensor]
) -> Sequence[Tensor]:
    """A ``scan`` in a graph, which ``torch.onnx`` turns into ONNX's."""
    n, m = len(carried), len(series)

    def one(*flat: Tensor) -> list[Tensor]:
        new = sample(flat[:n], flat[n : n + m], flat[n + m :])
        return [*new, *(part.clone() for part in new)]

    first = [s.transpose(0, 1) for s in series]
    if is_for_onnx():  # an ONNX graph has no backward pass
        carried, first, weights = ([t.detach() for t in tensors] for tensors in (carried, first, weights))
    # Copies, because the graph would confuse inputs that are the same tensor, as zeros may be.
    results = graph_scan(one, [c.clone() for c in carried], first, tuple(w.clone() for w in weights))
    return [r.transpose(0, 1).contiguous() for r in results[n:]]
