"""A network as C99: the constants, and the templates that they go into."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import jinja2
import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import text
from torchliquid.edge.names import enumerators
from torchliquid.edge.network import LARGEST, Cfc, CfcLayer, Dense, Gru, Lstm, Ltc, Network, Synapses, arrays
from torchliquid.edge.plausible import Plausible, in_order
from torchliquid.errors import InputError

Math = Literal["builtin", "libm"]
Layout = Literal["rows", "columns"]

LONGEST_NAME = 1000
"""Characters of a channel's or label's name; C99 compilers need not take string literals beyond 4,095 bytes."""


@dataclass(frozen=True)
class Constant:
    """An array in the C, and what is said about it."""

    text: str
    remark: str = ""


@dataclass(frozen=True)
class Field:
    """A member of the state; ``length`` 0 is a single one."""

    kind: str
    name: str
    length: int
    meaning: str

    @property
    def bytes(self) -> int:
        return {"float": 4, "uint32_t": 4, "int32_t": 4, "int16_t": 2, "int8_t": 1}[self.kind]

    @property
    def size(self) -> int:
        return self.bytes * max(self.length, 1)


@cache
def templates() -> jinja2.Environment:
    """The C templates; nothing from a model file is ever a template."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("torchliquid.edge"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )


def sources(network: Network, math: Math, layout: Layout) -> dict[str, str]:
    """The header and the source in single precision.

    Args:
        network: from :func:`torchliquid.edge.network.describe`.
        math: exp and tanh of our own, or ``expf`` and ``tanhf``.
        layout: weights row by row, as small cores like them, or column by column, as SIMD does.
    """
    constants = [*scale_constants(network), *_core_constants(network, layout), *_readout_constants(network, layout)]
    fields = state_fields(network, "float", "float")
    context = {
        **frame(network, constants, fields, math),
        "fingerprint": fingerprint(network, fields),
        "arithmetic": "Single precision.",
        "layout": layout,
        "quantized": False,
        "memory_clips": False,
        "liquid_clips": False,
        "uneven": False,
        **_core_context(network),
        "readout": _readout_call(network),
    }
    return render(context)


def render(context: dict[str, Any]) -> dict[str, str]:
    """The two files."""
    return {f"{context['p']}.{end}": templates().get_template(f"model.{end}.j2").render(context) for end in "hc"}


