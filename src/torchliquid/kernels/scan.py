"""A step of any recurrence over sequences: as a plain loop, and as a loop in the formats that leave PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

Step = Callable[..., Tensor]
Remember = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_graph_loops: ContextVar[bool] = ContextVar("graph_loops", default=False)


def scan(
    step: Step,
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    memory_drive: Float[Tensor, "B T 4*H"] | None,
    memory_weight: Float[Tensor, "4*H H"] | None,
    cell: Float[Tensor, "B H"] | None,
    extras: Sequence[Tensor] = (),
    weights: Sequence[Tensor] = (),
    reset: Bool[Tensor, "B T"] | None = None,
) -> tuple[Float[Tensor, "B T H"], Float[Tensor, "B T H"]]:
    """The states after each sample, and the memory's cell states, (B, 0, H) without one.

    In ``torch.jit.trace`` this is a loop of TorchScript, in ``torch.export`` and for ONNX a ``scan``, so that batch and
    time stay free.

    Args:
        step: ``step(input, state, span, *extras, *weights)``, each of one sample but the weights; it reads no other
            tensor.
        memory_drive, memory_weight, cell: of an LSTM in front, see :func:`lstm_step`.
        extras: (B, T, ...) each.
        reset: true where the state is zero before the sample.
    """
    if not is_written_down():
        remember = None if memory_weight is None else lambda d, h, c: lstm_step(d, memory_weight, h, c)
        plain = lambda x, h, span, *ready: step(x, h, span, *ready, *weights)  # noqa: E731
        return unrolled(plain, inputs, timespans, state, lengths, memory_drive, remember, cell, extras, reset)
    loop: Loop = _scripted if is_traced() else _as_operator
    sample = _Sample(step, len(extras), cell is not None, lengths is not None, reset is not None)
    series = [inputs, timespans, *extras, memory_drive, _active(lengths, inputs), reset]
    carried = [state] if cell is None else [state, cell]
    remembered = () if memory_weight is None else (memory_weight,)
    results = loop(sample, carried, [s for s in series if s is not None], [*weights, *remembered])
    return results[0], results[1] if len(results) > 1 else _no_cells(inputs, state)


def unrolled(
    step: Step,
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    drive: Tensor | None,
    remember: Remember | None,
    cell: Tensor | None,
    extras: Sequence[Tensor] = (),
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`scan`, always sample after sample in Python: ``step(input, state, span, *extras)`` may be anything.

    Args:
        drive, remember: ``remember(drive, h, c)`` gives the memory's new (h, c).
    """
    states, cells, active = [], [], _active(lengths, inputs)
    for t in range(inputs.shape[1]):
        ready = [e[:, t] for e in extras]
        driven, on, anew = (None if x is None else x[:, t] for x in (drive, active, reset))
        state, cell = _advance(step, remember, inputs[:, t], timespans[:, t], ready, state, cell, driven, on, anew)
        states.append(state)
        if cell is not None:
            cells.append(cell)
    return torch.stack(states, 1), torch.stack(cells, 1) if cells else _no_cells(inputs, state)


def is_traced() -> bool:
    """Whether ``torch.jit.trace`` looks on."""
    tracing: bool = torch.jit.is_tracing()  # type: ignore[attr-defined]
    return tracing


def is_written_down() -> bool:
    """Whether a trace or an export takes down what runs, for other programs to run."""
    if torch.compiler.is_dynamo_compiling():
        return False
    return is_traced() or _graph_loops.get() or torch.compiler.is_compiling()


@contextmanager
def graph_loops() -> Iterator[None]:
    """Within it, and where a graph is made, :func:`scan` is one ``torch.ops.higher_order.scan``."""
    token = _graph_loops.set(True)
    try:
        yield
    finally:
        _graph_loops.reset(token)


