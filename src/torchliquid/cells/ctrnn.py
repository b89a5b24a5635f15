"""The continuous-time recurrent cell (Funahashi and Nakamura, Neural Networks 6, 1993), with a leak and without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.cells.recurrence import Prepared
from torchliquid.solvers import Solver


class CTRNN(NamedTuple):
    """Recurrence of dh/dt = -rate h + tanh(W x + U h + b), with a constant input during the span before the sample.

    Without a rate, it is the Neural ODE of the LTC paper's tables (arXiv 2006.04439). Without inputs (C = 0) and with a
    rate of 1, it is the ODE after the memory of an ODE-LSTM (arXiv 2006.04418).

    Attributes:
        weight: [W, U].
        bias: b.
        rate: rate of the leak; None: no leak.
        solver: solver of the ODE.
    """

    weight: Float[Tensor, "H CH"]
    bias: Float[Tensor, " H"]
    rate: Float[Tensor, " H"] | None
    solver: Solver

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """W x + b, and the weights U and rate."""
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
        """dh/dt, where ``held`` is W x + b."""
        drive = torch.tanh(held + F.linear(h, recurrent))
        return drive if rate is None else drive - rate * h
