"""Layers on each other and in both directions, as ``nn.LSTM`` has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from torchliquid.errors import InputError, check_size


@dataclass(frozen=True)
class Stack:
    """How many layers stand on each other, and in which directions they run.

    Attributes:
        again: makes one more layer, on so many inputs.
        num_layers, dropout, bidirectional: as in ``nn.LSTM``.

    Raises:
        InputError: no layer, a dropout outside [0, 1] or with no layer behind it.
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


@dataclass(frozen=True)
class Single:
    """One layer in one direction.

    Attributes:
        state_size: H of its own.
        run: ``run(x, spans, h, lengths, c, reset)``: outputs (B, T, O), states (B, T, H), the last h, and c.
    """

    state_size: int
    run: Callable[..., tuple[Tensor, Tensor, tuple[Tensor, ...]]]


def run_stack(
    layers: Sequence[Sequence[Single]],
    dropout: Callable[[Tensor], Tensor],
    x: Float[Tensor, "B T C"],
    spans: Float[Tensor, "B T"],
    h: Float[Tensor, "LD B H"],
    lengths: Int[Tensor, " B"] | None,
    c: Float[Tensor, "LD B H"] | None,
    reset: Bool[Tensor, "B T"] | None,
) -> tuple[list[Float[Tensor, "B T O"]], Float[Tensor, "LD B T H"], tuple[Tensor, ...]]:
    """Run a stack.

    Args:
        layers: of each layer its directions, forwards first.
        dropout: what happens to outputs between two layers.

    Returns:
        The last layer's outputs of each direction, all in the order of time, the states of all, and their last ones.
        A state that is smaller than H is filled up with zeros.
    """
    all_states: list[Tensor] = []
    all_last: list[tuple[Tensor, ...]] = []
    outputs: list[Tensor] = []
    places = _turned(x.shape[1], lengths, x.device)
    for number, layer in enumerate(layers):
        if number:
            x = dropout(torch.cat(outputs, 2))
        outputs = []
        for way, one in enumerate(layer):
            k, size = len(all_states), one.state_size
            own = h[k, :, :size], lengths, None if c is None else c[k]
            if way == 0:
                output, states, last = one.run(x, spans, *own, reset)
            else:
                behind = _shifted(spans, places), _shifted(reset, places, first=False)
                output, states, last = one.run(_by_time(x, places), behind[0], *own, behind[1])
                output, states = _by_time(output, places), _by_time(states, places)
            missing = (0, h.shape[2] - size)
            outputs.append(output)
            all_states.append(F.pad(states, missing))
            all_last.append(tuple(F.pad(part, missing) for part in last))
    return outputs, torch.stack(all_states), tuple(map(torch.stack, zip(*all_last, strict=True)))


def last_of(series: Float[Tensor, "B T O"], lengths: Int[Tensor, " B"] | None) -> Float[Tensor, "B O"]:
    """Those of each sequence's last sample."""
    if lengths is None:
        return series[:, -1]
    return series[torch.arange(series.shape[0], device=series.device), lengths - 1]


def _turned(time: int, lengths: Int[Tensor, " B"] | None, device: torch.device) -> Int[Tensor, "B T"]:
    """Places of the samples from each sequence's end to its start; what is behind the end stays."""
    t = torch.arange(time, device=device).unsqueeze(0)
    if lengths is None:
        return t.flip(1)
    ends = lengths.unsqueeze(1)
    return torch.where(t < ends, ends - 1 - t, t)


def _by_time(series: Tensor, places: Int[Tensor, "B T"]) -> Tensor:
    places = places.expand(series.shape[0], -1)
    return series.gather(1, places if series.dim() == 2 else places.unsqueeze(2).expand(series.shape))


def _shifted(series: Tensor | None, places: Int[Tensor, "B T"], first: bool | None = None) -> Any:
    """What stands between samples, turned: behind the first sample comes what was before the last one.

    Args:
        first: what stands before the first sample then; None: what does so forwards.
    """
    if series is None:
        return None
    start = series[:, :1] if first is None else torch.full_like(series[:, :1], first)
    # One sample more and the last one away: of a slice of T - 1 samples an export would ask that T is not 1.
    return torch.cat([start, _by_time(series, places)], 1)[:, : series.shape[1]]
