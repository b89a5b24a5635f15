"""Stacked and bidirectional layers, as in ``nn.LSTM``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchliquid.cells import Sequences
from torchliquid.errors import InputError, check_size


@dataclass(frozen=True)
class Stack:
    """The settings of a stack.

    Attributes:
        again: creates one more layer, from its number of inputs.
        num_layers, dropout, bidirectional: as in ``nn.LSTM``.

    Raises:
        InputError: there is no layer, or the dropout is outside [0, 1] or has no layer after it.
    """

    again: Callable[[int], Any]
    num_layers: int = 1
    dropout: float = 0.0
    bidirectional: bool = False

    def __post_init__(self) -> None:
        check_size(num_layers=self.num_layers)
        if not 0 <= self.dropout <= 1:
            raise InputError(f"dropout must be from 0 to 1, not {self.dropout}")
        if self.dropout and self.num_layers == 1:
            raise InputError(f"dropout={self.dropout} acts between layers, and num_layers is 1")


def at_last(values: Float[Tensor, "B T ..."], lengths: Int[Tensor, " B"] | None) -> Float[Tensor, "B ..."]:
    """The values at each sequence's last sample; ``lengths`` None: all have T samples."""
    if lengths is None:
        return values[:, -1]
    # The shape, because len() would fix the batch size in a traced or exported call.
    return values[torch.arange(values.shape[0], device=values.device), lengths - 1]


@dataclass(frozen=True)
class Backwards:
    """The samples of each sequence from its last to its first; padding stays where it is."""

    places: Int[Tensor, "B T"]

    @classmethod
    def of(cls, over: Sequences) -> Backwards:
        t = torch.arange(over.inputs.shape[1], device=over.inputs.device).unsqueeze(0)
        if over.lengths is None:
            return cls(t.flip(1))
        ends = over.lengths.unsqueeze(1)
        return cls(torch.where(t < ends, ends - 1 - t, t))

    def __call__(self, series: Tensor) -> Tensor:
        places = self.places.expand(series.shape[0], -1)
        return series.gather(1, places if series.dim() == 2 else places.unsqueeze(2).expand(series.shape))

    def sequences(self, over: Sequences) -> Sequences:
        """The sequences in this order. A span then leads to the next sample, and a state is reset after a sample
        instead of before it; the first span stays that of the first sample."""
        spans, reset = over.timespans, over.reset
        if reset is not None:
            reset = self._after(torch.zeros_like(reset[:, :1]), reset)
        return over._replace(inputs=self(over.inputs), timespans=self._after(spans[:, :1], spans), reset=reset)

    def _after(self, first: Tensor, series: Tensor) -> Tensor:
        # The last sample is cut off at the end, because a slice of T - 1 samples would make an export ask for T > 1.
        return torch.cat([first, self(series)], 1)[:, : series.shape[1]]