def lstm_step(
    drive: Float[Tensor, "B 4*H"],
    weight: Float[Tensor, "4*H H"],
    h: Float[Tensor, "B H"],
    c: Float[Tensor, "B H"],
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """One step of the memory cell of mixed-memory networks (arXiv 2006.04418).

    ``drive`` is the input's share of the gates, bias included; the gates stand in the order input
    activation, input gate, forget gate (which gets 1 added), output gate. Returns the new (h, c).
    """
    return lstm_gates(drive + F.linear(h, weight), c)


def lstm_gates(gates: Float[Tensor, "B 4*H"], c: Float[Tensor, "B H"]) -> tuple[Tensor, Tensor]:
    """The new (h, c) of :func:`lstm_step` from the sum of input's and state's shares."""
    i, gate, forget, out = gates.chunk(4, 1)
    c = torch.sigmoid(forget + 1) * c + torch.sigmoid(gate) * torch.tanh(i)
    return torch.sigmoid(out) * torch.tanh(c), c


def _advance(
    step: Step,
    remember: Remember | None,
    x: Tensor,
    span: Tensor,
    ready: Sequence[Tensor],
    state: Tensor,
    cell: Tensor | None,
    driven: Tensor | None,
    active: Tensor | None,
    anew: Tensor | None,
) -> tuple[Tensor, Tensor | None]:
    """One sample: the new state and cell."""
    before, cell_before = state, cell
    if anew is not None:
        state = state.masked_fill(anew.unsqueeze(1), 0.0)
        cell = None if cell is None else cell.masked_fill(anew.unsqueeze(1), 0.0)
    if remember is not None and driven is not None and cell is not None:
        state, cell = remember(driven, state, cell)
    state = step(x, state, span, *ready)
    if active is not None:
        state = torch.where(active.unsqueeze(1), state, before)
        if cell is not None and cell_before is not None:
            cell = torch.where(active.unsqueeze(1), cell, cell_before)
    return state, cell


def _active(lengths: Tensor | None, inputs: Tensor) -> Tensor | None:
    if lengths is None:
        return None
    return torch.arange(inputs.shape[1], device=inputs.device) < lengths.unsqueeze(1)


def _no_cells(inputs: Tensor, state: Tensor) -> Tensor:
    return inputs.new_zeros(inputs.shape[0], 0, state.shape[1])


@dataclass(frozen=True)
class _Sample:
    """:func:`_advance` as a function of lists of tensors: (state[, cell]), what each sample has, weights."""

    step: Step
    n_extras: int
    with_memory: bool
    with_lengths: bool
    with_reset: bool

    def __call__(self, carried: Sequence[Tensor], sample: Sequence[Tensor], weights: Sequence[Tensor]) -> list[Tensor]:
        rest = iter(sample)
        x, span, *ready = (next(rest) for _ in range(2 + self.n_extras))
        flags = (self.with_memory, self.with_lengths, self.with_reset)
        driven, active, anew = (next(rest) if there else None for there in flags)
        own, remember = weights, None
        if self.with_memory:
            *own, memory = weights

            def remember(d: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
                return lstm_step(d, memory, h, c)

        step = lambda x, h, span, *ready: self.step(x, h, span, *ready, *own)  # noqa: E731
        cell = carried[1] if self.with_memory else None
        new = _advance(step, remember, x, span, ready, carried[0], cell, driven, active, anew)
        return [part for part in new if part is not None]


Loop = Callable[[_Sample, list[Tensor], list[Tensor], list[Tensor]], Sequence[Tensor]]


def _scripted(sample: _Sample, carried: list[Tensor], series: list[Tensor], weights: list[Tensor]) -> Sequence[Tensor]:
    """A TorchScript loop around the traced step, which also the older ONNX exporter turns into a Loop."""

    def one(carried: list[Tensor], of_sample: list[Tensor], weights: list[Tensor]) -> Any:
        new = sample(carried, of_sample, weights)
        return tuple(new) if len(new) > 1 else new[0]

    def make() -> Any:
        example = ([t.clone() for t in carried], [s[:, 0].clone() for s in series], weights)
        with torch.no_grad():
            return torch.jit.trace(one, torch.utils._pytree.tree_map(torch.Tensor.detach, example), check_trace=False)

    with ThreadPoolExecutor(1) as aside:  # a trace can't be made within a trace, and each thread has its own
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
    """A ``scan`` of a graph, which ``torch.onnx`` turns into ONNX's."""
    from torch._higher_order_ops.scan import scan_op

    n, m = len(carried), len(series)

    def one(*flat: Tensor) -> list[Tensor]:
        new = sample(flat[:n], flat[n : n + m], flat[n + m :])
        return [*new, *(part.clone() for part in new)]

    first = [s.transpose(0, 1) for s in series]
    if _graph_loops.get() or torch.onnx.is_in_onnx_export():  # a way back for gradients is no part of an ONNX graph
        carried, first, weights = ([t.detach() for t in tensors] for tensors in (carried, first, weights))
    # Copies: where two of them are one tensor, as zeros may be, the graph would take the one for the other.
    results = scan_op(one, [c.clone() for c in carried], first, tuple(w.clone() for w in weights))
    return [r.transpose(0, 1).contiguous() for r in results[n:]]
