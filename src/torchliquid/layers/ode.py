"""How the layers that solve an explicit ODE step it: one field, any solver."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from torchliquid import kernels
from torchliquid.errors import InputError
from torchliquid.kernels.reference import drive_of, field
from torchliquid.kernels.scan import scan
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.recurrent import check_size
from torchliquid.solvers import ADAPTIVE, FIXED, adaptive


@dataclass(frozen=True)
class Solver:
    """A solver by name.

    Attributes:
        name: ``"euler"`` or ``"rk4"``, with steps of equal length; ``"dopri5"`` or ``"tsit5"``, with steps of each
            sample's own within the tolerances (needs ``torchliquid[solvers]``).
        unfolds: steps a sample; of the first two.
        rtol, atol: tolerances of the others.
        adjoint: gradients of the others by the adjoint instead of back through the steps.

    Raises:
        InputError: another name, no step, an adjoint where there is none, a tolerance of nothing.
    """

    name: str
    unfolds: int = 6
    rtol: float = 1e-4
    atol: float = 1e-6
    adjoint: bool = False

    def __post_init__(self) -> None:
        names = [*FIXED, *ADAPTIVE]
        if self.name not in names:
            raise InputError(f"solver is one of {', '.join(names)}, not {self.name!r}")
        check_size(ode_unfolds=self.unfolds)
        if not (self.rtol > 0 and self.atol > 0):
            raise InputError(f"rtol and atol must be greater than 0, not {self.rtol} and {self.atol}")
        if self.adjoint and self.name in FIXED:
            raise InputError(f"the adjoint is for {' and '.join(ADAPTIVE)}; {self.name} goes back through its steps")

    def step(
        self,
        field: Callable[..., Tensor],
        state: Float[Tensor, "B H"],
        span: Float[Tensor, "B 1"],
        drives: Sequence[Tensor] = (),
        weights: Sequence[Tensor] = (),
    ) -> Float[Tensor, "B H"]:
        """The state a span later; ``field(state, *drives, *weights)`` as in :func:`torchliquid.solvers.adaptive`."""
        if self.name in FIXED:
            return FIXED[self.name](lambda v: field(v, *drives, *weights), state, span, self.unfolds)
        return adaptive(field, state, span, self.name, self.rtol, self.atol, self.adjoint, drives, weights)


def run_field(
    solver: Solver,
    inputs: Float[Tensor, "B T C"],
    timespans: Float[Tensor, "B T"],
    state: Float[Tensor, "B H"],
    lengths: Int[Tensor, " B"] | None,
    weight: Float[Tensor, "H C+H"],
    bias: Float[Tensor, " H"],
    rate: Float[Tensor, " H"] | None,
    memory: tuple[Tensor, Tensor, Tensor] | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Sequences of dh/dt = -rate h + tanh(W x + U h + b): by the kernels, or adaptive step after step.

    Args:
        weight: W and U side by side.
        rate: of the leak; None: none.
        memory: drive, weight and cell of an LSTM in front, as in :func:`torchliquid.kernels.reference.ctrnn`.
    """
    drive, recurrent, cell = memory or (None, None, None)
    if solver.name in FIXED:
        how = (solver.name, solver.unfolds, drive, recurrent, cell, reset)
        return kernels.ctrnn(inputs, timespans, state, lengths, weight, bias, rate, *how)
    weights = (weight[:, inputs.shape[2] :], *(() if rate is None else (rate,)))

    def step(_: Tensor, h: Tensor, span: Tensor, held: Tensor, *weights: Tensor) -> Tensor:
        return solver.step(field, h, span.unsqueeze(1), (held,), weights)

    ready = (drive_of(inputs, weight, bias),)
    return scan(step, inputs, timespans, state, lengths, drive, recurrent, cell, ready, weights, reset)


def memory_of(memory: MemoryCell | None, inputs: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor, Tensor] | None:
    """What :func:`run_field` needs of a memory."""
    if memory is None or cell is None:
        return None
    return memory.input_map(inputs), memory.recurrent_map.weight, cell
