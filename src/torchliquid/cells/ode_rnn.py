"""The ODE-RNN cell (Rubanova et al., arXiv 1907.03907)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.cells.gru import gru_step
from torchliquid.cells.recurrence import Prepared
from torchliquid.solvers import Solver


class ODERNN(NamedTuple):
    """Recurrence of an ODE-RNN: dh/dt = V tanh(U h + b) + c during the span, then a GRU cell updates h with the sample
    (arXiv 1907.03907, algorithm 1).

    Attributes:
        flow: ``(U, b, V, c)``, (H, H) and (H,) each.
        update: weights of the GRU for input and state and their biases, (3 H, C), (3 H, H), (3 H,) and (3 H,), as in
            ``nn.GRUCell``.
        solver: solver of the ODE.
    """

    flow: Sequence[Tensor]
    update: Sequence[Tensor]
    solver: Solver

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """No series, and the weights."""
        return (), (*self.flow, *self.update)

    def step(
        self,
        x: Float[Tensor, "B C"],
        h: Float[Tensor, "B H"],
        span: Float[Tensor, " B"],
        series: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B H"]:
        h = self.solver.step(self.field, h, span.unsqueeze(1), (), weights[:4])
        return gru_step(x, h, *weights[4:])

    @staticmethod
    def field(
        h: Float[Tensor, "B H"],
        hidden: Float[Tensor, "H H"],
        hidden_bias: Float[Tensor, " H"],
        out: Float[Tensor, "H H"],
        out_bias: Float[Tensor, " H"],
    ) -> Float[Tensor, "B H"]:
        """dh/dt, from ``(U, b, V, c)``."""
        return F.linear(torch.tanh(F.linear(h, hidden, hidden_bias)), out, out_bias)
