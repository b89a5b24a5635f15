"""Continuous-time recurrent networks (Funahashi and Nakamura, Neural Networks 6, 1993)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid import cells
from torchliquid.layers.cell import SolvedCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack
from torchliquid.solvers import Solver


class CTRNNCell(SolvedCell):
    """One step of dh/dt = -h / tau + tanh(W x + U h + b), with the input x constant during the span
    before it.

    The state is bounded by tau if the solver's steps are short enough.

    Args:
        input_size: number of inputs C.
        hidden_size: number of units H.
        solver: the solver of the ODE.
    """

    def __init__(self, input_size: int, hidden_size: int, solver: Solver) -> None:
        super().__init__(input_size, hidden_size, solver)
        self.weight = nn.Parameter(torch.empty(hidden_size, input_size + hidden_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))
        self.raw_tau = nn.Parameter(torch.empty(hidden_size))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the weights; time constants are 1, as in the LTC paper's baseline (arXiv 2006.04439)."""
        nn.init.xavier_uniform_(self.weight)
        self.bias.zero_()
        self.raw_tau.fill_(1.0).expm1_().log_()  # the inverse of softplus

    @property
    def tau(self) -> Float[Tensor, " H"]:
        """Time constants, in units of the timespans."""
        return F.softplus(self.raw_tau)

    @torch.no_grad()
    def fastest_rate(self) -> float:
        """The fastest leak, 1 / time; neurons also act on each other."""
        return float(1 / self.tau.min())

    def recurrence(self, inputs: Tensor | None = None) -> cells.CTRNN:
        return cells.CTRNN(self.weight, self.bias, 1 / self.tau, self.stepper)


class CTRNN(RecurrentLayer):
    """A continuous-time recurrent network over sequences.

    Args:
        input_size: number of inputs C.
        units: number of units H.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        solver, ode_unfolds, rtol, atol, adjoint: as in :class:`~torchliquid.solvers.Solver`.
        return_states, num_layers, dropout, bidirectional: as in :class:`RecurrentLayer`.

    Raises:
        InputError: a size is below 1, or the solver is unknown.
    """

    def __init__(
        self,
        input_size: int,
        units: int,
        return_sequences: bool = True,
        batch_first: bool = True,
        solver: str = "euler",
        ode_unfolds: int = 6,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        adjoint: bool = False,
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cell = CTRNNCell(input_size, units, Solver(solver, ode_unfolds, rtol, atol, adjoint))
        again = lambda n: CTRNN(n, units, True, True, solver, ode_unfolds, rtol, atol, adjoint)  # noqa: E731
        stack = Stack(again, num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, False, return_states, stack)
