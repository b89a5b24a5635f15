"""Continuous-time gated recurrent units (Mozer, Kazakov and Lindsey, arXiv 1710.04110)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid import cells
from torchliquid.cells.ctgru import advance, faded_share
from torchliquid.errors import check_size
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack


class CTGRUCell(RecurrentCell):
    """One step of a CT-GRU. Each unit has M traces that decay with time constants tau_i = 10^(i / 2), i = 0 to M - 1.

    The equations are those of :class:`torchliquid.cells.CTGRU`.

    Args:
        input_size: number of inputs C.
        hidden_size: units H; the state is the traces, (B, H M).
        scales: M.
    """

    def __init__(self, input_size: int, hidden_size: int, scales: int = 8) -> None:
        super().__init__()
        check_size(input_size=input_size, units=hidden_size, scales=scales)
        self.input_size, self.state_size, self.output_size = input_size, hidden_size * scales, hidden_size
        self.scales = scales
        self.gates = nn.Linear(input_size + hidden_size, 2 * hidden_size)
        self.signal = nn.Linear(input_size + hidden_size, hidden_size)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weights."""
        for linear in (self.gates, self.signal):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def recurrence(self, inputs: Tensor | None = None) -> cells.CTGRU:
        return cells.CTGRU(self.gates.weight, self.gates.bias, self.signal.weight, self.signal.bias, self.scales)

    def step(
        self, x: Float[Tensor, "B C"], h: Float[Tensor, "B HM"], span: Float[Tensor, " B"]
    ) -> Float[Tensor, "B HM"]:
        gates = lambda total: self.gates(torch.cat([x, total], 1))  # noqa: E731
        signal = lambda read: self.signal(torch.cat([x, read], 1))  # noqa: E731
        return advance(h, faded_share(span, self.scales), gates, signal)

    def read(self, states: Float[Tensor, "*B HM"]) -> Float[Tensor, "*B H"]:
        """The sum of the traces of each unit."""
        return states.unflatten(-1, (-1, self.scales)).sum(-1)


class CTGRU(RecurrentLayer):
    """A continuous-time GRU over sequences.

    Args:
        input_size: number of inputs C.
        units: number of units H.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        scales: number of time constants per unit: 1, 10^0.5, 10, ... in units of the timespans.
        return_states, num_layers, dropout, bidirectional: as in :class:`RecurrentLayer`.

    Raises:
        InputError: a size is below 1.
    """

    def __init__(
        self,
        input_size: int,
        units: int,
        return_sequences: bool = True,
        batch_first: bool = True,
        scales: int = 8,
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cell = CTGRUCell(input_size, units, scales)
        stack = Stack(lambda n: CTGRU(n, units, scales=scales), num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, False, return_states, stack)
