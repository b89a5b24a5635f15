"""An autograd function from a backend's forward and backward pass. Second derivatives use the reference."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import repeat
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from torchliquid import scan
from torchliquid.cells import LTC
from torchliquid.cells.recurrence import Sequences, States, tensors_of, with_tensors
from torchliquid.errors import InputError
from torchliquid.solvers import FIXED
from torchliquid.torch_private import is_batch_of_gradients

log = logging.getLogger(__name__)

N = len(Sequences._fields)


@runtime_checkable
class Passes(Protocol):
    """The two passes of a backend, without autograd."""

    def run_forward(self, cell: Any, over: Sequences) -> States:
        """The states after each sample, and the memory's cell states."""

    def run_backward(
        self,
        cell: Any,
        over: Sequences,
        states: Tensor,
        cell_states: Tensor,
        grads: tuple[Tensor, Tensor],
        wanted: Sequence[bool],
    ) -> list[Tensor | None]:
        """Gradients of the tensors of the sequences (inputs and timespans only if wanted) and of the cell."""


def run(passes: Passes, cell: Any, over: Sequences) -> States:
    """Run a recurrence by these passes; see :func:`torchliquid.scan.run`."""
    tensors = tensors_of(cell)
    if not (torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (*over, *tensors))):
        return passes.run_forward(cell, over)
    states, cell_states = _Run.apply(passes, cell, *over, *tensors)
    return states, cell_states


def has_solver(cell: Any) -> bool:
    """Whether kernels have the solver of a recurrence: the fused one of an LTC, the fixed ones of all others."""
    solver = getattr(cell, "solver", None)
    return solver is None or (type(cell) is not LTC and solver.name in FIXED)


class _Run(torch.autograd.Function):
    """One recurrence over a batch. Arguments: the passes, the cell, the tensors of the sequences and of the cell."""

    @staticmethod
    def forward(ctx: Any, passes: Passes, cell: Any, *tensors: Any) -> States:
        results = passes.run_forward(cell, Sequences(*tensors[:N]))
        ctx.passes, ctx.hollow = passes, with_tensors(cell, repeat(...))
        ctx.save_for_backward(*tensors, *results)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, states, cell_states = ctx.saved_tensors
        wanted = ctx.needs_input_grad[2:]
        if any(map(is_batch_of_gradients, grads)):
            raise InputError(
                "the compiled kernels take no batch of gradients (is_grads_batched, vectorize=True): take "
                'torch.func.jacrev, or torchliquid.backends.use("reference") before the forward pass'
            )
        if torch.is_grad_enabled():
            _say_once()
            # Views, because one of these tensors may have been computed from another, which must not count twice.
            tensors = [t.view_as(t) if want else t for t, want in zip(tensors, wanted, strict=True)]
            outputs = scan.run(with_tensors(ctx.hollow, tensors[N:]), Sequences(*tensors[:N]))
            pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.numel()]
            sources = [t for t, want in zip(tensors, wanted, strict=True) if want]
            outputs, given = zip(*pairs, strict=True)
            found = iter(torch.autograd.grad(outputs, sources, given, create_graph=True, allow_unused=True))
            return (None, None, *(next(found) if want else None for want in wanted))
        cell, over = with_tensors(ctx.hollow, tensors[N:]), Sequences(*tensors[:N])
        found = ctx.passes.run_backward(cell, over, states, cell_states, (grads[0], grads[1]), wanted)
        return (None, None, *found)


_said = False


def _say_once() -> None:
    global _said
    if not _said:
        _said = True
        log.warning("second derivatives of liquid layers are taken through the PyTorch reference, which is slower")
