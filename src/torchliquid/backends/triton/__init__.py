"""The recurrences of :mod:`torchliquid.cells` as Triton kernels: float32 and half precision, on an NVIDIA GPU.

Each sequence is one program, whose state stays on the chip over all its samples. Sums are float32, never TF32, also of
half precision. Forward keeps the states alone; backward recomputes the rest, all samples at once, for a stretch of time
after the other. A second derivative is taken through the reference.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from torchliquid import cells
from torchliquid.backends import autograd, reference
from torchliquid.backends.reference import state_space
from torchliquid.cells.recurrence import Sequences, States, tensors_of, with_tensors
from torchliquid.solvers import FIXED
from torchliquid.torch_private import is_forward_mode, is_transformed

if TYPE_CHECKING:
    from torchliquid.backends.triton import launch

__all__ = ["available", "has", "missing", "run", "solve_linear", "state_space", "supports", "takes"]

missing = "the Triton kernels need Triton: pip install 'torchliquid[gpu]'"
takes = "float32, bfloat16 or float16 on an NVIDIA GPU, outside torch.func"

CELLS = (cells.CfC, cells.CTRNN, cells.CTGRU, cells.ODERNN, cells.LrcSSM)
KINDS = (Tensor, torch.nn.Parameter)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


THERE = find_spec("triton") is not None  # looked for once: a compiled call of PyTorch 2.11 can't


def available() -> bool:
    """Whether Triton can be imported."""
    return THERE


def has(cell: Any) -> bool:
    """Whether there is a kernel of this recurrence, with its solver."""
    solver = getattr(cell, "solver", None)
    if type(cell) is cells.LTC:
        return solver is None
    return type(cell) in CELLS and (solver is None or solver.name in FIXED)


def supports(*tensors: Tensor | None) -> bool:
    """Whether the kernels take these tensors: plain ones, on an NVIDIA GPU (under ``TRITON_INTERPRET=1`` also on the
    CPU, slowly), outside transforms."""
    if not tensors or torch.version.hip is not None:
        return False
    here = all(type(t) in KINDS and (t.is_cuda or INTERPRETED) and t.dtype in DTYPES for t in tensors if t is not None)
    return here and not (is_transformed() or is_forward_mode())


def run(cell: Any, over: Sequences) -> States:
    """As :func:`torchliquid.scan.run`; of half precision in float32, and back."""
    dtype = over.inputs.dtype
    if dtype is not torch.float32:
        cell = with_tensors(cell, map(_single, tensors_of(cell)))
        over = Sequences(*(None if x is None else _single(x) for x in over))  # type: ignore[arg-type]
    states, cell_states = autograd.run(sys.modules[__name__], cell, over)
    return states.to(dtype), cell_states.to(dtype)


def run_forward(cell: Any, over: Sequences) -> States:
    """The states, and the memory's cell states; no autograd."""
    from torchliquid.backends.triton import launch

    with torch.cuda.device_of(over.inputs):
        return launch.forward(_kernel(cell, over), over)


def run_backward(
    cell: Any,
    over: Sequences,
    states: Tensor,
    cell_states: Tensor,
    grads: tuple[Tensor, Tensor],
    wanted: Sequence[bool] = (),
) -> list[Tensor | None]:
    """Gradients of the sequences' tensors and of the cell's, wanted or not; no autograd."""
    from torchliquid.backends.triton import launch

    with torch.cuda.device_of(over.inputs):
        return launch.backward(_kernel(cell, over), over, states, cell_states, grads)


def solve_linear(matrices: Tensor, drive: Tensor, reverse: bool = False) -> Tensor:
    """As :func:`torchliquid.cells.linear.solve_linear`; no autograd."""
    from torchliquid.backends.triton import linear

    if matrices.dim() > drive.dim() and drive.shape[2] > linear.LARGEST:
        return reference.solve_linear(matrices, drive, reverse)
    with torch.cuda.device_of(drive):
        return linear.solve_linear(_single(matrices), _single(drive), reverse).to(drive.dtype)


def _kernel(cell: Any, over: Sequences) -> launch.Kernel:
    from torchliquid.backends.triton import (
        cfc,
        ctgru,
        lrcssm,
        ltc,
        ode,
    )  # here, because importing Triton takes its time

    of: dict[type, Callable[[Any], launch.Kernel]] = {
        cells.LTC: ltc.LTC,
        cells.CfC: lambda cell: cfc.kernel(cell, over.memory_drive is not None),
        cells.CTRNN: ode.CTRNN,
        cells.ODERNN: ode.ODERNN,
        cells.CTGRU: ctgru.CTGRU,
        cells.LrcSSM: lrcssm.LrcSSM,
    }
    return of[type(cell)](cell)


def _single(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x
