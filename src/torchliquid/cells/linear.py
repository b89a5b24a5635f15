"""Linear recurrences over a whole sequence at once, which Newton's method over time consists of."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def solve_linear(
    matrices: Float[Tensor, "B T D D"] | Float[Tensor, "B T D"], drive: Float[Tensor, "B T D"], reverse: bool = False
) -> Float[Tensor, "B T D"]:
    """y(t) = A(t) y(t - 1) + b(t) for all t at once, y(0) = b(0): pairs give every second sample, then the others
    follow.

    A is a matrix, or the diagonal of one. O(T) work in O(log T) steps (Blelloch, 1990).

    Args:
        reverse: the recurrence of the gradients instead, from the last sample to the first:
            y(t) = A(t + 1)' y(t + 1) + b(t).
    """
    time = drive.shape[1]
    if reverse:
        ahead = torch.cat([matrices[:, 1:], torch.zeros_like(matrices[:, :1])], 1)
        return solve_linear((ahead.mT if ahead.dim() > drive.dim() else ahead).flip(1), drive.flip(1)).flip(1)
    if time == 1:
        return drive
    even, odd = slice(0, time - 1, 2), slice(1, time, 2)
    one, other = matrices[:, odd], matrices[:, even]
    pairs = one @ other if matrices.dim() > drive.dim() else one * other
    ends = solve_linear(pairs, times(matrices[:, odd], drive[:, even]) + drive[:, odd])
    solved = torch.empty_like(drive)
    solved[:, odd] = ends
    solved[:, 0] = drive[:, 0]
    rest = slice(2, time, 2)
    solved[:, rest] = times(matrices[:, rest], ends[:, : len(range(2, time, 2))]) + drive[:, rest]
    return solved


def times(
    matrices: Float[Tensor, "B T D D"] | Float[Tensor, "B T D"], vectors: Float[Tensor, "B T D"]
) -> Float[Tensor, "B T D"]:
    """Matrices, or diagonals of matrices, times vectors."""
    if matrices.dim() == vectors.dim():
        return matrices * vectors
    return (matrices @ vectors.unsqueeze(-1)).squeeze(-1)
