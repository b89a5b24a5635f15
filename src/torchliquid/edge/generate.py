"""Generates C99 for a network: its constants, and the templates that use them."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any, Literal

import jinja2
import numpy as np

from torchliquid.data.preprocessing import LIMIT, Preprocessing
from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Layout
from torchliquid.edge.names import enumerators
from torchliquid.edge.network import Network
from torchliquid.edge.plausible import Plausible, in_order
from torchliquid.edge.tabular import Table
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.conformal import RATE, RECENT, Interval
from torchliquid.models.description import arrays

Math = Literal["builtin", "libm"]
Exported = Network | Table

LONGEST_NAME = 1000
"""Maximum number of characters in a channel's or label's name. C99 compilers need not accept string literals of more
than 4,095 bytes."""


@dataclass(frozen=True)
class Field:
    """A member of the C state. ``length`` 0: not an array. It starts with zeros, or as the constant ``start`` says."""

    kind: str
    name: str
    length: int
    meaning: str
    start: str = ""

    @property
    def dtype(self) -> np.dtype:
        return np.dtype("float32" if self.kind == "float" else self.kind.removesuffix("_t")).newbyteorder("<")

    @property
    def size(self) -> int:
        return self.dtype.itemsize * max(self.length, 1)


@cache
def templates() -> jinja2.Environment:
    """The environment of the C templates. Nothing from a model file is ever used as a template."""
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
        math: built-in exp and tanh, or ``expf`` and ``tanhf``.
        layout: weights row by row, which suits small cores, or column by column, which suits SIMD.
    """
    cores = [constant for core in network.cores for constant in core.constants(layout)]
    weight = network.readout.weight.T if layout == "columns" else network.readout.weight
    readout = [
        Constant(text.array("readout_weight", weight), "From the neurons to the output."),
        Constant(text.array("readout_bias", network.readout.bias)),
    ]
    constants = [*scale_constants(network), *sizes(network), *cores, *readout]
    fields = state_fields(network, "float", "float")
    steps, read = calls(network, [Passed()] * len(network.stages))
    context: dict[str, Any] = {
        **frame(network, constants, fields, math),
        "fingerprint": fingerprint(network, fields),
        "arithmetic": "Single precision.",
        "layout": layout,
        "quantized": False,
        "uneven": False,
        "clips": False,
        "functions": {"exp"}.union(*(core.functions for core in network.cores)),
        "calls": steps,
        "readout": f"dense(readout_weight, readout_bias, {network.name.upper()}_OUTPUTS, {read}, "
        f"{network.readout.weight.shape[1]}, state->features, 0, outputs);",
    }
    parts = [each for part in network.described.parts for each in (part, *part.inner)]
    context["functions"] |= {"log1p"} if any(part.with_span for part in parts) else set()
    context["sums"] = [rendered("float32/dense.c.j2", context)]
    context["code"] = code(network, context, {})
    return render(context)


def code(network: Network, context: dict[str, Any], own: Mapping[Core[Any], dict[str, Any]]) -> list[str]:
    """The functions of all cores. ``own`` holds further template variables of each."""
    made, seen = [], set()
    for core in (each for outer in network.cores for each in (*outer.inner, outer)):
        names = {"q": core.prefix, "Q": core.prefix.upper(), "again": (type(core), core.answers) in seen}
        made.append(source(core, context | core.context() | own.get(core, {}) | names))
        seen.add((type(core), core.answers))
    return made


def source(core: Core[Any], context: dict[str, Any]) -> str:
    """The C that a core's template renders to."""
    kind = "int8" if context["quantized"] else "float32"
    inline: str = getattr(core, kind)
    return (
        templates().from_string(inline).render(context) if inline else rendered(f"{kind}/{core.template}.c.j2", context)
    )


def sizes(network: Network) -> list[Constant]:
    """The sizes of each part, if there are several."""
    stages = network.stages if len(network.stages) > 1 else ()
    return [stage.core.size(f"Part {i}") for i, stage in enumerate(stages, 1)]


