"""A network in integers: their units, chosen from the ranges seen, and the C."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Ranges
from torchliquid.edge.cores.integers import Formats, Integers, Widths
from torchliquid.edge.generate import (
    Field,
    Math,
    Passed,
    calls,
    code,
    fingerprint,
    frame,
    render,
    rendered,
    scale_constants,
    sizes,
    state_fields,
)
from torchliquid.edge.network import Network
from torchliquid.edge.text import Constant
from torchliquid.models.description import Picture

__all__ = ["Formats", "Widths", "fields_int8", "formats", "sources_int8", "weights"]


def weights(network: Network) -> dict[str, int]:
    """The layers of weights of a network, each of which may have 8 or 16 bits, with the number of weights in each."""
    found = {core.prefix + name: count for core in network.cores for name, count in core.weights().items()}
    return found | {"readout": network.readout.weight.size}


ROOM = 16.0
"""Number of standard deviations up to which an int16 input covers all plausible readings, not only those of the
training part."""

FINE, ENOUGH = 11, 8
"""``FINE``: the finest shift of int16 inputs if others are coarser. ``ENOUGH``: if all inputs have at least this shift,
they share one. More shifts would cost flash and time."""


def formats(network: Network, seen: tuple[Ranges, ...], widths: Widths) -> tuple[Formats, ...]:
    """The finest units in each part that hold the values seen, with room for twice as much in int16 and a quarter more
    in int8."""
    found: list[Formats] = []
    inputs, bits = _input_shifts(network, seen[0], widths.input), widths.input
    for stage, own in zip(network.stages, seen, strict=True):
        if found:  # it reads the previous part's outputs
            before, kind = found[-1], network.stages[len(found) - 1].core.passes
            bits = before.widths.state if kind == "state" else before.widths.hidden
            n = stage.part.inputs - stage.span_here
            inputs = (before.shift(kind),) * n
            if stage.span_here:
                inputs += (_shift(_longest_log(network, bits), bits, 1.0),)
        found.append(_formats(stage.cores, own, replace(widths, input=bits), inputs))
    return tuple(found)


def _formats(cores: tuple[Core[Any], ...], seen: Ranges, widths: Widths, inputs: tuple[int, ...]) -> Formats:
    given, widths = widths, replace(widths, hidden=cores[-1].hidden_bits(widths))
    needs = [core.needs(seen, widths) for core in cores]
    own = needs[-1]
    state = max(need.state for need in needs)
    return Formats(
        widths,
        inputs,
        tuple(_power(h, widths.hidden) if exact else _shift(h, widths.hidden) for h, exact in own.hidden),
        _shift(max([*seen.drive, 0.1]), 16),
        _shift(max(seen.gate, 8.0), 16),
        _shift(max(seen.head, own.rate / 4), 16),
        _power(state, widths.state) if own.exact else _shift(state, widths.state),
        _shift(seen.cell, widths.state),
        tuple(_formats((core,), own, given, inputs) for core, own in zip(cores[-1].inner, seen.inner, strict=True)),
    )


def _shift(largest: float, bits: int, room: float = 2.0) -> int:
    reach = max(largest, 1e-3) * (room if bits == 16 else min(room, 1.25))
    return max(0, min(15, math.floor(math.log2((2 ** (bits - 1) - 1) / reach))))


def _longest_log(network: Network, bits: int) -> float:
    """The largest logarithm of a span that must fit: int16 holds that of every float, int8 of every plausible gap."""
    span = float(network.limits.longest_gap) / network.preprocessing.time_scale if bits == 8 else np.inf
    span = min(max(span, 1.0), network.longest_span)
    return max(math.log1p(span) - math.log(2), math.log(2))


def _input_shifts(network: Network, seen: Ranges, bits: int) -> tuple[int, ...]:
    """The shifts of the readings, of the mask and of the logarithm of the gap."""
    scales, n = network.preprocessing, network.preprocessing.n_channels
    largest = seen.features.astype(np.float64).copy()
    room = 2 * largest[:n]
    if scales.low is not None and scales.high is not None:
        seen_all = np.abs((np.stack([scales.low, scales.high]) - scales.mean) / scales.unit).max(0)
        largest[:n] = np.fmax(largest[:n], seen_all)
        with np.errstate(invalid="ignore"):
            ends = np.abs((np.stack([network.limits.low, network.limits.high]) - scales.mean) / scales.unit).max(0)
        room = np.where(np.isfinite(ends), ends, 2 * largest[:n])
    largest[:n] = np.maximum(largest[:n], np.minimum(room, ROOM if bits == 16 else 2 * largest[:n]))
    if type(network.described.parts[0].core) is Picture:  # pixels share one unit; all are within 0 and 255
        reach = float(np.abs((np.array([[0.0], [255.0]]) - scales.mean) / scales.unit).max())
        return (math.floor(math.log2((2 ** (bits - 1) - 1) / reach)),) * (n + network.with_span)
    if network.with_span:
        largest[-1] = max(largest[-1] if bits == 8 else 0.0, _longest_log(network, bits))
    reach = np.minimum(np.maximum(largest, 1e-3), LIMIT)
    shifts = np.clip(np.floor(np.log2((2 ** (bits - 1) - 1) / reach)), 0, 15).astype(int)
    coarsest = int(shifts.min())
    if bits == 16:
        shifts = np.minimum(shifts, max(coarsest, FINE))
        if coarsest >= ENOUGH:
            shifts[:] = coarsest
    if scales.with_mask:
        shifts[n : 2 * n] = coarsest  # 0 and 1 are exact in every unit
    return tuple(int(shift) for shift in shifts)


def _power(bound: float, bits: int) -> int:
    """The shift that holds a bound. An integer of the value 1 itself may be off by the last bit."""
    return max(0, min(15, bits - 1 - math.ceil(math.log2(max(bound, 1e-3)) - 1e-9)))


def sources_int8(network: Network, chosen: tuple[Formats, ...], math_: Math) -> dict[str, str]:
    """The header and the source in integers.

    Raises:
        InputError: the weights are so large that int32 cannot hold their sums.
    """
    first, last = chosen[0], chosen[-1]
    made = [Integers(one, stage.prefix) for one, stage in zip(chosen, network.stages, strict=True)]
    for one, stage in zip(made, network.stages, strict=True):
        if stage.span_here:
            one.finer()
        for core in stage.cores:
            core.integers(one)
    readout = Integers(last)
    answer = readout.sum("readout", (network.stages[-1].core.passes,), [], network.readout)
    kind = readout.weight_type("readout")
    tables = set().union(*(core.tables for core in network.cores))
    spans = [(stage.prefix, one) for stage, one in zip(network.stages, chosen, strict=True) if stage.part.with_span]
    constants = [
        *_scales(network, first),
        *sizes(network),
        *(constant for one in made for constant in one.constants),
        Constant(text.array("readout_weight", answer.weight, kind), "From the neurons to the output."),
        Constant(text.array("readout_bias", answer.bias, "int32_t")),
        Constant(text.array("readout_scale", answer.scale * 2.0**-answer.shift)),
        *_tables(tables, bool(spans)),
    ]
    fields = fields_int8(network, first.widths)
    passed = []
    for stage, form in zip(network.stages, chosen, strict=True):
        fed, out, state = (f"int{bits}_t" for bits in form.widths.bits)
        log = f"({fed})clamp({stage.prefix}log_of(span), {2 ** (form.widths.input - 1) - 1})"
        passed.append(Passed(fed, out, state, log, counts=True))
    steps, outcome = calls(network, passed)
    own: dict[Core[Any], dict[str, Any]] = {}
    inner: dict[Core[Any], dict[str, Any]] = {}
    for stage, one in zip(network.stages, made, strict=True):
        own |= dict.fromkeys(stage.cores, _of_core(stage.core, one))
        inner |= {core: _of_core(core, part) for core, part in zip(stage.core.inner, one.inner, strict=True)}
    each_core = own | inner
    head, end = own[network.cores[0]], own[network.cores[-1]]
    units = (*chosen, [one.inner for one in chosen]) if inner else chosen if len(chosen) > 1 else first
    context: dict[str, Any] = {
        **frame(network, constants, fields, math_),
        **head,
        "fingerprint": fingerprint(network, fields, units),
        "arithmetic": f"In integers: {first.widths.words}.",
        "quantized": True,
        "functions": set(),
        "bounded": True,
        "layout": "rows",
        "input_type": head["kinds"]["input"],
        "input_one": 2**first.input,
        "input_limit": text.number(LIMIT * 2.0**first.input),
        "tables": tables,
        "logs": [(q, round(math.log(2) * 2.0 ** (one.inputs[-1] + 15))) for q, one in spans],
        "rescales": bool(spans) or any(one["denses"] or one["wired"] for one in each_core.values()),
        "reads_span": any(core.reads_span for core in network.cores),
        "divides": any(core.divides for core in network.cores),
        "calls": steps,
        "clips": any(core.clips for core in network.cores),
        "readout": f"answer({outcome}, {network.readout.weight.shape[1]}, outputs);",
    }
    if network.task.change:  # the last value is remembered in the unit of its input
        unit = 2.0 ** -first.inputs[network.task.column or 0]
        context |= {"last": "state->last[0]", "change": text.number(network.task.change * unit)}
    answering = context | {"answer": answer.context, "kinds": end["kinds"]}
    summing = [*(own[stage.core] for stage in network.stages), *inner.values()]
    sums = "".join(rendered("int8/dense.c.j2", context | each) for each in summing)
    context["sums"] = [sums + rendered("int8/answer.c.j2", answering)]
    context["code"] = code(network, context, each_core)
    return render(context)


def _of_core(core: Core[Any], made: Integers) -> dict[str, Any]:
    """The template variables of one core."""
    bits = dict(zip(("input", "hidden", "state"), made.formats.widths.bits, strict=True))
    return {
        "q": core.prefix,
        "Q": core.prefix.upper(),
        "formats": made.formats,
        "kinds": {name: f"int{n}_t" for name, n in bits.items()},
        "largest": {name: 2 ** (n - 1) - 1 for name, n in bits.items()},
        "uneven": bool(made.formats.finer.any()),
        **core.context(),
        **made.context,
    }


def fields_int8(network: Network, widths: Widths) -> list[Field]:
    """The members of the state."""
    fields = state_fields(network, f"int{widths.input}_t", f"int{widths.state}_t")
    return [*fields, Field("uint32_t", "clipped", 0, "how often a value exceeded its integer and was clipped")]


def _scales(network: Network, chosen: Formats) -> list[Constant]:
    """The readings' scales, which bring them directly into the units of the inputs."""
    n = network.preprocessing.n_channels
    scale = 2.0 ** np.array(chosen.inputs[:n]) / network.preprocessing.unit
    finer = Constant(text.array("input_scale", scale[:1] if network.alike else scale))
    scales = scale_constants(network)
    made = [finer if c.text.startswith("static const float input_scale") else c for c in scales]
    if chosen.finer.any():
        remark = "By how many bits each input's unit is finer than the coarsest one."
        made.append(Constant(text.array(f"{network.stages[0].prefix}finer", chosen.finer, "uint8_t"), remark))
    return made


