"""Kernels for :func:`torchliquid.cells.linear.solve_linear`: linear recurrences over a whole sequence at once.

A sequence is cut into chunks, one program each. First, each chunk is reduced to one map. The recurrence of these maps
is solved in the same way. Then all chunks are solved, each from the last state of the chunk before it.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchliquid.backends.triton.launch import padded

LARGEST = 64
"""Maximum number of units whose matrices a program can hold."""

STEPS, UNITS = 128, 16
"""If A is diagonal: samples of a chunk, and units of a program."""

MATRICES, COLUMNS = 16, 16
"""If A is a matrix: samples of a chunk, and columns of a program."""


@triton.jit
def then(rate, drive, next_rate, next_drive):
    return rate * next_rate, drive * next_rate + next_drive


@triton.jit
def diagonal(
    rates, drive, before, solved, to_rates, to_drive, time, chunks, D: tl.constexpr,
    STEPS: tl.constexpr, UNITS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """The states of a chunk, or without ``solved`` the chunk as one map."""
    chunk, b = tl.program_id(0) % chunks, tl.program_id(0) // chunks
    k = tl.arange(0, STEPS)[:, None]
    i, j = chunk * STEPS + k, tl.program_id(1) * UNITS + tl.arange(0, UNITS)[None, :]
    t = i
    if REVERSE:  # reversed indices, because Triton's reverse scan is not reliable
        t = time - 1 - i
    at = (b.to(tl.int64) * time + t) * D + j
    own = (i < time) & (j < D)
    x = tl.load(drive + at, mask=own, other=0.0)
    a = tl.load(rates + (at + D if REVERSE else at), mask=own & (i > 0), other=0.0)
    a = tl.where(i < time, a, 1.0)
    if before is not None:
        start = tl.load(before + (tl.program_id(0).to(tl.int64) - 1) * D + j, mask=(chunk > 0) & (j < D), other=0.0)
        x += tl.where(k == 0, a * start, 0.0)
    a, y = tl.associative_scan((a, x), 0, then)
    if solved is not None:
        tl.store(solved + at, y, mask=own)
    else:
        units = tl.program_id(1) * UNITS + tl.arange(0, UNITS)
        end = tl.program_id(0).to(tl.int64) * D + units
        tl.store(to_rates + end, tl.sum(tl.where(k == STEPS - 1, a, 0.0), 0), mask=units < D)
        tl.store(to_drive + end, tl.sum(tl.where(k == STEPS - 1, y, 0.0), 0), mask=units < D)


@triton.jit
def matrix(matrices, row, i, j, D: tl.constexpr, REVERSE: tl.constexpr):
    """The matrix of a sample; in reverse that of the next sample, transposed."""
    own = (i < D) & (j < D)
    if REVERSE:
        return tl.load(matrices + (row + 1) * D * D + j * D + i, mask=own, other=0.0)
    return tl.load(matrices + row * D * D + i * D + j, mask=own, other=0.0)


@triton.jit
def full(
    matrices, drive, before, solved, to_matrices, to_drive, time, chunks, D: tl.constexpr,
    P: tl.constexpr, STEPS: tl.constexpr, COLUMNS: tl.constexpr, REVERSE: tl.constexpr,
):  # fmt: skip
    """As :func:`diagonal`, for matrices. A program computes some columns of the map."""
    chunk, b = tl.program_id(0) % chunks, tl.program_id(0) // chunks
    u = tl.arange(0, P)
    i, j = u[:, None], u[None, :]
    y = tl.zeros([P], tl.float32)
    if before is not None:
        y = tl.load(before + (tl.program_id(0).to(tl.int64) - 1) * D + u, mask=(chunk > 0) & (u < D), other=0.0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    product = tl.where(i == column, 1.0, 0.0)
    for n in range(chunk * STEPS, tl.minimum((chunk + 1) * STEPS, time)):
        row = b.to(tl.int64) * time + n
        if REVERSE:
            row = b.to(tl.int64) * time + time - 1 - n
        x = tl.load(drive + row * D + u, mask=u < D, other=0.0)
        if n > 0:
            a = matrix(matrices, row, i, j, D, REVERSE)
            y = tl.sum(a * y[None, :], 1) + x
            if solved is None:
                product = tl.dot(a, product, input_precision="ieee")
        else:
            y = x
        if solved is not None:
            tl.store(solved + row * D + u, y, mask=u < D)
    if solved is None:
        end = tl.program_id(0).to(tl.int64)
        tl.store(to_matrices + end * D * D + i * D + column, product, mask=(i < D) & (column < D))
        tl.store(to_drive + end * D + u, y, mask=(u < D) & (tl.program_id(1) == 0))


def solve_linear(matrices: Tensor, drive: Tensor, reverse: bool = False) -> Tensor:
    """See :func:`torchliquid.cells.linear.solve_linear`; float32, matrices of up to :data:`LARGEST` units."""
    matrices, drive = matrices.contiguous(), drive.contiguous()
    whole = matrices.dim() > drive.dim()
    batch, time, units = drive.shape
    steps = MATRICES if whole else STEPS
    chunks = triton.cdiv(time, steps)

    def run(before: Tensor | None, solved: Tensor | None, ends: tuple[Tensor, Tensor] | tuple[None, None]) -> None:
        given = (matrices, drive, before, solved, *ends, time, chunks, units)
        if whole:
            size = max(16, padded(units))
            grid = batch * chunks, triton.cdiv(units, COLUMNS) if solved is None else 1
            full[grid](*given, size, steps, COLUMNS, reverse, num_warps=4)
        else:
            diagonal[(batch * chunks, triton.cdiv(units, UNITS))](*given, steps, UNITS, reverse, num_warps=4)

    before = None
    if chunks > 1:
        ends = matrices.new_empty(batch, chunks, *matrices.shape[2:]), drive.new_empty(batch, chunks, units)
        run(None, None, ends)
        before = solve_linear(*ends)
    solved = torch.empty_like(drive)
    run(before, solved, (None, None))
    return solved
