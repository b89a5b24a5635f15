"""Networks as compiled steps: one sample at a time, without tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from torchliquid import backends
from torchliquid.data.preprocessing import LIMIT, Preprocessing
from torchliquid.errors import InputError
from torchliquid.models.description import (
    Affine,
    Cfc,
    Dense,
    Description,
    Encoder,
    Gru,
    LrcSsm,
    Lstm,
    Ltc,
    Mixture,
    Part,
    Synapses,
    describe,
    of_layers,
)
from torchliquid.models.model import Model

Parts = tuple[np.ndarray, ...]


def compiled(module: nn.Module, parts: Parts, held: np.ndarray | None = None, started: np.ndarray | None = None) -> Any:
    """A compiled stepper with copies of the module's weights, which keeps its state in the given arrays; None if it
    cannot be compiled.

    Args:
        module: a :class:`Model`, or a layer or stack.
        parts: (n, ...) each, as the module's own state: float32, or float64 for the sums of a task per series.
        held, started: of a model's preprocessing, (n, C) float64 and (n,) bool.
    """
    if backends.chosen() is not backends.native:
        return None
    core = import_module("torchliquid._native")
    options: dict[str, Any] = {}
    try:
        if isinstance(module, Model):
            description = describe(module)
            chain = description.parts
            options = _around(core, description, parts, held, started)
        else:
            chain = tuple(of_layers(module))
    except (InputError, NotImplementedError):
        return None  # PyTorch runs the steps
    if not chain[-1].states:  # a network without memory
        return None
    states = iter(parts)
    layers = [_layer(core, part, states) for part in chain]
    if None in layers:
        return None
    return core.Stepper(layers, **options, threads=torch.get_num_threads())


def _around(
    core: Any, description: Description, parts: Parts, held: np.ndarray | None, started: np.ndarray | None
) -> dict[str, Any]:
    scales, task = description.preprocessing, description.task
    total, count = (None, None) if task.per == "step" else parts[-2:]
    scale = [np.array(v, dtype=np.float64) if task.kind == "regression" else None for v in (task.mean, task.std)]
    last = [task.column, task.change] if task.change else []
    return {
        "front": front(core, scales, held, started),
        "back": core.Back(_linear(core, description.readout), total, count, *scale, *last),
    }


def front(core: Any, scales: Preprocessing, held: np.ndarray | None, started: np.ndarray | None) -> Any:
    """The compiled preprocessing, which keeps its state in these arrays."""
    mean, unit = scales.mean.astype(np.float64), scales.unit.astype(np.float64)
    untold = [scales.untold] if scales.untold.any() else []
    return core.Front(mean, unit, scales.time_scale, LIMIT, scales.with_mask, held, started, *untold)


def _layer(core: Any, part: Part, states: Iterator[np.ndarray] | None) -> Any:
    """A layer that keeps its state in the next of these arrays, or in its mixture's; None if it is not compiled."""
    made = KERNELS.get(type(part.core))
    recurrence = None if made is None else made(core, part)
    if recurrence is None:
        return None
    return core.Layer(
        recurrence,
        h=next(states) if states and part.states else None,
        c=next(states) if states and part.cells else None,
        first_feature=part.first,
        features=part.outputs,
        input_map=_affine(getattr(part.core, "input_map", None)),
        output_map=_affine(part.output_map),
        memory=None if part.memory is None else core.Gated(*_float(part.memory.gates), True),
        projection=None if part.projection is None else _linear(core, part.projection),
        span_input=part.with_span,
    )


def _ltc(core: Any, part: Part) -> Any:
    cell: Ltc = part.core
    if cell.solver != "fused":
        return None
    leak = [_single(each) for each in (cell.gleak, cell.vleak, cell.capacitance)]
    tables = [each for synapses in (cell.synapses, cell.sensory) for each in _synapses(synapses)]
    return core.Ltc(_sequence(core, part.inputs, part.states), leak, *tables, cell.unfolds, cell.epsilon)


def _synapses(s: Synapses) -> tuple[list[np.ndarray], np.ndarray]:
    return [_single(each) for each in (s.weight, s.mu, s.sigma, s.reversal)], np.stack([s.source, s.target])


def _cfc(core: Any, part: Part) -> Any:
    cfc: Cfc = part.core
    backbone = [each for dense in cfc.backbone for each in _float(dense)]
    heads = [
        _single(each)
        for layer in cfc.layers
        for each in (layer.heads.weight, layer.heads.bias, layer.rate, layer.amplitude)
        if each is not None
    ]
    sizes = [layer.units for layer in cfc.layers]
    return core.Cfc(_sequence(core, part.inputs, part.states), backbone, heads, sizes, cfc.mode, cfc.activation, [])


def _gru(core: Any, part: Part) -> Any:
    """The new state weights its two shares separately: four gates over inputs and state."""
    gru: Gru = part.core
    n = gru.candidate.weight.shape[1]
    fresh, recalled = gru.candidate, gru.recalled
    weight = [
        gru.gates.weight,
        np.pad(fresh.weight, ((0, 0), (0, gru.units))),
        np.pad(recalled.weight, ((0, 0), (n, 0))),
    ]
    bias = [gru.gates.bias, fresh.bias, recalled.bias]
    return core.Gated(_single(np.concatenate(weight)), _single(np.concatenate(bias)), False)


def _lrcssm(core: Any, part: Part) -> Any:
    lrc: LrcSsm = part.core
    elastance = [_single(each) for each in (lrc.open_weight, lrc.open_bias, lrc.shift) if each is not None]
    synapses = [_single(each) for each in (lrc.w, lrc.k, lrc.mu, lrc.sigma)]
    neurons = core.LrcSsm(
        _sequence(core, 2 * lrc.units, lrc.units), synapses, _single(lrc.vleak), elastance, lrc.exponential
    )
    enter = None if lrc.enter is None else _linear(core, lrc.enter)
    feed = [_linear(core, dense) for dense in lrc.feed or ()]
    return core.LrcSsmLayer(neurons, _single(lrc.slope), _single(lrc.offset), _linear(core, lrc.drive), enter, feed)


def _mixture(core: Any, part: Part) -> Any:
    mixture: Mixture = part.core
    parts = [_layer(core, each, None) for each in part.inner]
    return None if None in parts else core.Mixture(parts, _linear(core, mixture.gate), mixture.top_k)


KERNELS: dict[type, Callable[[Any, Part], Any]] = {
    Ltc: _ltc,
    Cfc: _cfc,
    Lstm: lambda core, part: core.Gated(*_float(part.core.gates), True),
    Gru: _gru,
    LrcSsm: _lrcssm,
    Mixture: _mixture,
    Encoder: lambda core, part: _linear(core, part.core.dense),
}
"""The modules with compiled steps. All others use PyTorch."""


def _sequence(core: Any, inputs: int, states: int) -> Any:
    empty = [np.zeros(shape, np.float32) for shape in ((0, 0, inputs), (0, 0), (0, states))]
    return core.Sequence(*empty, None, None, None, None)


def _affine(map_: Affine | None) -> list[np.ndarray] | None:
    return None if map_ is None else [_single(each) for each in map_]


def _linear(core: Any, dense: Dense) -> Any:
    return core.Linear(*_float(dense))


def _float(dense: Dense) -> tuple[np.ndarray, np.ndarray]:
    return _single(dense.weight), _single(dense.bias)


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)
