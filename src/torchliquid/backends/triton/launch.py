"""Runs kernels over a batch, one stretch of time after another, which bounds the memory of the backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
import triton
from torch import Tensor

from torchliquid.cells.recurrence import Sequences, States

INTERPRETED = bool(triton.knobs.runtime.interpret)
SCRATCH = 2**24
"""Maximum number of values stored for a stretch of time, unless a single sample of each sequence needs more."""
ON_CHIP, FORWARD_ON_CHIP = 2**15, 5 * 2**13
"""Maximum number of weights that a program holds in registers; the second one in a forward pass without a memory."""


class Chunk(NamedTuple):
    """A stretch of time of a batch of sequences; contiguous tensors, named as in :class:`Sequences`.

    Attributes:
        start, end: its samples are ``start`` to ``end`` of the whole.
    """

    inputs: Tensor
    timespans: Tensor
    before: Tensor
    lengths: Tensor | None
    drive: Tensor | None
    memory: Tensor | None
    cell: Tensor | None
    reset: Tensor | None
    start: int
    end: int

    @property
    def batch(self) -> int:
        return self.timespans.shape[0]

    @property
    def time(self) -> int:
        return self.timespans.shape[1]

    def rows(self, states: Tensor, cells: Tensor | None) -> Chunk:
        """Each sample as a sequence of its own, given the states after all samples."""
        n = self.batch * self.time

        def earlier(first: Tensor, later: Tensor) -> Tensor:
            before = torch.cat([first.unsqueeze(1), later[:, :-1]], 1)
            if self.reset is not None:
                before.masked_fill_(self.reset.bool().unsqueeze(2), 0.0)
            return before.view(n, -1)

        active = None
        if self.lengths is not None:
            active = (torch.arange(self.time, device=states.device) < self.lengths.unsqueeze(1)).view(n).int()
        return Chunk(
            self.inputs.reshape(n, 1, -1),
            self.timespans.view(n, 1),
            earlier(self.before, states),
            active,
            None if self.drive is None else self.drive.view(n, 1, -1),
            self.memory,
            None if self.cell is None or cells is None else earlier(self.cell, cells),
            None,
            self.start,
            self.end,
        )


@runtime_checkable
class Kernel(Protocol):
    """A recurrence with its weights as its kernels need them."""

    kept: int
    """Number of values per sample that the backward pass stores."""

    def forward(self, chunk: Chunk, keep: bool = False) -> tuple[Tensor, Tensor | None, Any]:
        """The states after each sample, the memory's cell states, and with ``keep`` what the backward pass needs."""

    def backward(
        self,
        chunk: Chunk,
        rows: Chunk,
        kept: Any,
        grads: tuple[Tensor, Any],
        to: tuple[Tensor, Any],
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The gradients of the inputs, the spans and the memory's drive.

        Args:
            grads: gradients of the states after each sample and of the memory's cell states.
            to: gradients of the state and cell after the chunk, which are replaced by those before it.
        """

    def gradients(self) -> list[Tensor | None]:
        """Gradients of the recurrence's tensors, summed over all chunks so far."""


def forward(kernel: Kernel, over: Sequences) -> States:
    """The states after each sample, and the memory's cell states."""
    states, cells = [], []
    before, cell = over.state, over.memory_cell
    for start, end in _stretches(kernel, over):
        found, found_cells, _ = kernel.forward(_chunk(over, start, end, before, cell))
        before = found[:, -1]
        states.append(found)
        if found_cells is not None:
            cell = found_cells[:, -1]
            cells.append(found_cells)
    none = over.inputs.new_empty(over.state.shape[0], 0, over.state.shape[1])
    return _joined(states, none), _joined(cells, none)


def backward(
    kernel: Kernel, over: Sequences, states: Tensor, cells: Tensor, grads: tuple[Tensor, Tensor]
) -> list[Tensor | None]:
    """The gradients of the tensors of the sequences and of the recurrence."""
    mixed = over.memory_drive is not None
    to_inputs: list[Tensor] = []
    to_spans: list[Tensor] = []
    to_drive: list[Tensor] = []
    to_memory = None if over.memory_weight is None else torch.zeros_like(over.memory_weight)
    to_state, to_cell = torch.zeros_like(over.state), torch.zeros_like(over.state) if mixed else None
    for start, end in reversed(list(_stretches(kernel, over))):
        first = start == 0
        before = over.state if first else states[:, start - 1]
        cell = over.memory_cell if first or not mixed else cells[:, start - 1]
        chunk = _chunk(over, start, end, before, cell)
        known, *given = (x[:, start:end].contiguous() for x in (states, *grads))
        known_cells = cells[:, start:end] if mixed else None
        rows = chunk.rows(known, known_cells)
        _, _, kept = kernel.forward(rows, keep=True)
        found = kernel.backward(chunk, rows, kept, (given[0], given[1] if mixed else None), (to_state, to_cell))
        to_inputs.insert(0, found[0])
        to_spans.insert(0, found[1])
        if found[2] is not None and to_memory is not None:
            to_drive.insert(0, found[2])
            to_memory.addmm_(found[2].flatten(0, 1).T, rows.before)
    return [
        _joined(to_inputs, torch.zeros_like(over.inputs)),
        _joined(to_spans, torch.zeros_like(over.timespans)),
        to_state,
        None,
        _joined(to_drive, torch.zeros_like(over.memory_drive)) if over.memory_drive is not None else None,
        to_memory,
        to_cell,
        None,
        *kernel.gradients(),
    ]


def programs(wanted: int, like: Tensor) -> int:
    """Number of programs for so many independent pieces of work."""
    return max(1, min(wanted, 2 if INTERPRETED else 8 * _processors(like.device)))


def padded(n: int) -> int:
    """Length of a vector that holds n numbers: a power of 2."""
    return max(2, triton.next_power_of_2(n))


def piece_of(rows: int, columns: int, matrices: int) -> int:
    """Number of rows, or columns, that are read at once from so many matrices."""
    return max(2, min(rows, columns, 2**13 // (matrices * max(rows, columns))))


def warps(numbers: int) -> int:
    """Number of warps (32 threads each) for tiles of so many numbers."""
    return min(8, max(1, triton.next_power_of_2(numbers) // 1024))


def _stretches(kernel: Kernel, over: Sequences) -> Iterator[tuple[int, int]]:
    batch, time = over.timespans.shape
    step = max(1, SCRATCH // max(1, batch * kernel.kept))
    for start in range(0, time, step):
        yield start, min(time, start + step)


def _chunk(over: Sequences, start: int, end: int, before: Tensor, cell: Tensor | None) -> Chunk:
    def part(x: Tensor | None) -> Tensor | None:
        return None if x is None else x[:, start:end].contiguous()

    inputs, spans, drive, reset = (part(x) for x in (over.inputs, over.timespans, over.memory_drive, over.reset))
    assert inputs is not None
    assert spans is not None
    lengths = None
    if over.lengths is not None:
        lengths = (over.lengths - start).clamp(0, end - start).int()
        # Padding is multiplied by a gradient of 0, and may be NaN.
        behind = torch.arange(end - start, device=inputs.device) >= lengths.unsqueeze(1)
        inputs = inputs.masked_fill(behind.unsqueeze(2), 0.0)
    return Chunk(
        inputs,
        spans,
        before.contiguous(),
        lengths,
        drive,
        None if over.memory_weight is None else over.memory_weight.contiguous(),
        None if cell is None else cell.contiguous(),
        None if reset is None else reset.to(torch.int8),
        start,
        end,
    )


def _joined(parts: list[Tensor], none: Tensor) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1) if parts else none


@cache
def _processors(device: torch.device) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1
