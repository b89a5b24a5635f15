"""Run the recurrences of :mod:`torchliquid.cells` by the fastest code that supports them.

The Triton kernels run on an NVIDIA GPU if Triton can be imported. The compiled kernels run float32 on the CPU. The
PyTorch reference runs everything else. :func:`use` or the environment variable ``TORCHLIQUID_KERNELS`` select a backend
by name. Under ``torch.compile`` and ``torch.export`` a recurrence is one operator, see
:mod:`torchliquid.backends.operators`.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from torchliquid.backends import native, operators, reference, triton
from torchliquid.backends.table import BACKENDS, Backend, chosen, use
from torchliquid.cells.recurrence import Recurrence, Sequences, States, tensors_of
from torchliquid.torch_private import is_transformed

__all__ = [
    "BACKENDS",
    "Backend",
    "chosen",
    "native",
    "operators",
    "reference",
    "run",
    "solve_linear",
    "state_space",
    "triton",
    "use",
]


def run(cell: Recurrence, over: Sequences) -> States:
    """The states of a recurrence after each sample, and the memory's cell states, (B, 0, H) without a memory.

    Raises:
        InputError: the selected backend has the recurrence, but does not support these tensors.
    """
    # Operators do not support torch.func transforms. Inside one, even a compiled one, the reference is traced.
    if torch.compiler.is_compiling() and not is_transformed() and operators.has(cell):
        return operators.call(cell, over)
    return chosen(cell, tensors_of_both(cell, over)).run(cell, over)


def tensors_of_both(cell: Recurrence, over: Sequences) -> list[Tensor]:
    """The tensors that decide which backend is used."""
    return [*tensors_of(over), *tensors_of(cast(Any, cell))]


def state_space(*tensors: Tensor) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.cells.state_space.state_space`; all arguments are positional."""
    return chosen(None, tensors).state_space(*tensors)


def solve_linear(matrices: Tensor, drive: Tensor, reverse: bool = False) -> Tensor:
    """See :func:`torchliquid.cells.linear.solve_linear`; only Triton has kernels."""
    given = matrices, drive
    backend = triton if triton.available() and triton.supports(*given) and chosen(None, given) is triton else reference
    return backend.solve_linear(matrices, drive, reverse)