def _tables(needed: set[str], spans: bool) -> list[Constant]:
    grid = np.arange(129) / 16
    tanh, exp = np.tanh(grid), np.exp(-grid)
    from_1 = grid[1:]
    lost = np.concatenate([[1.0], -np.expm1(-from_1) / from_1])
    lost_curvature = np.concatenate([[1 / 3], (2 - exp[1:] * (from_1**2 + 2 * from_1 + 2)) / from_1**3])
    phi = np.array([0.5 * math.erf(x / math.sqrt(2)) for x in grid])
    # Straight lines between points err to one side, by h^2 / 8 of the curvature. The points are moved by half of that.
    back = (1 / 16) ** 2 / 16
    made = []
    for name, scale, curve, curvature, words in (
        ("tanh", 32768, tanh, -2 * tanh * (1 - tanh**2), "32768 tanh(x)"),
        ("exp", 32768, exp * (grid < 8), exp, "32768 exp(-x)"),
        ("lost", 32768, lost, lost_curvature, "32768 (1 - exp(-x)) / x"),
        ("normal", 65536, phi, -grid * np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi), "65536 (Phi(x) - 1/2)"),
    ):
        if name in needed:
            values = np.clip(np.round(scale * (curve - back * curvature)), 0, 32767)
            remark = f"{words}, x from 0 to 8 in steps of 1/16; the error of lines between them is below 2.5e-4."
            made.append(Constant(text.array(f"{name}_table", values, "int16_t"), remark))
    if spans:
        values = np.minimum(np.round(np.log2(1 + np.arange(65) / 64) * 32768), 32767)
        made.append(
            Constant(text.array("log_table", values, "int16_t"), "32768 log2(x), x from 1 to 2 in steps of 1/64.")
        )
    return made
