"""The recurrences of :mod:`torchliquid.kernels.reference` as compiled kernels: float32 on the CPU, same sums.

Samples of a batch run side by side in vector lanes. Forward keeps the states alone; backward recomputes the rest.
A second derivative is taken through the reference.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from . import reference

try:
    from torchliquid import _native
except ImportError:  # built without a compiler
    _native = None  # type: ignore[assignment]

log = logging.getLogger(__name__)


def available() -> bool:
    """Whether the package was built with its kernels."""
    return _native is not None


def supports(*tensors: Tensor | None) -> bool:
    """Whether the kernels take these tensors: plain, floating ones in float32, on the CPU, outside transforms."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.device.type == "cpu"
        and (t.dtype is torch.float32 if t.is_floating_point() else t.dtype is torch.int64)
        for t in tensors
        if t is not None
    )


def ltc(
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    leak: Sequence[Tensor],
    synapses: Sequence[Tensor],
    synapse_index: Tensor,
    sensory: Sequence[Tensor],
    sensory_index: Tensor,
    unfolds: int,
    epsilon: float,
    memory_drive: Tensor | None = None,
    memory_weight: Tensor | None = None,
    cell: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.ltc`."""
    spec = _Ltc(synapse_index, sensory_index, unfolds, epsilon)
    parameters = (*synapses, *sensory, *leak)
    return _Run.apply(spec, inputs, timespans, state, lengths, memory_drive, cell, memory_weight, *parameters)


def cfc(
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    backbone: Sequence[Tensor],
    heads: Sequence[Tensor],
    layer_sizes: Sequence[int],
    mode: str,
    activation: str,
    dropout_masks: Sequence[Tensor] = (),
    memory_drive: Tensor | None = None,
    memory_weight: Tensor | None = None,
    cell: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.cfc`."""
    spec = _Cfc(len(backbone), list(layer_sizes), mode, activation, list(dropout_masks))
    parameters = (*backbone, *heads)
    return _Run.apply(spec, inputs, timespans, state, lengths, memory_drive, cell, memory_weight, *parameters)


class _Ltc:
    """What an LTC's kernel and its reference need besides the tensors that have gradients."""

    def __init__(self, synapse_index: Tensor, sensory_index: Tensor, unfolds: int, epsilon: float) -> None:
        self.synapse_index, self.sensory_index = synapse_index, sensory_index
        self.unfolds, self.epsilon = unfolds, epsilon

    def problem(self, sequence: Any, parameters: Sequence[Tensor]) -> Any:
        p = _arrays(parameters)
        index, sensory_index = _arrays([self.synapse_index, self.sensory_index])
        return _native.Ltc(sequence, p[8:], p[:4], index, p[4:8], sensory_index, self.unfolds, self.epsilon)

    def reference(self, *args: Any, parameters: Sequence[Tensor], **memory: Any) -> tuple[Tensor, Tensor]:
        p = parameters
        index = (p[:4], self.synapse_index, p[4:8], self.sensory_index)
        return reference.ltc(*args, p[8:], *index, self.unfolds, self.epsilon, **memory)


class _Cfc:
    """The same of a CfC."""

    def __init__(self, n_backbone: int, layer_sizes: list[int], mode: str, activation: str, masks: list[Tensor]) -> None:
        self.n_backbone, self.layer_sizes, self.mode, self.activation, self.masks = (
            n_backbone,
            layer_sizes,
            mode,
            activation,
            masks,
        )

    def problem(self, sequence: Any, parameters: Sequence[Tensor]) -> Any:
        p, n = _arrays(parameters), self.n_backbone
        return _native.Cfc(sequence, p[:n], p[n:], self.layer_sizes, self.mode, self.activation, _arrays(self.masks))

    def reference(self, *args: Any, parameters: Sequence[Tensor], **memory: Any) -> tuple[Tensor, Tensor]:
        p, n = parameters, self.n_backbone
        return reference.cfc(
            *args, p[:n], p[n:], self.layer_sizes, self.mode, self.activation, self.masks, **memory
        )


class _Run(torch.autograd.Function):
    """One recurrence over a batch, for autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        spec: _Ltc | _Cfc,
        inputs: Tensor,
        timespans: Tensor,
        state: Tensor,
        lengths: Tensor | None,
        drive: Tensor | None,
        cell: Tensor | None,
        memory: Tensor | None,
        *parameters: Tensor,
    ) -> tuple[Tensor, Tensor]:
        states, cells = run_forward(spec, inputs, timespans, state, lengths, drive, cell, memory, *parameters)
        ctx.spec = spec
        ctx.save_for_backward(inputs, timespans, state, lengths, drive, cell, memory, *parameters, states, cells)
        return states, cells

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, states, cells = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():
            _say_once()
            return (None, *_reference_gradients(ctx.spec, tensors, wanted, grads))
        return (None, *run_backward(ctx.spec, tensors, states, cells, *grads, want_inputs=wanted[0]))


def run_forward(
    spec: _Ltc | _Cfc,
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    drive: Tensor | None,
    cell: Tensor | None,
    memory: Tensor | None,
    *parameters: Tensor,
) -> tuple[Tensor, Tensor]:
    """States (B, T, H) and cells (B, T, H), (B, 0, H) without memory; no autograd."""
    batch, time, _ = inputs.shape
    units = state.shape[1]
    states = torch.empty(batch, time, units)
    cells = torch.empty(batch, 0 if drive is None else time, units)
    sequence = _native.Sequence(*_arrays([inputs, timespans, state, lengths, drive, memory, cell]))
    problem = spec.problem(sequence, parameters)
    problem.forward(states.numpy(), None if drive is None else cells.numpy(), torch.get_num_threads())
    return states, cells


def run_backward(
    spec: _Ltc | _Cfc,
    tensors: Sequence[Tensor | None],
    states: Tensor,
    cells: Tensor,
    grad_states: Tensor,
    grad_cells: Tensor,
    want_inputs: bool = True,
) -> tuple[Tensor | None, ...]:
    """Gradients of (inputs, timespans, state, lengths, drive, cell, memory, *parameters); no autograd."""
    inputs, timespans, state, lengths, drive, cell, memory, *parameters = tensors
    with_memory = drive is not None
    trained = [*parameters, memory] if memory is not None else parameters
    flat = torch.empty(sum(p.numel() for p in trained if p is not None))
    # Zeros: the kernels leave the steps after a sequence's end alone.
    grad_inputs = torch.zeros_like(inputs, memory_format=torch.contiguous_format) if want_inputs and inputs is not None else None
    grad_timespans = torch.zeros_like(timespans, memory_format=torch.contiguous_format)
    grad_state = torch.empty_like(state, memory_format=torch.contiguous_format)
    grad_drive = torch.zeros_like(drive, memory_format=torch.contiguous_format) if with_memory else None
    grad_cell = torch.empty_like(cell, memory_format=torch.contiguous_format) if with_memory else None

    sequence = _native.Sequence(*_arrays([inputs, timespans, state, lengths, drive, memory, cell]))
    gradients = _native.Gradients(
        *_arrays(
            [grad_states, grad_cells if with_memory else None]
            + [grad_inputs, grad_timespans, grad_state, grad_drive, grad_cell, flat]
        )
    )
    arrays = _arrays([states, cells if with_memory else None])
    spec.problem(sequence, parameters).backward(*arrays, gradients, torch.get_num_threads())

    pieces = _split(flat, trained)
    grads = list(pieces)
    grad_memory = grads.pop() if memory is not None else None
    return grad_inputs, grad_timespans, grad_state, None, grad_drive, grad_cell, grad_memory, *grads


def _reference_gradients(
    spec: _Ltc | _Cfc, tensors: Sequence[Tensor | None], wanted: Sequence[bool], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    inputs, timespans, state, lengths, drive, cell, memory, *parameters = tensors
    kept = {"memory_drive": drive, "memory_weight": memory, "cell": cell}
    outputs = spec.reference(inputs, timespans, state, lengths, parameters=parameters, **kept)
    sources = [t for t, want in zip(tensors, wanted, strict=True) if want]
    if drive is None:
        outputs, grads = outputs[:1], grads[:1]
    found = iter(torch.autograd.grad(outputs, sources, grads, create_graph=True, allow_unused=True))
    return [next(found) if want else None for want in wanted]


def _arrays(tensors: Sequence[Tensor | None]) -> list[Any]:
    return [None if t is None else t.detach().contiguous().numpy() for t in tensors]


def _split(flat: Tensor, like: Sequence[Tensor | None]) -> Iterator[Tensor]:
    at = 0
    for t in like:
        assert t is not None
        yield flat[at : at + t.numel()].view(t.shape)
        at += t.numel()


_said = False


def _say_once() -> None:
    global _said
    if not _said:
        _said = True
        log.warning("second derivatives of liquid layers are taken through the PyTorch reference, which is slower")
