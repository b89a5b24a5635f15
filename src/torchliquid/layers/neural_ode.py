"""Neural ODEs on sequences: the ODE-RNN (Rubanova et al., arXiv 1907.03907), and the LTC paper's baseline."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid import cells
from torchliquid.errors import InputError
from torchliquid.layers.cell import MappedCell, SolvedCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack
from torchliquid.solvers import Solver


class ODERNNCell(SolvedCell):
    """One step of an ODE-RNN: the state follows dh/dt = V tanh(U h + b) + c during the span, then a GRU cell reads
    the sample (arXiv 1907.03907, algorithm 1).

    Args:
        input_size: number of inputs C.
        hidden_size: number of units H, of the state and of the field's hidden layer.
        solver: the solver of the ODE.
    """

    def __init__(self, input_size: int, hidden_size: int, solver: Solver) -> None:
        super().__init__(input_size, hidden_size, solver)
        self.hidden = nn.Linear(hidden_size, hidden_size)
        self.out = nn.Linear(hidden_size, hidden_size)
        self.update = nn.GRUCell(input_size, hidden_size)

    def recurrence(self, inputs: Tensor | None = None) -> cells.ODERNN:
        flow, gru = (self.hidden.weight, self.hidden.bias, self.out.weight, self.out.bias), self.update
        return cells.ODERNN(flow, (gru.weight_ih, gru.weight_hh, gru.bias_ih, gru.bias_hh), self.stepper)

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B H"], span: Float[Tensor, " B"]) -> Float[Tensor, "B H"]:
        if self.stepper.adjoint:
            raise InputError("the adjoint needs the field's weights, and a part of it is called; leave adjoint out")
        moved = self.stepper.step(lambda v: self.out(torch.tanh(self.hidden(v))), h, span.unsqueeze(1))
        after: Tensor = self.update(x, moved)
        return after


class DrivenODECell(MappedCell):
    """One step of dh/dt = tanh(W x + U h + b), with x constant during the span before it (arXiv 2006.04439).

    The arguments are those of :class:`ODERNNCell`.
    """

    def recurrence(self, inputs: Tensor | None = None) -> cells.CTRNN:
        return cells.CTRNN(self.weight, self.bias, None, self.stepper)


class NeuralODE(RecurrentLayer):
    """A state that follows a learned vector field.

    By default it is an ODE-RNN: the field does not depend on the input, and a GRU cell reads each sample
    (arXiv 1907.03907). With ``update=None`` it is the "Neural ODE" of the LTC paper's tables (arXiv 2006.04439): the
    field depends on the input, which is constant during a span, and samples change nothing else. It has no leak, so its
    state is not bounded.

    Args:
        input_size: number of inputs C.
        units: number of units H.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        update: ``"gru"``, or None if the field depends on the input.
        solver, ode_unfolds, rtol, atol, adjoint: as in :class:`~torchliquid.solvers.Solver`.
        return_states, num_layers, dropout, bidirectional: as in :class:`RecurrentLayer`.

    Raises:
        InputError: a size is below 1, or the solver or update is unknown.
    """

    def __init__(
        self,
        input_size: int,
        units: int,
        return_sequences: bool = True,
        batch_first: bool = True,
        update: str | None = "gru",
        solver: str = "rk4",
        ode_unfolds: int = 6,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        adjoint: bool = False,
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        if update not in ("gru", None):
            raise InputError(f"update must be 'gru' or None, not {update!r}")
        make = DrivenODECell if update is None else ODERNNCell
        cell = make(input_size, units, Solver(solver, ode_unfolds, rtol, atol, adjoint))
        again = lambda n: NeuralODE(n, units, True, True, update, solver, ode_unfolds, rtol, atol, adjoint)  # noqa: E731
        stack = Stack(again, num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, False, return_states, stack)
