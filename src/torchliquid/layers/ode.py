"""Where the solver was: layers that were saved whole name this place."""

from torchliquid.solvers import Solver

__all__ = ["Solver"]
