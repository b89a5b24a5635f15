"""GRU-D: a GRU for series with missing values (Che et al., arXiv 1606.01865)."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from torchliquid import cells
from torchliquid.cells.grud import advance
from torchliquid.errors import InputError, check_size
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.forms import State, check_flags, check_tensor
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack


class GRUDCell(RecurrentCell):
    """One step of a GRU-D; NaN inputs are not observed.

    The equations are those of :class:`torchliquid.cells.GRUD`; inputs are standardised.

    Args:
        input_size: channels C.
        hidden_size: number of units H. The state (B, H + 2 C) consists of h, the last observed value of each channel,
            and the time since then.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        check_size(input_size=input_size, units=hidden_size)
        self.input_size, self.output_size = input_size, hidden_size
        self.state_size = hidden_size + 2 * input_size
        self.input_decay = nn.Parameter(torch.empty(input_size))
        self.input_decay_bias = nn.Parameter(torch.empty(input_size))
        self.reset_parameters()
        self.state_decay = nn.Linear(input_size, hidden_size)
        self.update = nn.GRUCell(2 * input_size, hidden_size)

    def reset_parameters(self) -> None:
        """Initialise the decays of the inputs."""
        nn.init.uniform_(self.input_decay)
        nn.init.zeros_(self.input_decay_bias)

    def recurrence(self, inputs: Tensor | None = None) -> cells.GRUD:
        gru, fading = self.update, self.state_decay
        update = (gru.weight_ih, gru.weight_hh, gru.bias_ih, gru.bias_hh)
        return cells.GRUD(self.input_decay, self.input_decay_bias, fading.weight, fading.bias, update)

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B S"], span: Float[Tensor, " B"]) -> Float[Tensor, "B S"]:
        return advance(x, h, span, self.input_decay, self.input_decay_bias, self.state_decay, self.update)

    def read(self, states: Float[Tensor, "*B S"]) -> Float[Tensor, "*B H"]:
        return states[..., : self.output_size]


class GRUD(RecurrentLayer):
    """A GRU-D over sequences.

    Args:
        input_size: channels C, standardised.
        units: number of units H.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
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
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cell = GRUDCell(input_size, units)
        stack = Stack(lambda n: GRUD(n, units), num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, False, return_states, stack)

    def forward(  # type: ignore[override]
        self,
        input: Tensor | PackedSequence,
        hx: State | None = None,
        timespans: Tensor | PackedSequence | float | None = None,
        lengths: Tensor | None = None,
        mask: Tensor | None = None,
        reset: Tensor | PackedSequence | None = None,
        return_states: bool | None = None,
    ) -> Any:
        """As :meth:`RecurrentLayer.forward`, but NaN inputs are not observed.

        Args:
            mask: shaped like the input, True if observed; None: where the input is not NaN.

        Raises:
            InputError: also if the mask is not boolean, has another shape, or is given with a ``PackedSequence``.
        """
        if mask is not None:
            if isinstance(input, PackedSequence):
                raise InputError("mask cannot be used with a PackedSequence; use NaN for values that are not observed")
            check_tensor("input", input)
            check_flags("mask", mask, input.shape)
            input = input.masked_fill(~mask, torch.nan)
        return super().forward(input, hx, timespans, lengths, reset, return_states)
