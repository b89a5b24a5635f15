"""A solver by name, with its settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from torchliquid.errors import InputError, check_size
from torchliquid.solvers.adaptive import ADAPTIVE, adaptive
from torchliquid.solvers.fixed import FIXED


@dataclass(frozen=True)
class Solver:
    """A solver by name.

    Attributes:
        name: ``"euler"`` or ``"rk4"`` with fixed steps, ``"dopri5"`` or ``"tsit5"`` with adaptive ones (needs
            ``torchliquid[solvers]``).
        unfolds: number of fixed steps per sample.
        rtol, atol: tolerances of adaptive steps.
        adjoint: whether gradients of an adaptive solver are computed by the adjoint instead of through the steps.

    Raises:
        InputError: the name is unknown, ``unfolds`` is below 1, a tolerance is not positive, or a solver with fixed
            steps has ``adjoint``.
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
            raise InputError(f"adjoint=True is for {' and '.join(ADAPTIVE)}; {self.name} goes back through its steps")

    def step(
        self,
        field: Callable[..., Tensor],
        state: Float[Tensor, "B H"],
        span: Float[Tensor, "B 1"],
        drives: Sequence[Tensor] = (),
        weights: Sequence[Tensor] = (),
    ) -> Float[Tensor, "B H"]:
        """The state after a span, see :func:`torchliquid.solvers.adaptive` for the arguments."""
        if self.name in FIXED:
            return FIXED[self.name](lambda v: field(v, *drives, *weights), state, span, self.unfolds)
        return adaptive(field, state, span, self.name, self.rtol, self.atol, self.adjoint, drives, weights)
