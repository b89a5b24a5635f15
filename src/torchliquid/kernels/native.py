"""The recurrences of :mod:`torchliquid.kernels.reference` as compiled kernels: float32 on the CPU, same sums.

Samples of a batch run side by side in vector lanes. Forward keeps the states alone; backward recomputes the rest.
A second derivative is taken through the reference.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.utils import dlpack

from torchliquid.errors import InputError

from . import reference

_native: Any
try:
    _native = import_module("torchliquid._native")
except ModuleNotFoundError:  # built without a compiler
    _native = None

log = logging.getLogger(__name__)


def available() -> bool:
    """Whether the package was built with its kernels."""
    return _native is not None


def instruction_sets() -> tuple[str, ...]:
    """Those of this processor that the kernels are compiled for, the one in use first; empty without kernels."""
    if _native is None:
        return ()
    used = _native.instruction_set()
    return (used, *(name for name in _native.instruction_sets() if name != used))


def supports(*tensors: Tensor | None) -> bool:
    """Whether the kernels take these tensors: plain, floating ones in float32, on the CPU, outside transforms."""
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return all(
        type(t) in (Tensor, torch.nn.Parameter)
        and t.device.type == "cpu"
        and (t.dtype is torch.float32 if t.is_floating_point() else t.dtype in (torch.int64, torch.bool))
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
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.ltc`."""
    spec = _Ltc(synapse_index, sensory_index, unfolds, epsilon)
    parameters = (*synapses, *sensory, *leak)
    return _Run.apply(spec, inputs, timespans, state, lengths, memory_drive, memory_weight, cell, reset, *parameters)


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
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.cfc`."""
    spec = _Cfc(len(backbone), list(layer_sizes), mode, activation, list(dropout_masks))
    parameters = (*backbone, *heads)
    return _Run.apply(spec, inputs, timespans, state, lengths, memory_drive, memory_weight, cell, reset, *parameters)


def ctrnn(
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    rate: Tensor | None,
    solver: str,
    unfolds: int,
    memory_drive: Tensor | None = None,
    memory_weight: Tensor | None = None,
    cell: Tensor | None = None,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.ctrnn`."""
    n = inputs.shape[2]
    parameters = (weight[:, :n], weight[:, n:], bias, *(() if rate is None else (rate,)))
    spec = _Ctrnn(solver, unfolds)
    return _Run.apply(spec, inputs, timespans, state, lengths, memory_drive, memory_weight, cell, reset, *parameters)


def ctgru(
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    gates: Tensor,
    gates_bias: Tensor,
    signal: Tensor,
    signal_bias: Tensor,
    scales: int,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.ctgru`."""
    parameters = (gates, gates_bias, signal, signal_bias)
    return _Run.apply(_Ctgru(scales), inputs, timespans, state, lengths, None, None, None, reset, *parameters)