def state_fields(network: Network, features: str, hidden: str) -> list[Field]:
    """What must be remembered from sample to sample."""
    n = network.features
    fields = [Field(features, "features", n, "what the network is fed: the last good readings, scaled")]
    if network.task.change and features != "float":
        fields.append(Field("float", "last", 1, "the last good reading of what is forecast, scaled"))
    fields.append(Field(hidden, "hidden", network.units, "the neurons"))
    if network.cells:
        fields.append(Field(hidden, "cell", network.units, "and their memory"))
    if network.task.per == "series":
        fields.append(Field("float", "mean", network.task.n_outputs, "mean of the answers so far"))
        fields.append(Field("float", "rest", network.task.n_outputs, "what single precision leaves of it"))
    fields.append(Field("uint32_t", "samples", 0, "how many came; it stays at the largest number"))
    fields.append(Field("uint32_t", "faults", 0, "how often a reading, a time or a step was at fault"))
    if alarm(network) and network.task.per == "step":
        fields.append(Field("uint32_t", "alarm", 0, "whether one is on, and the last sample was over its threshold"))
        fields.append(Field("float", "alarm_times", 2, "since the first of these samples, and since the last"))
    words = -(-network.preprocessing.n_channels // 32)
    fields.append(Field("uint32_t", "faulty", words, "a bit for each reading of the last sample that was"))
    return fields


def alarm(network: Network) -> dict[str, Any] | None:
    """The rule of the task's alarms, times in units of the model's own time scale; None where it has none."""
    task, scale = network.task, network.preprocessing.time_scale
    if task.alarm is None or task.alarm.threshold is None:
        return None
    return {
        "positive": task.positive,
        "threshold": text.number(task.alarm.threshold),
        "shortest": text.number(task.alarm.shortest / scale),
        "longest": text.number(task.alarm.longest / scale),
    }


def frame(network: Network, constants: list[Constant], fields: list[Field], math: Math) -> dict[str, Any]:
    """What the templates need to know besides the recurrence, whatever the arithmetic."""
    task, scales = network.task, network.preprocessing
    for name in (*scales.channels, *task.labels):
        if len(name) > LONGEST_NAME:
            raise InputError(f"the name {name[:30]!r}... has {len(name)} characters; up to {LONGEST_NAME} are possible")
    answers = "a probability for each label" if task.labels else "values in the target's unit"
    limits = network.limits
    return {
        "p": network.name,
        "P": network.name.upper(),
        "title": title(network),
        "version": version("torchliquid"),
        "answers": answers,
        "inputs": scales.n_channels,
        "outputs": task.n_outputs,
        "units": network.units,
        "features": network.features,
        "fields": fields,
        "saved_bytes": 8 + sum(field.size for field in fields),
        "has_floats": any(field.kind == "float" for field in fields),
        "constants": constants,
        "channels": [text.string(c) for c in scales.channels],
        "labels": [text.string(label) for label in task.labels],
        "slots": _slots(scales.channels, "CHANNEL"),
        "label_slots": _slots(task.labels, "CLASS"),
        "limited": limits.limited,
        "limits_set": bool(limits.set_by_hand.any()),
        "longest_gap": text.number(float(limits.longest_gap)) if np.isfinite(limits.longest_gap) else "",
        "gap_set": limits.gap_set_by_hand,
        "per_series": task.per == "series",
        "alarm": alarm(network),
        "column": task.column,
        "last": f"state->features[{task.column}]",
        "change": text.number(task.change) if task.change else "",
        "math": math,
        "limit": text.number(LIMIT),
        "with_mask": scales.with_mask,
        "untold": scales.with_mask and bool(scales.untold.any()),
        "with_span": network.with_span,
        "mean_rest": mean_rest(network).any(),
        "time_unit": text.remark(scales.time_unit),
        "time_scale": f"{scales.time_scale:.6g}",
        "per_time_scale": text.number(1 / scales.time_scale),
        "longest": text.number(longest_span(network)),
        "memory": network.memory is not None or isinstance(network.core, Lstm),
        "cells": network.cells,
        "bounded": network.bounded(),
        "core": type(network.core).__name__.lower(),
        "unfolds": network.core.unfolds if isinstance(network.core, Ltc) else 0,
        "solver": network.core.solver if isinstance(network.core, Ltc) else "",
    }


def _slots(names: tuple[str, ...], instead: str) -> list[dict[str, str]]:
    return [
        {"word": word, "remark": text.remark(name), "name": text.cell(name)}
        for word, name in zip(enumerators(names, instead), names, strict=True)
    ]


def fingerprint(network: Network, fields: list[Field], units: object = "") -> str:
    """Of all that gives a saved state its meaning, so that no other model takes it: weights and scales, the state's
    form, how it is stepped, and the ``units`` of integers. Names and remarks are not among it.
    """
    core, rule = network.core, network.preprocessing
    steps = (core.solver, core.unfolds) if isinstance(core, Ltc) else core.mode if isinstance(core, Cfc) else ""
    form = [(field.kind, field.length) for field in fields]
    said = repr((type(core).__name__, steps, network.first, rule.with_mask, form, units))
    crc = zlib.crc32(said.encode())
    for array in arrays(core, network.memory, network.readout, rule.mean, rule.unit, np.array(rule.time_scale)):
        numbers = array.astype("<f4") if array.dtype == np.float64 else array.astype("<i8")
        crc = zlib.crc32(numbers.tobytes(), zlib.crc32(repr(array.shape).encode(), crc))
    return f"0x{crc:08x}u"


def title(network: Network) -> str:
    """One line on what the model is."""
    names = {Ltc: "LTC", Cfc: "CfC", Lstm: "LSTM", Gru: "GRU"}
    task = network.task
    ahead = "" if task.horizon is None else f", {task.horizon:g} {text.remark(task.horizon_unit)} ahead"
    ahead += task.learnt and f", as the change from the last value of {text.remark(task.target)}"
    kind = names[type(network.core)] + (" with mixed memory" if network.memory else "")
    return f"{kind} of {network.units} neurons: {task.kind} of {text.remark(task.target)}{ahead}"


def longest_span(network: Network) -> float:
    """Spans beyond it change nothing any more, and would only overflow."""
    if isinstance(network.core, Ltc):
        return min(1e30, LARGEST / network.core.strongest())
    return 1e30 if isinstance(network.core, Cfc) else 3e38  # LSTM and GRU are fed its logarithm


def mean_rest(network: Network) -> np.ndarray:
    """What single precision leaves of the channels' means, where that matters to the scaled reading."""
    mean, std = network.preprocessing.mean, network.preprocessing.std
    rest: np.ndarray = mean - mean.astype(np.float32)
    return rest if (np.abs(rest) > 1e-7 * std).any() else np.zeros_like(rest)


def scale_constants(network: Network) -> list[Constant]:
    """Means and deviations of readings, and of the target."""
    scales, task = network.preprocessing, network.task
    # Means with their signs changed: adding is the one software routine of the two that is needed anyway.
    remark = "Readings: the training part's means, below zero, and 1 / deviations."
    made = [Constant(text.array("input_shift", -scales.mean), remark)]
    if mean_rest(network).any():
        remark = "What single precision leaves of the means."
        made.append(Constant(text.array("input_shift_rest", -mean_rest(network)), remark))
    made.append(Constant(text.array("input_scale", 1 / scales.unit)))
    if scales.with_mask and scales.untold.any():
        remark = "Of which the network is not told whether they were there: in training they were, all but always."
        made.append(Constant(text.array("untold", scales.untold, "uint8_t"), remark))
    if not task.labels:
        made.append(Constant(text.array("target_mean", task.mean), "The target's scale."))
        made.append(Constant(text.array("target_scale", task.std)))
    if network.limits.limited:
        made += _limits(network.limits)
    return made


def _limits(limits: Plausible) -> list[Constant]:
    # Zero has two signs, and both are within.
    low, high = np.where(limits.low == 0, np.float32(-0.0), limits.low), limits.high + np.float32(0.0)
    made = [
        Constant(text.array("lowest", in_order(low), "int32_t"), "Plausible readings, as floats' bits in their order."),
        Constant(text.array("highest", in_order(high), "int32_t")),
    ]
    if limits.set_by_hand.any():
        remark = "Whose limits were set: beyond them a reading is held."
        made.append(Constant(text.array("limit_set", limits.set_by_hand, "uint8_t"), remark))
    return made


def _weights(name: str, weight: np.ndarray, layout: Layout, remark: str = "") -> Constant:
    return Constant(text.array(f"{name}_weight", weight.T if layout == "columns" else weight), remark)


def _dense(name: str, dense: Dense, layout: Layout, remark: str) -> list[Constant]:
    return [_weights(name, dense.weight, layout, remark), Constant(text.array(f"{name}_bias", dense.bias))]


def _readout_constants(network: Network, layout: Layout) -> list[Constant]:
    return _dense("readout", network.readout, layout, "From the neurons to the answer.")


def _readout_call(network: Network) -> str:
    states = f"state->hidden + {network.first}" if network.first else "state->hidden"
    columns = network.readout.weight.shape[1]
    rows = f"{network.name.upper()}_OUTPUTS"
    return f"dense(readout_weight, readout_bias, {rows}, {states}, {columns}, state->features, 0, outputs);"


def _core_constants(network: Network, layout: Layout) -> list[Constant]:
    made: list[Constant] = []
    memory = network.memory or (network.core if isinstance(network.core, Lstm) else None)
    if memory is not None:
        made += _dense("gate", memory.gates, layout, "Gates input, forget, candidate, output.")
    core = network.core
    if isinstance(core, Ltc):
        made += _ltc(core, network.name)
    elif isinstance(core, Cfc):
        for i, dense in enumerate(core.backbone):
            made += _dense(f"backbone{i}", dense, layout, f"Backbone, layer {i + 1}.")
        for i, layer in enumerate(core.layers):
            made += _cfc_layer(i, layer, wire_type(core), layout)
    elif isinstance(core, Gru):
        made += _dense("gate", core.gates, layout, "Gates reset and update.")
        made += _dense("candidate", core.candidate, layout, "The new state's part from the inputs,")
        made += _dense("recalled", core.recalled, layout, "and from the state before.")
    return made


def _ltc(core: Ltc, name: str) -> list[Constant]:
    kind = source_type(core)
    made = [
        Constant(f"typedef struct {{\n    float weight, slope, offset, reversal;\n}} {name}_synapse;"),
        sensed_constant(core),
        *_synapses(
            name, "sensory", core.sensory, core.sensed, kind, "Synapses from the inputs, by the neuron they end at."
        ),
        *_synapses(
            name, "synapse", core.synapses, slice(None), kind, "Synapses between neurons, by the neuron they end at."
        ),
        Constant(text.array("leak_pull", core.pull), "Leak and capacitance of each neuron."),
        Constant(text.array("leak_conductance", core.conductance)),
        Constant(text.array("capacitance", core.capacitance)),
    ]
    return made


def sensed_constant(core: Ltc) -> Constant:
    """Which neurons have sensory synapses: only for them sums are kept."""
    first, last = core.sensed.start, core.sensed.stop
    return Constant(f"enum {{ FIRST_SENSED = {first}, SENSED = {last - first} }}; /* neurons that inputs reach */")


def source_type(core: Ltc) -> str:
    """Of the indices of sources and of their counts."""
    both = (core.sensory, core.synapses)
    return text.index_type(max(int(max(s.source.max(initial=0), s.count.max(initial=0))) for s in both))


def _synapses(model: str, name: str, synapses: Synapses, ends: slice, kind: str, where: str) -> list[Constant]:
    columns = (synapses.weight, synapses.slope, synapses.offset, synapses.reversal)
    remark = f"Synapses {where}, by the neuron they end at."
    rows = ["{" + ", ".join(text.number(v) for v in row) + "}" for row in zip(*columns, strict=True)]
    plural = "synapses" if name == "synapse" else name
    # An empty array is no C: a circuit without any such synapse gets one that is never read.
    body = text.wrapped(rows or ["{0.0f, 0.0f, 0.0f, 0.0f}"])
    return [
        Constant(f"static const {model}_synapse {plural}[{max(len(rows), 1)}] = {{\n{body}\n}};", remark),
        Constant(text.array(f"{name}_source", synapses.source if rows else [0], kind)),
        Constant(text.array(f"{name}_count", synapses.count[ends], kind)),
    ]


def _cfc_layer(i: int, layer: CfcLayer, kind: str, layout: Layout) -> list[Constant]:
    made: list[Constant] = []
    heads, n, u = layer.heads, layer.inputs, layer.units
    pure = layer.rate is not None
    where = f"layer {i + 1}"
    if layer.mask is None:
        names = "Head f" if pure else "Heads f, g, a, b"
        made += [_weights(f"head{i}", heads.weight, layout, f"{names}, {where}.")]
    else:
        masked = 1 if pure else 2
        weight = np.concatenate([heads.weight[h * u : (h + 1) * u, :n][layer.mask] for h in range(masked)])
        source, count = wires(layer.mask)
        made += [
            Constant(
                text.array(f"wire{i}_weight", weight if len(weight) else [0.0]),
                f"Synapses into {where}, by the neuron they end at: weights of {'f' if pure else 'f and g'}, sources.",
            ),
            Constant(text.array(f"wire{i}_source", source if len(source) else [0], kind)),
            Constant(text.array(f"wire{i}_count", count, kind)),
            _weights(f"head{i}", heads.weight[: masked * u, n:], layout, "And inside the layer."),
        ]
        if not pure:
            made += [_weights(f"gate{i}", heads.weight[2 * u :], layout, "The time gates a and b.")]
    made += [Constant(text.array(f"head{i}_bias", heads.bias))]
    if layer.rate is not None and layer.amplitude is not None:
        made += [Constant(text.array(f"rate{i}", layer.rate)), Constant(text.array(f"amplitude{i}", layer.amplitude))]
    return made


def wires(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sources of the weights that a mask leaves, and how many each neuron has."""
    return np.nonzero(mask)[1], mask.sum(1)


def _core_context(network: Network) -> dict[str, Any]:
    """Names and sizes that the core's template needs."""
    core, made = network.core, cfc_context(network)
    uses = {
        "tanh": not isinstance(core, Ltc) or network.memory is not None,
        "gelu": False,
        "log1p": network.with_span,
        "sparse": False,
        "sigmoid": True,
    }
    if isinstance(core, Cfc):
        masked = [layer for layer in core.layers if layer.mask is not None]
        backbone = core.activation if core.backbone else ""
        pure = core.mode == "pure"
        uses["sparse"] = bool(masked)
        uses["gelu"] = backbone == "gelu"
        uses["tanh"] = not pure or "tanh" in backbone or network.memory is not None
        uses["sigmoid"] = not pure or backbone == "silu" or network.memory is not None
    made["uses"] = uses
    if isinstance(core, Ltc):
        made["source_type"] = source_type(core)
    return made


def cfc_context(network: Network) -> dict[str, Any]:
    """Where each layer of a CfC reads and writes."""
    core = network.core
    if not isinstance(core, Cfc):
        return {}
    layers, at, before = [], 0, "x"
    for layer in core.layers:
        here = f"h + {at}" if at else "h"
        synapses = None if layer.mask is None else int(layer.mask.sum())
        layers.append(
            {
                "units": layer.units,
                "inputs": layer.inputs,
                "rows": len(layer.heads.bias),
                "synapses": synapses,
                "masked_heads": 1 if core.mode == "pure" else 2,
                "x": before,
                "h": here,
            }
        )
        before, at = here, at + layer.units
    return {
        "mode": core.mode,
        "activation_name": core.activation,
        "backbone": [len(dense.bias) for dense in core.backbone],
        "layers": layers,
        "widest_heads": max(len(layer.heads.bias) for layer in core.layers),
        "wire_type": wire_type(core),
    }


def wire_type(core: Cfc) -> str:
    """Of the indices of a wired CfC's sources and of their counts."""
    largest = [int(w.max(initial=0)) for layer in core.layers if layer.mask is not None for w in wires(layer.mask)]
    return text.index_type(max(largest, default=0))
