"""Solvers of ODEs, from one sample to the next."""

from torchliquid.solvers.adaptive import ADAPTIVE, SolverError, adaptive
from torchliquid.solvers.fixed import FIXED, Field, euler, rk4
from torchliquid.solvers.solver import Solver
from torchliquid.solvers.stability import LIMITS, instability, steps_that_hold

__all__ = [
    "ADAPTIVE",
    "FIXED",
    "LIMITS",
    "Field",
    "Solver",
    "SolverError",
    "adaptive",
    "euler",
    "instability",
    "rk4",
    "steps_that_hold",
]
