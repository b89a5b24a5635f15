"""The interface of a recurrence, and the sequences that it runs over."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

Prepared = tuple[Sequence[Float[Tensor, "B T ..."]], Sequence[Tensor]]
"""What :meth:`Recurrence.prepare` returns: series and weights."""


@runtime_checkable
class Recurrence(Protocol):
    """A cell with its weights: a ``NamedTuple`` of tensors, tuples of tensors, and settings.

    The weights are in their final form: positive, masked and packed. A recurrence knows nothing of layers or loops. The
    loop over time (:mod:`torchliquid.scan`) and the backends (:mod:`torchliquid.backends`) need only its two methods.
    Both methods work in any floating dtype, on any device, and can be differentiated any number of times. B batch,
    T time, C channels, H units.
    """

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """Compute everything that does not depend on the state: series with a row for each sample, and weights, which
        are the same for all steps.

        Args:
            inputs: inputs of each sample.
            timespans: time since the previous sample, finite and not negative.
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

        Rows of the batch are independent. A step uses its arguments and the cell's settings, but none of the cell's
        tensors, because loops in graphs take tensors only as arguments.
        """
        ...


class Sequences(NamedTuple):
    """A batch of sequences for a recurrence, optionally with a memory in front (see :mod:`torchliquid.cells.memory`).

    Attributes:
        inputs: inputs of each sample.
        timespans: time since the previous sample, finite and not negative.
        state: state before the first sample.
        lengths: number of samples of each sequence; later ones do not change the state. None: T.
        memory_drive: the input's part of the memory's gates; None: no memory.
        memory_weight: recurrent weight of the memory.
        memory_cell: cell state of the memory before the first sample.
        reset: True where the state is set to zero before a sample, such as at the start of an episode; None: nowhere.
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
    """The tensors of a recurrence or of sequences, in order."""
    found: list[Tensor] = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found.extend(v for v in value if isinstance(v, Tensor))
    return found


def with_tensors(cell: Any, tensors: Iterable[Any]) -> Any:
    """The same recurrence with other tensors, in the order of :func:`tensors_of`; ``...`` is a placeholder."""
    new, values = iter(tensors), []
    for value in cell:
        if isinstance(value, (list, tuple)):
            values.append([next(new) if isinstance(v, Tensor) or v is ... else v for v in value])
        else:
            values.append(next(new) if isinstance(value, Tensor) or value is ... else value)
    return type(cell)(*values)
