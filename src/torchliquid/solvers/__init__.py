"""How an ODE is stepped from one sample to the next."""

from torchliquid.solvers.adaptive import ADAPTIVE, adaptive
from torchliquid.solvers.fixed import FIXED, Field, euler, rk4

__all__ = ["ADAPTIVE", "FIXED", "Field", "adaptive", "euler", "rk4"]
