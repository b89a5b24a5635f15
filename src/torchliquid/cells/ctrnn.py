"""The continuous-time recurrent cell (Funahashi and Nakamura, Neural Networks 6, 1993), with a leak and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.solvers import Solver


class CTRNN(NamedTuple):
    """Recurrence of dh/dt = -rate h + tanh(W x + U h + b), the input held during the span before it.

    Without a rate it is the Neural ODE of the LTC paper's tables (arXiv 2006.04439); without inputs, C = 0, and with a
    rate of 1 what an ODE-LSTM has behind its memory (arXiv 2006.04418).

    Attributes:
        weight: W and U side by side.
        bias: b.
        rate: of the leak; None: no leak.
        solver: steps the equation.
    """

    weight: Float[Tensor, "H CH"]
    bias: Float[Tensor, " H"]
    rate: Float[Tensor, " H"] | None
    solver: Solver

    def prepare(
        self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """W x + b; U and the rate."""
        n = inputs.shape[2]
        held = F.linear(inputs, self.weight[:, :n], self.bias)
        return (held,), (self.weight[:, n:], *(() if self.rate is None else (self.rate,)))

    def step(
        self,
        x: Float[Tensor, "B C"],
        h: Float[Tensor, "B H"],
        span: Float[Tensor, " B"],
        series: Sequence[Float[Tensor, "B H"]],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B H"]:
        return self.solver.step(self.field, h, span.unsqueeze(1), series, weights)

    @staticmethod
    def field(
        h: Float[Tensor, "B H"],
        held: Float[Tensor, "B H"],
        recurrent: Float[Tensor, "H H"],
        rate: Float[Tensor, " H"] | None = None,
    ) -> Float[Tensor, "B H"]:
        """dh/dt, with W x + b ``held``."""
        drive = torch.tanh(held + F.linear(h, recurrent))
        return drive if rate is None else drive - rate * h
