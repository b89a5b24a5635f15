"""ODE-LSTM (Lechner and Hasani, arXiv 2006.04418): an LSTM whose output follows an ODE between samples."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from torchliquid import cells
from torchliquid.layers.cell import MappedCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack
from torchliquid.solvers import Solver


class FlowCell(MappedCell):
    """dh/dt = -h + tanh(U h + b), the ODE that the memory's output follows between samples."""

    def __init__(self, input_size: int, hidden_size: int, solver: Solver) -> None:
        super().__init__(input_size, hidden_size, solver, with_inputs=False)

    def fastest_rate(self) -> float:
        """The rate of the leak, 1 / time."""
        return 1.0

    def map_inputs(self, inputs: Float[Tensor, "*B C"]) -> Float[Tensor, "*B 0"]:
        return inputs[..., :0]

    def recurrence(self, inputs: Tensor | None = None) -> cells.CTRNN:
        return cells.CTRNN(self.weight, self.bias, torch.ones_like(self.bias), self.stepper)


class ODELSTM(RecurrentLayer):
    """An ODE-LSTM over sequences: (h', c) = LSTM(x, (h, c)), then h is h' after a span of dh/dt = f(h).

    f is that of a continuous-time RNN without input, f(h) = -h + tanh(U h + b). So h is bounded for any span if the
    solver's steps are short enough; rk4 is stable up to spans of 2.785 ``ode_unfolds``. c does not depend on time
    (arXiv 2006.04418, algorithm 1). The state is (h, c).

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
        solver: str = "rk4",
        ode_unfolds: int = 3,
        rtol: float = 1e-4,
        atol: float = 1e-6,
        adjoint: bool = False,
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cell = FlowCell(input_size, units, Solver(solver, ode_unfolds, rtol, atol, adjoint))
        again = lambda n: ODELSTM(n, units, True, True, solver, ode_unfolds, rtol, atol, adjoint)  # noqa: E731
        stack = Stack(again, num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, True, return_states, stack)