@dataclass(frozen=True)
class Passed:
    """How one part passes values to the next: the C types of a part's inputs, of a dense layer's outputs and of answers
    that are not states, and the expression for the span's logarithm, which is the last input."""

    fed: str = "float"
    out: str = "float"
    state: str = "float"
    log: str = "model_log1p(span) - 0.693147181f"
    counts: bool = False  # whether functions return how much they clipped


def calls(network: Network, passed: Sequence[Passed]) -> tuple[list[str], str]:
    """The lines that update all states, and the expression for what the readout reads afterwards."""
    lines, x = [], "state->features"
    for stage, own in zip(network.stages, passed, strict=True):
        q, upper = stage.prefix, stage.prefix.upper()
        if stage.span_here:
            lines += [
                f"{own.fed} {q}x[{upper}FEATURES];",
                f"for (int i = 0; i < {upper}FEATURES - 1; i++)",
                f"    {q}x[i] = ({x})[i];",
                f"{q}x[{upper}FEATURES - 1] = {own.log};",
            ]
            x = f"{q}x"
        h = placed("state->hidden", stage.hidden) if stage.part.states else f"{q}out"
        if not stage.part.states:
            lines.append(f"{own.out} {h}[{upper}UNITS];")
        if stage.core.answers:
            lines.append(f"{own.state} {q}result[{stage.core.outputs}];")
        waited = placed("state->waited", stage.waited)
        for core in stage.cores:
            call = core.call.format(x=x, h=h, c=placed("state->cell", stage.cell), y=f"{q}result", w=waited)
            lines.append(f"{'clipped += ' if own.counts and core.clips else ''}{q}{call};")
        x = placed("state->hidden", stage.first) if stage.part.states else h
        x = f"{q}result" if stage.core.answers else x
    return lines, x


def placed(array: str, first: int) -> str:
    """Where a part's own elements begin."""
    return f"{array} + {first}" if first else array


def rendered(name: str, context: dict[str, Any]) -> str:
    """A rendered template without its last newline."""
    return templates().get_template(name).render(context)


def render(context: dict[str, Any]) -> dict[str, str]:
    """The header and the source."""
    return {f"{context['p']}.{end}": templates().get_template(f"model.{end}.j2").render(context) for end in "hc"}


def state_fields(network: Network, features: str, hidden: str) -> list[Field]:
    """What a network's state holds: what must be remembered from sample to sample."""
    n = network.features
    fields = [Field(features, "features", n, "what the network is fed: the last good readings, scaled")]
    if network.task.change and features != "float":
        fields.append(Field("float", "last", 1, "the last good reading of what is forecast, scaled"))
    fields.append(Field(hidden, "hidden", network.units, "the neurons"))
    if network.cells:
        fields.append(Field(hidden, "cell", network.units, "and their memory"))
    if network.clocks:
        fields.append(Field("float", "waited", network.clocks, "time since each expert was called"))
    if network.averages:
        fields.append(Field("float", "mean", network.task.n_outputs, "mean of the answers so far"))
        fields.append(Field("float", "rest", network.task.n_outputs, "the part of it that single precision drops"))
    return [*fields, *counted(network)]