def ode_rnn(
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    field: Sequence[Tensor],
    update: Sequence[Tensor],
    solver: str,
    unfolds: int,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.ode_rnn`."""
    spec = _OdeRnn(solver, unfolds)
    return _Run.apply(spec, inputs, timespans, state, lengths, None, None, None, reset, *field, *update)


def state_space(
    fading: Tensor, which: Tensor, gain: Tensor, inputs: Tensor, read: Tensor, state: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """As :func:`torchliquid.kernels.reference.state_space`; on one thread, and differentiable once."""
    outputs, last = _StateSpace.apply(fading, which, gain, inputs, read, state, sizes)
    return outputs, last


class Batch(NamedTuple):
    """What all recurrences run over, as in :mod:`torchliquid.kernels.reference`."""

    inputs: Tensor
    timespans: Tensor
    state: Tensor
    lengths: Tensor | None
    drive: Tensor | None
    memory: Tensor | None
    cell: Tensor | None
    reset: Tensor | None

    def native(self) -> Any:
        *floats, reset = self
        return _native.Sequence(*_arrays([*floats, None if reset is None else reset.float()]))


N = len(Batch._fields)


class _Ltc:
    """What an LTC needs besides the tensors that have gradients: synapses, sensory synapses, leak."""

    def __init__(self, synapse_index: Tensor, sensory_index: Tensor, unfolds: int, epsilon: float) -> None:
        self.synapse_index, self.sensory_index = synapse_index, sensory_index
        self.unfolds, self.epsilon = unfolds, epsilon

    def problem(self, batch: Batch, parameters: Sequence[Tensor]) -> Any:
        p = _arrays(parameters)
        index, sensory_index = _arrays([self.synapse_index, self.sensory_index])
        return _native.Ltc(batch.native(), p[8:], p[:4], index, p[4:8], sensory_index, self.unfolds, self.epsilon)

    def reference(self, batch: Batch, p: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        synapses = (p[:4], self.synapse_index, p[4:8], self.sensory_index)
        return reference.ltc(*batch[:4], p[8:], *synapses, self.unfolds, self.epsilon, *batch[4:])


class _Cfc:
    """The same of a CfC: backbone, heads."""

    def __init__(
        self, n_backbone: int, layer_sizes: list[int], mode: str, activation: str, masks: list[Tensor]
    ) -> None:
        self.n_backbone, self.layer_sizes = n_backbone, layer_sizes
        self.mode, self.activation, self.masks = mode, activation, masks

    def problem(self, batch: Batch, parameters: Sequence[Tensor]) -> Any:
        p, n, masks = _arrays(parameters), self.n_backbone, _arrays(self.masks)
        return _native.Cfc(batch.native(), p[:n], p[n:], self.layer_sizes, self.mode, self.activation, masks)

    def reference(self, batch: Batch, p: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        layers = (p[: self.n_backbone], p[self.n_backbone :], self.layer_sizes)
        return reference.cfc(*batch[:4], *layers, self.mode, self.activation, self.masks, *batch[4:])


class _Ctrnn:
    """The same of a CT-RNN or Neural ODE: weights of inputs and state, bias, and with a leak its rate."""

    def __init__(self, solver: str, unfolds: int) -> None:
        self.solver, self.unfolds = solver, unfolds

    def problem(self, batch: Batch, parameters: Sequence[Tensor]) -> Any:
        drive, recurrent, bias, *rate = _arrays(parameters)
        return _native.Ctrnn(
            batch.native(), drive, recurrent, bias, rate[0] if rate else None, self.solver, self.unfolds
        )

    def reference(self, batch: Batch, p: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        weights = (torch.cat([p[0], p[1]], 1), p[2], p[3] if len(p) > 3 else None)
        return reference.ctrnn(*batch[:4], *weights, self.solver, self.unfolds, *batch[4:])


class _Ctgru:
    """The same of a CT-GRU: gates and signal, a weight and a bias each."""

    def __init__(self, scales: int) -> None:
        self.scales = scales

    def problem(self, batch: Batch, parameters: Sequence[Tensor]) -> Any:
        return _native.Ctgru(batch.native(), *_arrays(parameters), self.scales)

    def reference(self, batch: Batch, p: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return reference.ctgru(*batch[:4], p[0], p[1], p[2], p[3], self.scales, batch.reset)


class _OdeRnn:
    """The same of an ODE-RNN: its field, its update."""

    def __init__(self, solver: str, unfolds: int) -> None:
        self.solver, self.unfolds = solver, unfolds

    def problem(self, batch: Batch, parameters: Sequence[Tensor]) -> Any:
        p = _arrays(parameters)
        return _native.OdeRnn(batch.native(), p[:4], p[4:], self.solver, self.unfolds)

    def reference(self, batch: Batch, p: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return reference.ode_rnn(*batch[:4], p[:4], p[4:], self.solver, self.unfolds, batch.reset)


Spec = _Ltc | _Cfc | _Ctrnn | _Ctgru | _OdeRnn


class _Run(torch.autograd.Function):
    """One recurrence over a batch, for autograd. Arguments: the spec, a Batch's tensors, the parameters."""

    @staticmethod
    def forward(ctx: Any, spec: Spec, *tensors: Any) -> tuple[Tensor, Tensor]:
        states, cells = run_forward(spec, Batch(*tensors[:N]), tensors[N:])
        ctx.spec = spec
        ctx.save_for_backward(*tensors, states, cells)
        return states, cells

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        *tensors, states, cells = ctx.saved_tensors
        wanted = ctx.needs_input_grad[1:]
        if any(torch._C._functorch.is_legacy_batchedtensor(grad) for grad in grads):
            raise InputError(
                "the compiled kernels take no batch of gradients (is_grads_batched, vectorize=True): take "
                'torch.func.jacrev, or torchliquid.kernels.use("reference") before the forward pass'
            )
        if torch.is_grad_enabled():
            _say_once()
            # As views: one of these tensors may have been made from another, which must not count twice.
            tensors = [t.view_as(t) if want else t for t, want in zip(tensors, wanted, strict=True)]
            outputs = ctx.spec.reference(Batch(*tensors[:N]), tensors[N:])
            pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.numel()]
            sources = [t for t, want in zip(tensors, wanted, strict=True) if want]
            outputs, given = zip(*pairs, strict=True)
            found = iter(torch.autograd.grad(outputs, sources, given, create_graph=True, allow_unused=True))
            return (None, *(next(found) if want else None for want in wanted))
        batch, parameters = Batch(*tensors[:N]), tensors[N:]
        return (None, *run_backward(ctx.spec, batch, parameters, states, cells, (grads[0], grads[1]), wanted))


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
"""What kernels write into, whatever torch's defaults are."""


def run_forward(spec: Spec, batch: Batch, parameters: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """States (B, T, H) and cells (B, T, H), (B, 0, H) without memory; no autograd."""
    n, time, _ = batch.inputs.shape
    units = batch.state.shape[1]
    states = torch.empty(n, time, units, **FLOATS)
    cells = torch.empty(n, 0 if batch.drive is None else time, units, **FLOATS)
    out = _arrays([states, None if batch.drive is None else cells])
    spec.problem(batch, parameters).forward(*out, torch.get_num_threads())
    return states, cells


def run_backward(
    spec: Spec,
    batch: Batch,
    parameters: Sequence[Tensor],
    states: Tensor,
    cells: Tensor,
    grads: tuple[Tensor, Tensor],
    wanted: Sequence[bool] = (True, True),
) -> list[Tensor | None]:
    """Gradients of a Batch's tensors (inputs and timespans only where wanted) and of the parameters; no autograd."""
    mixed = batch.drive is not None
    trained = [*parameters, batch.memory] if batch.memory is not None else parameters
    flat = torch.empty(sum(p.numel() for p in trained), **FLOATS)
    # Zeros, because the kernels leave alone what lies behind a sequence's end.
    to_inputs, to_timespans = (_zeros(t) if want else None for t, want in zip(batch[:2], wanted, strict=False))
    to_state = _zeros(batch.state)
    to_drive, to_cell = _zeros(batch.drive), _zeros(batch.cell)
    saved = _arrays([states, cells if mixed else None])
    given = [grads[0], grads[1] if mixed else None]
    gradients = _native.Gradients(*_arrays([*given, to_inputs, to_timespans, to_state, to_drive, to_cell, flat]))
    spec.problem(batch, parameters).backward(*saved, gradients, torch.get_num_threads())
    pieces = [piece.view(p.shape) for piece, p in zip(flat.split([p.numel() for p in trained]), trained, strict=True)]
    to_memory = pieces.pop() if mixed else None
    return [to_inputs, to_timespans, to_state, None, to_drive, to_memory, to_cell, None, *pieces]


def _zeros(like: Tensor | None) -> Tensor | None:
    return None if like is None else torch.zeros_like(like, memory_format=torch.contiguous_format)


def _arrays(tensors: Sequence[Tensor | None]) -> list[Any]:
    # Not by .numpy(), after which a storage can never be resized again, as sharding and ``out=`` do.
    hand_over: Any = dlpack.to_dlpack  # type: ignore[attr-defined]
    return [None if t is None else hand_over(t.detach().contiguous()) for t in tensors]


_said = False


def _say_once() -> None:
    global _said
    if not _said:
        _said = True
        log.warning("second derivatives of liquid layers are taken through the PyTorch reference, which is slower")
