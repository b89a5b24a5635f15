"""What a recurrence is, and what it runs over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor


@runtime_checkable
class Recurrence(Protocol):
    """A cell with its weights: a ``NamedTuple`` of tensors, tuples of tensors, and settings.

    Weights arrive as they act: positive, masked and packed. Nothing here knows of layers, and nothing of loops: what
    goes over time (:mod:`torchliquid.scan`) and what runs it (:mod:`torchliquid.backends`) need the two methods alone.
    Both work in any floating dtype, on any device, and can be differentiated any number of times. B batch, T time,
    C channels, H units.
    """

    def prepare(
        self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]
    ) -> tuple[Sequence[Float[Tensor, "B T ..."]], Sequence[Tensor]]:
        """What does not wait for the state.

        Args:
            inputs: of each sample.
            timespans: time since the sample before, finite and not negative.

        Returns:
            Series, with a row for each sample, and weights, which all steps share.
        """
        ...

    def step(
        self,
        x: Float[Tensor, "B C"],
        h: Float[Tensor, "B H"],
        span: Float[Tensor, " B"],
        series: Sequence[Float[Tensor, "B ..."]],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B H"]:
        """The state after one sample.

        The rows are independent of each other. A step reads its arguments and the cell's settings, and none of the
        cell's own tensors: a graph's loop takes in tensors as arguments alone.
        """
        ...


class Sequences(NamedTuple):
    """A batch of sequences for a recurrence, maybe with a memory in front (see :mod:`torchliquid.cells.memory`).

    Attributes:
        inputs: what each sample feeds in.
        timespans: time since the sample before, finite and not negative.
        state: before the first sample.
        lengths: samples of each sequence; later ones leave the state alone. None: all of them.
        memory_drive: the input's share of the memory's gates; None: no memory.
        memory_weight: the memory's recurrent weight.
        memory_cell: the memory's cell state before the first sample.
        reset: true where the state is zero before the sample, as where an episode begins; None: nowhere.
    """

    inputs: Float[Tensor, "B T C"]
    timespans: Float[Tensor, "B T"]
    state: Float[Tensor, "B H"]
    lengths: Int[Tensor, " B"] | None = None
    memory_drive: Float[Tensor, "B T H4"] | None = None
    memory_weight: Float[Tensor, "H4 H"] | None = None
    memory_cell: Float[Tensor, "B H"] | None = None
    reset: Bool[Tensor, "B T"] | None = None


States = tuple[Float[Tensor, "B T H"], Float[Tensor, "B N H"]]
"""The states after each sample, and the memory's cell states: N = T, or 0 without a memory."""


def tensors_of(values: Iterable[Any]) -> list[Tensor]:
    """The tensors of a recurrence, or of sequences, in their order."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(v for v in value if isinstance(v, Tensor))
    return found


def with_tensors(cell: Any, tensors: Iterable[Any]) -> Any:
    """The same recurrence with other tensors, given in the order of :func:`tensors_of`; ``...`` keeps a place free."""
    new, values = iter(tensors), []
    for value in cell:
        if isinstance(value, (list, tuple)):
            values.append([next(new) if isinstance(v, Tensor) or v is ... else v for v in value])
        else:
            values.append(next(new) if isinstance(value, Tensor) or value is ... else value)
    return type(cell)(*values)