def counted(network: Exported) -> list[Field]:
    """The end of every state: samples, faults, alarms."""
    fields = [
        Field("uint32_t", "samples", 0, "number of samples; it stops at the largest number"),
        Field("uint32_t", "faults", 0, "how often a reading, a time or a step was faulty"),
    ]
    if alarm(network) and network.task.per == "step":
        fields.append(Field("uint32_t", "alarm", 0, "bits: one is on; the last sample exceeded its threshold"))
        fields.append(Field("float", "alarm_times", 2, "time since the first of these samples, and since the last"))
    words = -(-network.preprocessing.n_channels // 32)
    fields.append(Field("uint32_t", "faulty", words, "a bit for each reading of the last sample that was faulty"))
    if network.interval is not None and network.interval.adaptive:
        k = network.task.n_outputs
        fields.append(Field("float", "half", k, "how far each interval extends to each side", "first_half"))
        fields.append(Field("float", "errors", k * RECENT, "the last errors of each answer", "first_errors"))
        fields.append(Field("uint8_t", "oldest", k, "which of them the next one replaces", "first_oldest"))
    return fields


def alarm(network: Exported) -> dict[str, Any] | None:
    """The alarm rule of the task, with times in units of the model's time scale; None if there is none."""
    task, scale = network.task, network.preprocessing.time_scale
    if task.alarm is None or task.alarm.threshold is None:
        return None
    return {
        "positive": task.positive,
        "threshold": text.number(task.alarm.threshold),
        "shortest": text.number(task.alarm.shortest / scale),
        "longest": text.number(task.alarm.longest / scale),
    }


def frame(network: Exported, constants: list[Constant], fields: list[Field], math: Math) -> dict[str, Any]:
    """The template variables other than those of the recurrence. They are the same for float32 and integers."""
    task, scales = network.task, network.preprocessing
    for name in (*scales.channels, *task.labels):
        if len(name) > LONGEST_NAME:
            raise InputError(f"the name {name[:30]!r}... has {len(name)} characters; {LONGEST_NAME} are allowed")
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
        "size_remark": "neurons, what each sample feeds them, words of flags",
        "ordered": False,
        "fields": fields,
        "saved_bytes": 8 + sum(field.size for field in fields),
        "has_floats": any(field.kind == "float" for field in fields),
        "constants": constants,
        "channels": [text.string(c) for c in scales.channels],
        "labels": [text.string(label) for label in task.labels],
        "slots": _slots(scales.channels, "CHANNEL", network.pixels),
        "scale_at": "0" if network.alike else "i",
        "label_slots": _slots(task.labels, "CLASS"),
        "limited": limits.limited,
        "limits_set": bool(limits.set_by_hand.any()),
        "longest_gap": text.number(float(limits.longest_gap)) if np.isfinite(limits.longest_gap) else "",
        "gap_set": limits.gap_set_by_hand,
        "per_series": task.per == "series",
        "averages": network.averages,
        "alarm": alarm(network),
        "interval": network.interval,
        "recent": RECENT,
        "rate": text.number(RATE),
        "level": 0.0 if network.interval is None else float(f"{network.interval.level:.6g}"),
        "miss": "" if network.interval is None else text.number(1 - network.interval.level),
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
        "longest": text.number(network.longest_span),
        "remembered": [
            ("hidden", "UNITS"),
            *([("cell", "UNITS")] if network.cells else []),
            *([("waited", str(network.clocks))] if network.clocks else []),
        ],
        "bounded": network.bounded(),
    }


def _slots(names: tuple[str, ...], instead: str, left_out: frozenset[int] = frozenset()) -> list[dict[str, Any]]:
    return [
        {"at": i, "word": word, "remark": text.remark(name), "name": text.cell(name)}
        for i, (word, name) in enumerate(zip(enumerators(names, instead), names, strict=True))
        if i not in left_out
    ]


def fingerprint(network: Network, fields: list[Field], units: object = "") -> str:
    """The :func:`checksum` of a network, with the ``units`` of integers."""
    parts = [each for s in network.stages for each in (type(s.core.data).__name__, s.core.steps, s.part.first)]
    datas = [core.data for stage in network.stages for core in stage.cores[::-1]]
    return checksum(network.preprocessing, fields, (*parts,), units, arrays(*datas, network.readout))


