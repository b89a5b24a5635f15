"""The reference backend runs the cells in plain PyTorch: any cell, on any device, in any floating dtype."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from torchliquid.cells.linear import solve_linear
from torchliquid.cells.state_space import state_space
from torchliquid.scan import run

__all__ = ["available", "has", "missing", "run", "solve_linear", "state_space", "supports", "takes"]

takes, missing = "any tensors", ""


def available() -> bool:
    return True


def has(cell: Any) -> bool:
    return True


def supports(*tensors: Tensor | None) -> bool:
    return True
