"""The recurrences of :mod:`torchliquid.cells` as Triton kernels for float32 and half precision on an NVIDIA GPU.

Each sequence is one program, whose state stays on the chip for all its samples. Half precision is computed in float32,
never in TF32. The forward pass stores only the states. The backward pass recomputes the rest for all samples of a
stretch of time at once, one stretch after another. Second derivatives use the reference.
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
from torchliquid.torch_private import is_forward_mode, is_transformed

if TYPE_CHECKING:
    from torchliquid.backends.triton import launch

__all__ = ["available", "has", "missing", "run", "solve_linear", "state_space", "supports", "takes"]

missing = "the Triton kernels need Triton: pip install 'torchliquid[gpu]'"
takes = "float32, bfloat16 or float16 on an NVIDIA GPU, outside torch.func"

CELLS = (cells.LTC, cells.CfC, cells.CTRNN, cells.CTGRU, cells.ODERNN, cells.LrcSSM)
KINDS = (Tensor, torch.nn.Parameter)
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.bool)
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
THERE = find_spec("triton") is not None  # at import, because a compiled call of PyTorch 2.11 can't look for it


def available() -> bool:
    """Whether Triton can be imported."""
    return THERE


def has(cell: Any) -> bool:
    """Whether there is a kernel for this recurrence and its solver."""
    return type(cell) in CELLS and autograd.has_solver(cell)


def supports(*tensors: Tensor | None) -> bool:
    """Whether the kernels support these tensors: plain tensors on an NVIDIA GPU, outside transforms. With
    ``TRITON_INTERPRET=1`` they also run on the CPU, slowly."""
    if not tensors or torch.version.hip is not None:
        return False
    here = all(type(t) in KINDS and (t.is_cuda or INTERPRETED) and t.dtype in DTYPES for t in tensors if t is not None)
    return here and not (is_transformed() or is_forward_mode())


def run(cell: Any, over: Sequences) -> States:
    """See :func:`torchliquid.scan.run`. Half precision is converted to float32 and back."""
    dtype = over.inputs.dtype
    if dtype is not torch.float32:
        cell = with_tensors(cell, map(_single, tensors_of(cell)))
        over = Sequences(*(None if x is None else _single(x) for x in over))  # type: ignore[arg-type]
    states, cell_states = autograd.run(sys.modules[__name__], cell, over)
    return states.to(dtype), cell_states.to(dtype)


def run_forward(cell: Any, over: Sequences) -> States:
    """The forward pass, without autograd."""
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
    """The backward pass, without autograd: all gradients, whether wanted or not."""
    from torchliquid.backends.triton import launch

    with torch.cuda.device_of(over.inputs):
        return launch.backward(_kernel(cell, over), over, states, cell_states, grads)


def solve_linear(matrices: Tensor, drive: Tensor, reverse: bool = False) -> Tensor:
    """See :func:`torchliquid.cells.linear.solve_linear`; without autograd."""
    from torchliquid.backends.triton import linear

    if matrices.dim() > drive.dim() and drive.shape[2] > linear.LARGEST:
        return reference.solve_linear(matrices, drive, reverse)
    with torch.cuda.device_of(drive):
        return linear.solve_linear(_single(matrices), _single(drive), reverse).to(drive.dtype)


def _kernel(cell: Any, over: Sequences) -> launch.Kernel:
    from torchliquid.backends.triton import cfc, ctgru, lrcssm, ltc, ode  # here, because importing Triton is slow

    kernels: dict[type, Callable[[Any], launch.Kernel]] = {
        cells.LTC: ltc.LTC,
        cells.CfC: lambda cell: cfc.kernel(cell, over.memory_drive is not None),
        cells.CTRNN: ode.CTRNN,
        cells.ODERNN: ode.ODERNN,
        cells.CTGRU: ctgru.CTGRU,
        cells.LrcSSM: lrcssm.LrcSSM,
    }
    return kernels[type(cell)](cell)


def _single(x: Tensor) -> Tensor:
    return x.float() if x.is_floating_point() else x