def checksum(
    scales: Preprocessing, fields: list[Field], facts: tuple[object, ...], units: object, weights: Iterable[np.ndarray]
) -> str:
    """Of all that gives a saved state its meaning, so that no other model takes it: weights and scales, the state's
    form, how it is stepped. Names and remarks are not among it.
    """
    form = [(field.kind, field.length) for field in fields]
    crc = zlib.crc32(repr((*facts, scales.with_mask, form, units)).encode())
    for array in (*weights, scales.mean, scales.unit, np.array(scales.time_scale)):
        numbers = array.astype("<f4") if array.dtype == np.float64 else array.astype("<i8")
        crc = zlib.crc32(numbers.tobytes(), zlib.crc32(repr(array.shape).encode(), crc))
    return f"0x{crc:08x}u"


def title(model: Exported) -> str:
    """One line that describes the model."""
    task = model.task
    ahead = f", {task.ahead} {text.remark(task.horizon_unit)} ahead" if task.horizons else ""
    ahead += task.learnt and f", as the change from the last value of {text.remark(task.target)}"
    return f"{model.words}: {task.kind} of {text.remark(task.target)}{ahead}"


def mean_rest(network: Exported) -> np.ndarray:
    """The part of the channels' means that single precision drops, where this changes the scaled reading."""
    mean, std = network.preprocessing.mean, network.preprocessing.std
    rest: np.ndarray = mean - mean.astype(np.float32)
    return rest if (np.abs(rest) > 1e-7 * std).any() else np.zeros_like(rest)


def scale_constants(network: Exported) -> list[Constant]:
    """Means and standard deviations of the readings and of the target."""
    scales, task = network.preprocessing, network.task
    # Means are negated, so that the code adds. Software floating point needs its addition routine anyway.
    remark = "Readings: the training part's means, negated, and 1 / standard deviations."
    one = slice(1 if network.alike else None)
    made = [Constant(text.array("input_shift", -scales.mean[one]), remark)]
    if mean_rest(network).any():
        remark = "The part of the means that single precision drops."
        made.append(Constant(text.array("input_shift_rest", -mean_rest(network)), remark))
    made.append(Constant(text.array("input_scale", 1 / scales.unit[one])))
    if scales.with_mask and scales.untold.any():
        remark = "Readings without a mask: in training they were nearly always present."
        made.append(Constant(text.array("untold", scales.untold, "uint8_t"), remark))
    if not task.labels:
        made.append(Constant(text.array("target_mean", task.mean), "The target's scale."))
        made.append(Constant(text.array("target_scale", task.std)))
    if network.interval is not None:
        made += _interval(network.interval)
    if network.limits.limited:
        made += _limits(network.limits)
    return made


def _interval(interval: Interval) -> list[Constant]:
    if not all(number < 1e30 for row in (interval.half, *interval.recent) for number in row):
        raise InputError("single precision cannot hold the interval's width; scale the target before training")
    made = [Constant(text.array("first_half", interval.half), "Intervals: how far they extend to each side.")]
    if interval.adaptive:
        counts = [len(row) for row in interval.recent]
        errors = np.zeros((len(counts), RECENT))
        for row, (count, known) in enumerate(zip(counts, interval.recent, strict=True)):
            errors[row, :count] = known
        made.append(Constant(text.array("first_errors", errors), "The last errors on the validation part."))
        made.append(Constant(text.array("first_oldest", np.array(counts) % RECENT, "uint8_t")))
    return made


def _limits(limits: Plausible) -> list[Constant]:
    # Zero has two signs; both count as inside.
    low, high = np.where(limits.low == 0, np.float32(-0.0), limits.low), limits.high + np.float32(0.0)
    made = [
        Constant(text.array("lowest", in_order(low), "int32_t"), "Plausible readings, as ordered bits."),
        Constant(text.array("highest", in_order(high), "int32_t")),
    ]
    if limits.set_by_hand.any():
        remark = "Readings with limits set by hand: beyond them the last good reading is held."
        made.append(Constant(text.array("limit_set", limits.set_by_hand, "uint8_t"), remark))
    return made
