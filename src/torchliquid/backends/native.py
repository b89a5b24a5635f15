"""The recurrences of :mod:`torchliquid.cells` as compiled kernels for float32 on the CPU.

The samples of a batch run in parallel in vector lanes. The forward pass stores only the states; the backward pass
recomputes the rest. Second derivatives use the reference.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils import dlpack

from torchliquid import cells
from torchliquid.backends import autograd
from torchliquid.cells.recurrence import Sequences, States, tensors_of
from torchliquid.torch_private import is_forward_mode, is_transformed

_native: Any
try:
    _native = import_module("torchliquid._native")
except ModuleNotFoundError:  # built without a compiler
    _native = None

KINDS, DTYPES = (Tensor, torch.nn.Parameter), (torch.float32, torch.int64, torch.bool)

takes = "float32 on the CPU, outside torch.func"
missing = "the compiled kernels are not there: install a wheel, or build with a C++17 compiler"


def available() -> bool:
    """Whether the package was built with its kernels."""
    return _native is not None


def instruction_sets() -> tuple[str, ...]:
    """The instruction sets of this processor that have kernels, the one in use first; empty without kernels."""
    if _native is None:
        return ()
    used = _native.instruction_set()
    return (used, *(name for name in _native.instruction_sets() if name != used))


def has(cell: Any) -> bool:
    """Whether there is a kernel for this recurrence and its solver."""
    return type(cell) in KERNELS and autograd.has_solver(cell)


def supports(*tensors: Tensor | None) -> bool:
    """Whether the kernels support these tensors: plain tensors on the CPU, float32 if floating, outside transforms."""
    if is_transformed() or is_forward_mode():
        return False
    return all(type(t) in KINDS and t.is_cpu and t.dtype in DTYPES for t in tensors if t is not None)


def run(cell: Any, over: Sequences) -> States:
    """See :func:`torchliquid.scan.run`."""
    return autograd.run(sys.modules[__name__], cell, over)


def state_space(
    fading: Tensor, which: Tensor, gain: Tensor, inputs: Tensor, read: Tensor, state: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """See :func:`torchliquid.cells.state_space.state_space`. It uses one thread and can be differentiated once."""
    outputs, last = _StateSpace.apply(fading, which, gain, inputs, read, state, sizes)
    return outputs, last


class Kernel(NamedTuple):
    """How a recurrence is passed to its compiled kernel.

    Attributes:
        problem: creates the compiled problem from the compiled sequences and the recurrence.
        trained: the recurrence's tensors that have gradients, in the kernel's order.
        gradients: converts these gradients to those of all the recurrence's tensors.
    """

    problem: Callable[[Any, Any], Any]
    trained: Callable[[Any], Sequence[Tensor]] = tensors_of
    gradients: Callable[[Any, list[Tensor]], Sequence[Tensor | None]] = lambda _, gradients: gradients


def _ltc(sequence: Any, c: cells.LTC) -> Any:
    index, sensory_index = _arrays([c.synapse_index, c.sensory_index])
    own = (_arrays(c.leak), _arrays(c.synapses), index, _arrays(c.sensory), sensory_index)
    return _native.Ltc(sequence, *own, c.unfolds, c.epsilon)


def _ltc_gradients(_: Any, g: list[Tensor]) -> list[Tensor | None]:
    return [*g[8:], *g[:4], None, *g[4:8], None]


def _cfc(sequence: Any, c: cells.CfC) -> Any:
    weights, masks = (_arrays(c.backbone), _arrays(c.heads)), _arrays(c.dropout_masks)
    return _native.Cfc(sequence, *weights, list(c.layer_sizes), c.mode, c.activation, masks)


def _ctrnn(sequence: Any, c: cells.CTRNN) -> Any:
    *maps, rate = _arrays([*_ctrnn_trained(c)[:3], c.rate])
    return _native.Ctrnn(sequence, *maps, rate, c.solver.name, c.solver.unfolds)


def _ctrnn_trained(c: cells.CTRNN) -> list[Tensor]:
    n = c.weight.shape[1] - c.weight.shape[0]
    return [c.weight[:, :n], c.weight[:, n:], c.bias, *(() if c.rate is None else (c.rate,))]


KERNELS: dict[type, Kernel] = {
    cells.LTC: Kernel(_ltc, lambda c: [*c.synapses, *c.sensory, *c.leak], _ltc_gradients),
    cells.CfC: Kernel(_cfc, lambda c: [*c.backbone, *c.heads], lambda c, g: [*g, *(None for _ in c.dropout_masks)]),
    cells.CTRNN: Kernel(_ctrnn, _ctrnn_trained, lambda _, g: [torch.cat(g[:2], 1), *g[2:]]),
    cells.CTGRU: Kernel(lambda sequence, c: _native.Ctgru(sequence, *_arrays(c[:4]), c.scales)),
    cells.ODERNN: Kernel(
        lambda sequence, c: _native.OdeRnn(
            sequence, _arrays(c.flow), _arrays(c.update), c.solver.name, c.solver.unfolds
        )
    ),
    cells.LrcSSM: Kernel(
        lambda sequence, c: _native.LrcSsm(
            sequence, _arrays(c.synapses), *_arrays([c.vleak]), _arrays(c.elastance), c.exponential
        )
    ),
}
"""The kernels by class of recurrence."""


class _StateSpace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        _, _, _, inputs, _, state, _ = tensors
        outputs, last = torch.empty_like(inputs), torch.empty_like(state)
        _native.StateSpace(*_arrays(tensors)).forward(*_arrays([outputs, last]))
        ctx.save_for_backward(*tensors)
        return outputs, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        found = [_zeros(x) if x.is_floating_point() else None for x in ctx.saved_tensors]
        written = [x for x in found if x is not None]
        _native.StateSpace(*_arrays(ctx.saved_tensors)).backward(*_arrays([*grads, *written]))
        return tuple(found)


FLOATS: dict[str, Any] = {"dtype": torch.float32, "device": "cpu"}
"""Dtype and device of the kernels' outputs, independent of torch's defaults."""


def run_forward(cell: Any, over: Sequences) -> States:
    """The forward pass, without autograd."""
    n, time, _ = over.inputs.shape
    units = over.state.shape[1]
    states = torch.empty(n, time, units, **FLOATS)
    cell_states = torch.empty(n, 0 if over.memory_drive is None else time, units, **FLOATS)
    out = _arrays([states, None if over.memory_drive is None else cell_states])
    _problem(cell, over).forward(*out, torch.get_num_threads())
    return states, cell_states


def run_backward(
    cell: Any,
    over: Sequences,
    states: Tensor,
    cell_states: Tensor,
    grads: tuple[Tensor, Tensor],
    wanted: Sequence[bool] = (True, True),
) -> list[Tensor | None]:
    """The backward pass: gradients of the tensors of the sequences (inputs and timespans only if wanted) and of the
    cell, without autograd."""
    kernel, mixed = KERNELS[type(cell)], over.memory_weight is not None
    trained = [*kernel.trained(cell), *(() if over.memory_weight is None else (over.memory_weight,))]
    sizes = [p.numel() for p in trained]
    flat = torch.empty(sum(sizes), **FLOATS)
    # Zeros, because the kernels do not write after the end of a sequence.
    to_inputs, to_timespans = (_zeros(t) if want else None for t, want in zip(over[:2], wanted, strict=False))
    to_state = _zeros(over.state)
    to_drive, to_cell = _zeros(over.memory_drive), _zeros(over.memory_cell)
    saved = _arrays([states, cell_states if mixed else None])
    given = [grads[0], grads[1] if mixed else None]
    gradients = _native.Gradients(*_arrays([*given, to_inputs, to_timespans, to_state, to_drive, to_cell, flat]))
    _problem(cell, over).backward(*saved, gradients, torch.get_num_threads())
    pieces = [piece.view(p.shape) for piece, p in zip(flat.split(sizes), trained, strict=True)]
    to_memory = pieces.pop() if mixed else None
    own = kernel.gradients(cell, pieces)
    return [to_inputs, to_timespans, to_state, None, to_drive, to_memory, to_cell, None, *own]


def _problem(cell: Any, over: Sequences) -> Any:
    *floats, reset = over
    sequence = _native.Sequence(*_arrays([*floats, None if reset is None else reset.float()]))
    return KERNELS[type(cell)].problem(sequence, cell)


def _zeros(like: Tensor | None) -> Tensor | None:
    return None if like is None else torch.zeros_like(like, memory_format=torch.contiguous_format)


def _arrays(tensors: Sequence[Tensor | None]) -> list[Any]:
    # Not by .numpy(): after it, a storage can never be resized again, which sharding and ``out=`` need.
    hand_over: Any = dlpack.to_dlpack  # type: ignore[attr-defined]
    return [None if t is None else hand_over(t.detach().contiguous()) for t in tensors]
