"""A network in integers: int8 weights with a scale for each row, int8 or int16 values, int32 sums.

A value stands for ``q * 2**-shift``, with a shift for each kind of value (see :class:`Formats`). A row's sum is brought
into the unit that comes next by one multiplication. Rows that a tanh reads are in 1/4096, rows that a sigmoid reads in
1/2048, so that both look into one table over -8 to 8. An LTC's reversal potentials and conductances are quantised, its
equations are not: what comes out is again an LTC, with the bounds of one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import text
from torchliquid.edge.calibrate import Ranges
from torchliquid.edge.generate import (
    Constant,
    Field,
    Math,
    cfc_context,
    fingerprint,
    frame,
    longest_span,
    render,
    scale_constants,
    sensed_constant,
    source_type,
    state_fields,
    wire_type,
    wires,
)
from torchliquid.edge.network import Cfc, Dense, Gru, Lstm, Ltc, Network, Synapses
from torchliquid.errors import InputError

TANH, SIGMOID = 4096.0, 2048.0
FULL = 2**30
"""What sums stay below, by their weights, whatever the values."""


@dataclass(frozen=True)
class Widths:
    """Bits of the values: inputs, hidden layers of a backbone, states; and ``wide``, the layers whose weights have 16
    bits instead of 8."""

    input: int = 8
    hidden: int = 8
    state: int = 8
    wide: frozenset[str] = frozenset()

    @property
    def words(self) -> str:
        wide = [n for n in ("input", "hidden", "state") if getattr(self, n) == 16]
        names = {"input": "inputs", "hidden": "the backbone's values", "state": "states"}
        values = f", int16 {' and '.join(names[n] for n in wide)}" if wide else " and values"
        return f"int8 weights{values}" + (f", int16 weights of {' and '.join(sorted(self.wide))}" if self.wide else "")


@dataclass(frozen=True)
class Formats:
    """Shifts: a value q stands for q * 2**-shift. Each value that the network is fed has its own in ``inputs``."""

    widths: Widths
    inputs: tuple[int, ...]
    hidden: tuple[int, ...]
    drive: int
    gate: int
    head: int
    state: int
    cell: int

    @property
    def input(self) -> int:
        """The coarsest of the inputs': that of their sums."""
        return min(self.inputs)

    @property
    def finer(self) -> np.ndarray:
        """(F,) by how much each input's shift is more than that."""
        return np.array(self.inputs) - self.input


def weights(network: Network) -> dict[str, int]:
    """A network's layers of weights, each of which may have 8 or 16 bits, and how many numbers it has."""
    core = network.core
    memory = network.memory or (core if isinstance(core, Lstm) else None)
    found = {} if memory is None else {"gate": memory.gates.weight.size}
    if isinstance(core, Ltc):
        found["synapses"] = 3 * (len(core.sensory.weight) + len(core.synapses.weight))
    elif isinstance(core, Gru):
        named = {"gate": core.gates, "candidate": core.candidate, "recalled": core.recalled}
        found |= {name: dense.weight.size for name, dense in named.items()}
    elif isinstance(core, Cfc):
        found |= {f"backbone{i}": dense.weight.size for i, dense in enumerate(core.backbone)}
        for i, layer in enumerate(core.layers):
            found[f"head{i}"] = layer.heads.weight.size
            if layer.mask is not None:
                masked = layer.units * (1 if core.mode == "pure" else 2)
                found[f"head{i}"] = (masked // layer.units) * int(layer.mask.sum()) + masked * layer.units
                if core.mode != "pure":
                    found[f"gate{i}"] = layer.heads.weight[masked:].size
    return found | {"readout": network.readout.weight.size}


ROOM = 16.0
"""Deviations up to which an input in int16 has room for all that is plausible, and not for the training part alone."""

FINE, ENOUGH = 11, 8
"""No input in int16 needs a finer shift than the first beside coarser ones, and none its own where all have the second:
a shift for each costs flash and time."""


def formats(network: Network, seen: Ranges, widths: Widths) -> Formats:
    """The finest units that hold what was seen; int16 has room for twice as much, int8 for a quarter more."""
    core = network.core
    if isinstance(core, Ltc) and core.solver != "fused":
        raise InputError(
            f"int8 steps an LTC by the solver fused, this one's is {core.solver}: export it with --quantize none"
        )

    def shift(largest: float, bits: int, room: float = 2.0) -> int:
        reach = max(largest, 1e-3) * (room if bits == 16 else min(room, 1.25))
        return max(0, min(15, math.floor(math.log2((2 ** (bits - 1) - 1) / reach))))

    state, hidden, rate = 1.0, [], 0.0
    exact = True  # a bound that holds always needs no room
    if isinstance(core, Ltc):
        state = max(core.farthest, 1.0 if network.memory else 0.0) * 1.01
    elif isinstance(core, Cfc):
        smooth = "tanh" in core.activation
        hidden = [_power(1.0, widths.hidden) if smooth else shift(h, widths.hidden) for h in seen.hidden]
        if core.mode == "no_gate":
            state = 2.0
        elif core.mode == "pure":
            state, exact = seen.state, False
            rate = max(float(layer.rate.max()) for layer in core.layers if layer.rate is not None)
    return Formats(
        widths,
        _input_shifts(network, seen, widths.input),
        tuple(hidden),
        shift(max([*seen.drive, 0.1]), 16),
        shift(max(seen.gate, 8.0), 16),
        shift(max(seen.head, rate / 4), 16),
        _power(state, widths.state) if exact else shift(state, widths.state),
        shift(seen.cell, widths.state),
    )


def _input_shifts(network: Network, seen: Ranges, bits: int) -> tuple[int, ...]:
    """One for each reading, for whether it was observed, and for the logarithm of the gap."""
    rule, n = network.preprocessing, network.preprocessing.n_channels
    largest = seen.features.astype(np.float64).copy()
    room = 2 * largest[:n]
    if rule.low is not None and rule.high is not None:
        seen_all = np.abs((np.stack([rule.low, rule.high]) - rule.mean) / rule.unit).max(0)
        largest[:n] = np.fmax(largest[:n], seen_all)
        with np.errstate(invalid="ignore"):
            ends = np.abs((np.stack([network.limits.low, network.limits.high]) - rule.mean) / rule.unit).max(0)
        room = np.where(np.isfinite(ends), ends, 2 * largest[:n])
    largest[:n] = np.maximum(largest[:n], np.minimum(room, ROOM if bits == 16 else 2 * largest[:n]))
    if network.with_span:
        # By its formula: int16 holds it for every gap that a float can be, int8 for every plausible one.
        span = float(network.limits.longest_gap) / rule.time_scale if bits == 8 else np.inf
        span = min(max(span, 1.0), longest_span(network))
        largest[-1] = max(largest[-1] if bits == 8 else 0.0, math.log1p(span) - math.log(2), math.log(2))
    reach = np.minimum(np.maximum(largest, 1e-3), LIMIT)
    shifts = np.clip(np.floor(np.log2((2 ** (bits - 1) - 1) / reach)), 0, 15).astype(int)
    coarsest = int(shifts.min())
    if bits == 16:
        shifts = np.minimum(shifts, max(coarsest, FINE))
        if coarsest >= ENOUGH:
            shifts[:] = coarsest
    if rule.with_mask:
        shifts[n : 2 * n] = coarsest  # 0 and 1 are exact in every unit
    return tuple(int(shift) for shift in shifts)


def _power(bound: float, bits: int) -> int:
    """The shift that holds a bound, 1 itself by the largest number there is."""
    return max(0, min(15, bits - 1 - math.ceil(math.log2(max(bound, 1e-3)) - 1e-9)))


def sources_int8(network: Network, chosen: Formats, math_: Math) -> dict[str, str]:
    """The header and the source in integers.

    Raises:
        InputError: weights so large that no int32 holds their sums.
    """
    maker = _Maker(network, chosen)
    constants = maker.constants()
    kinds = {name: f"int{getattr(chosen.widths, name)}_t" for name in ("input", "hidden", "state")}
    fields = fields_int8(network, chosen.widths)
    context: dict[str, Any] = {
        **frame(network, constants, fields, math_),
        "fingerprint": fingerprint(network, fields, chosen),
        "arithmetic": f"In integers: {chosen.widths.words}.",
        "quantized": True,
        "uneven": bool(chosen.finer.any()),
        "bounded": True,
        "layout": "rows",
        "formats": chosen,
        "kinds": kinds,
        "largest": {name: 2 ** (getattr(chosen.widths, name) - 1) - 1 for name in ("input", "hidden", "state")},
        "input_type": kinds["input"],
        "input_one": 2**chosen.input,
        "input_limit": text.number(LIMIT * 2.0**chosen.input),
        **_last(network, chosen),
        **cfc_context(network),
        **maker.context,
        "memory_clips": network.memory is not None or isinstance(network.core, Lstm),
        "liquid_clips": isinstance(network.core, Cfc)
        and (network.core.mode == "pure" or (bool(network.core.backbone) and "tanh" not in network.core.activation)),
        "readout": maker.readout_call(),
    }
    return render(context)


def fields_int8(network: Network, widths: Widths) -> list[Field]:
    """The state's members."""
    fields = state_fields(network, f"int{widths.input}_t", f"int{widths.state}_t")
    return [*fields, Field("uint32_t", "clipped", 0, "how often a value was larger than its integer, and was clipped")]


def _last(network: Network, chosen: Formats) -> dict[str, str]:
    """Where the last value is found that a change starts from, in the unit of its input, and how often it counts."""
    if not network.task.change:
        return {}
    unit = 2.0 ** -chosen.inputs[network.task.column or 0]
    return {"last": "state->last[0]", "change": text.number(network.task.change * unit)}


class _Maker:
    """The constants, and what the templates need to know of them."""

    def __init__(self, network: Network, chosen: Formats) -> None:
        self.network, self.formats = network, chosen
        self.made: list[Constant] = []
        self.context: dict[str, Any] = {"shifts": {}, "denses": [], "wired": [], "suffix": {}}

    def constants(self) -> list[Constant]:
        network, chosen = self.network, self.formats
        scales = scale_constants(network)
        # Readings come in units of the inputs' shift at once.
        n = network.preprocessing.n_channels
        scale = 2.0 ** np.array(chosen.inputs[:n]) / network.preprocessing.unit
        finer = Constant(text.array("input_scale", scale))
        self.made = [finer if c.text.startswith("static const float input_scale") else c for c in scales]
        if chosen.finer.any():
            remark = "By how many bits each input's unit is finer than the coarsest one."
            self.made.append(Constant(text.array("finer", chosen.finer, "uint8_t"), remark))
        core = network.core
        memory = network.memory or (core if isinstance(core, Lstm) else None)
        uses = {"tanh": False, "sigmoid": False, "gelu": False, "log1p": False, "sparse": False}
        self.context["uses"] = uses
        self.context["tables"] = self.functions()
        if memory is not None:
            u = memory.units
            units = np.repeat([SIGMOID, SIGMOID, TANH, SIGMOID], u)
            self.dense("gate", memory.gates, network.features, units, "Gates input, forget, candidate, output.")
        if isinstance(core, Ltc):
            self.ltc(core)
        elif isinstance(core, Cfc):
            self.cfc(core)
        elif isinstance(core, Gru):
            self.dense("gate", core.gates, network.features, SIGMOID, "Gates reset and update.")
            self.dense("candidate", core.candidate, network.features, TANH, "The new state's part from the inputs,")
            self.dense("recalled", core.recalled, 0, TANH, "and from the state before.", only="state")
        self.readout()
        self.tables()
        return self.made

    def functions(self) -> dict[str, bool]:
        """Which of the nonlinear functions are needed."""
        core = self.network.core
        if not isinstance(core, Cfc):
            return {"tanh": True, "sigmoid": True, "exp": False, "normal": False}
        backbone = core.activation if core.backbone else ""
        sigmoid = core.mode != "pure" or backbone == "silu" or self.network.memory is not None
        return {
            "tanh": sigmoid or "tanh" in backbone,
            "sigmoid": sigmoid,
            "exp": core.mode == "pure",
            "normal": backbone == "gelu",
        }

    # -- weights

    def dense(
        self,
        name: str,
        dense: Dense,
        inputs: int,
        unit: float | np.ndarray,
        remark: str,
        only: str = "",
        source: str = "input",
    ) -> None:
        """A matrix over (inputs, states): int8 rows, int32 biases, and factors into the unit of what comes next.

        ``only``: all columns are of this kind.
        """
        kinds = (only,) if only else (source, "state") if dense.weight.shape[1] > inputs else (source,)
        sum_ = self.sum(name, kinds, [inputs] if len(kinds) == 2 else [], dense)
        factor, shift = _factors(sum_.scale * 2.0**-sum_.shift * unit, sum_.largest, name)
        self.made += [
            Constant(text.array(f"{name}_weight", sum_.weight, self.weight_type(name)), remark),
            Constant(text.array(f"{name}_bias", sum_.bias, "int32_t")),
            Constant(text.array(f"{name}_factor", factor, "int32_t")),
        ]
        self.context["shifts"][name] = shift
        combination = {"name": "_".join(kinds) + self.context["suffix"][name], **sum_.context}
        if combination not in self.context["denses"]:
            self.context["denses"].append(combination)

    def sum(self, name: str, kinds: tuple[str, ...], splits: list[int], dense: Dense) -> _Sum:
        """Integer rows of a layer over columns of these kinds, cut at ``splits``."""
        wide = name in self.formats.widths.wide
        self.context["suffix"][name] = "_wide" if wide else ""
        # Products of int16 with int16 lose 8 bits before they are summed; the sums are then in the coarser of the
        # sources' units, into which the finer one is shifted.
        over = [8 if wide and self.most(kind) > 128 else 0 for kind in kinds]
        shifts = [self.shift(kind) - o for kind, o in zip(kinds, over, strict=True)]
        coarse = min(shifts)
        parts = np.split(dense.weight, splits, 1)
        reach = np.concatenate([self.reach(kind, part.shape[1]) for kind, part in zip(kinds, parts, strict=True)])
        bound = np.abs(dense.weight) @ reach * 2.0**coarse
        scale, weight, bias = _rows(dense, coarse, bound, 16 if wide else 8)
        for part, kind, o in zip(np.split(weight, splits, 1), kinds, over, strict=True):
            _check(np.abs(part) @ self.reach(kind, part.shape[1]) * 2.0 ** (self.shift(kind) - o), name)
        context = {
            "kinds": kinds,
            "over": over,
            "down": [shift - coarse for shift in shifts],
            "type": self.weight_type(name),
        }
        return _Sum(scale, weight, bias, coarse, bound / scale + np.abs(bias), context)

    def weight_type(self, name: str) -> str:
        return "int16_t" if name in self.formats.widths.wide else "int8_t"

    def shift(self, kind: str) -> int:
        """Of inputs (the coarsest), of states, or of a numbered hidden layer: ``hidden0``."""
        if kind.startswith("hidden"):
            return self.formats.hidden[int(kind[6:])]
        value: int = getattr(self.formats, kind)
        return value

    def most(self, kind: str) -> float:
        bits: int = getattr(self.formats.widths, "hidden" if kind.startswith("hidden") else kind)
        return 2.0 ** (bits - 1)

    def reach(self, kind: str, n: int) -> np.ndarray:
        """(n,) the largest value that each can stand for."""
        shifts = np.array(self.formats.inputs[:n]) if kind == "input" else np.full(n, self.shift(kind))
        return self.most(kind) * 2.0**-shifts

    def readout(self) -> None:
        found = self.sum("readout", ("state",), [], self.network.readout)
        self.made += [
            Constant(
                text.array("readout_weight", found.weight, self.weight_type("readout")),
                "From the neurons to the answer.",
            ),
            Constant(text.array("readout_bias", found.bias, "int32_t")),
            Constant(text.array("readout_scale", found.scale * 2.0**-found.shift)),
        ]
        self.context["answer"] = found.context

    def readout_call(self) -> str:
        states = f"state->hidden + {self.network.first}" if self.network.first else "state->hidden"
        return f"answer({states}, {self.network.readout.weight.shape[1]}, outputs);"

    # -- one a family

    def cfc(self, core: Cfc) -> None:
        chosen, n = self.formats, self.network.features
        smooth = "tanh" in core.activation
        gain = {"lecun_tanh": (0.666, 1.7159)}.get(core.activation, (1.0, 1.0))
        for i, dense in enumerate(core.backbone):
            # The factors inside and outside of LeCun's tanh go into the weights before and behind it.
            inner = Dense(dense.weight * (gain[1] if i else 1.0), dense.bias)
            scale = TANH * gain[0] if smooth else 2.0**chosen.drive
            only = f"hidden{i - 1}" if i else ""
            self.dense(f"backbone{i}", inner, 0 if i else n, scale, f"Backbone, layer {i + 1}.", only)
        for i, layer in enumerate(core.layers):
            u = layer.units
            rows = [2.0**chosen.head] if core.mode == "pure" else [TANH, TANH, 2.0**chosen.gate, SIGMOID]
            unit = np.repeat(rows, u)
            where = f"layer {i + 1}"
            if core.backbone:
                heads = Dense(layer.heads.weight * gain[1], layer.heads.bias)
                self.dense("head0", heads, 0, unit, f"Heads, {where}.", f"hidden{len(core.backbone) - 1}")
            elif layer.mask is None:
                self.dense(f"head{i}", layer.heads, layer.inputs, unit, f"Heads, {where}.")
            else:
                masked = u * (1 if core.mode == "pure" else 2)
                source = "state" if i else "input"
                part = Dense(layer.heads.weight[:masked], layer.heads.bias[:masked])
                self.wire(i, part, layer.mask, unit[:masked], wire_type(core), source, where)
                if core.mode != "pure":
                    rest = Dense(layer.heads.weight[masked:], layer.heads.bias[masked:])
                    remark = "The time gates a and b."
                    self.dense(f"gate{i}", rest, layer.inputs, unit[masked:], remark, source=source)
            if layer.rate is not None and layer.amplitude is not None:
                rate = np.minimum(np.round(layer.rate * 2.0**chosen.head), 65535)
                self.made.append(Constant(text.array(f"rate{i}", rate, "uint16_t")))
                largest = max(float(np.abs(layer.amplitude).max()), 1e-6)
                shift = min(math.floor(math.log2(32767 / largest)), 30)
                shift = max(shift, chosen.state - chosen.head + 1)
                amplitude = np.clip(np.round(layer.amplitude * 2.0**shift), -(2**30), 2**30)
                self.made.append(Constant(text.array(f"amplitude{i}", amplitude, "int32_t")))
                self.context["shifts"][f"amplitude{i}"] = shift + chosen.head - chosen.state

    def wire(
        self, i: int, heads: Dense, mask: np.ndarray, unit: np.ndarray, kind: str, source: str, where: str
    ) -> None:
        """Rows of f and g: the weights from the layer before that exist, and those inside the layer."""
        n = mask.shape[1]
        name = f"head{i}"
        found = self.sum(name, (source, "state"), [n], heads)
        factor, shift = _factors(found.scale * 2.0**-found.shift * unit, found.largest, name)
        weight, type_ = found.weight, self.weight_type(name)
        kept = np.concatenate([part[:, :n][mask] for part in np.split(weight, len(weight) // len(mask))])
        sources, count = wires(mask)
        self.made += [
            Constant(text.array(f"wire{i}_weight", kept if len(kept) else [0], type_), f"Synapses into {where}."),
            Constant(text.array(f"wire{i}_source", sources if len(sources) else [0], kind)),
            Constant(text.array(f"wire{i}_count", count, kind)),
            Constant(text.array(f"{name}_weight", weight[:, n:], type_), "And inside the layer."),
            Constant(text.array(f"{name}_bias", found.bias, "int32_t")),
            Constant(text.array(f"{name}_factor", factor, "int32_t")),
        ]
        self.context["shifts"][name] = shift
        combination = {"name": source + self.context["suffix"][name], **found.context}
        if combination not in self.context["wired"]:
            self.context["wired"].append(combination)

    def ltc(self, core: Ltc) -> None:
        chosen = self.formats
        wide = "synapses" in chosen.widths.wide
        full, over = (32767, 8) if wide else (127, 0)  # products of int16 with int16 lose 8 bits before they are summed
        both = (core.sensory, core.synapses)
        kind = source_type(core)
        weight = np.zeros(core.units)
        total = np.zeros(core.units)
        for synapses in both:
            np.maximum.at(weight, synapses.target, synapses.weight)
            np.add.at(total, synapses.target, synapses.weight)
        # A conductance of 2**14 units is the most that a neuron can meet, or half of what its capacitance weighs.
        inertia = core.capacitance * core.unfolds
        unit = np.maximum(total + core.conductance, inertia / 4) / 2**14
        # Weights that are nothing beside the leak are none: no int32 is shifted by more than 31.
        scale = np.maximum(np.where(weight > 0, weight, 1.0) / full, unit * 2.0 ** (-16 - over))
        if (
            _summed(core.sensory, scale) + _summed(core.synapses, scale)
        ).max() > 60_000 * 2**over:  # times 2**15 fits int32
            raise InputError("an LTC neuron has too many strong synapses for int8; export it with --quantize none")
        conductance_shift = np.ceil(np.log2(np.maximum(unit / scale * 2.0 ** (15 - over), 1.0))).astype(int)
        unit = scale * 2.0 ** (conductance_shift - 15 + over)
        reversal = max(float(np.abs(s.reversal).max(initial=0)) for s in both)
        reversal_shift = math.floor(math.log2(full / max(reversal, 1e-3)))
        pull_shift = chosen.state + 7 - (reversal_shift - over) - conductance_shift
        self.made.append(sensed_constant(core))
        # Both kinds are one struct in C.
        far = max(float(np.abs(s.offset).max(initial=0)) for s in both) * SIGMOID > 32767
        types = (kind, "int32_t" if far else "int16_t")
        drive = {
            "sensory": self._synapses("sensory", core.sensory, core.sensed, scale, reversal_shift, "input", types),
            "synapses": self._synapses("synapses", core.synapses, slice(None), scale, reversal_shift, "state", types),
        }
        self.made += [
            Constant(text.array("sensory_shift", drive["sensory"][0], "uint8_t"), "What brings sums into one unit."),
            Constant(text.array("synapse_shift", drive["synapses"][0], "uint8_t")),
            Constant(text.array("conductance_shift", conductance_shift, "uint8_t")),
            Constant(text.array("pull_down", np.clip(-pull_shift, 0, 31), "uint8_t")),
            Constant(text.array("pull_up", 2 ** np.maximum(pull_shift, 0), "int32_t")),
            Constant(
                text.array("leak_conductance", np.maximum(np.round(core.conductance / unit), 1), "int16_t"),
                "Leak and capacitance of each neuron.",
            ),
            Constant(text.array("leak_pull", np.round(core.pull / unit * 2.0**chosen.state), "int32_t")),
            Constant(text.array("inertia", np.clip(np.round(inertia / unit), 1, 65535), "uint16_t")),
        ]
        self.context |= {"wide_synapses": wide}
        self.context |= {"source_type": kind, "sensory_up": drive["sensory"][1], "synapse_up": drive["synapses"][1]}

    def _synapses(
        self,
        name: str,
        synapses: Synapses,
        ends: slice,
        scale: np.ndarray,
        reversal_shift: int,
        kind: str,
        types: tuple[str, str],
    ) -> tuple[np.ndarray, int]:
        """Their constants, of C types for a source and an offset; how far each neuron's slopes times a source are
        shifted down, after one common factor."""
        largest = np.full(len(synapses.count), 1e-3)
        np.maximum.at(largest, synapses.target, np.abs(synapses.slope))
        full = 32767 if "synapses" in self.formats.widths.wide else 127
        slope_shift = np.floor(np.log2(full / largest)).astype(int)
        down = slope_shift + self.shift(kind) - 11
        up = max(0, -int(down.min()))
        _check(full * self.most(kind) * 2.0 ** np.array([up, 2 - down.min()]), name)  # a drive stays below 2^29
        target = synapses.target
        columns = (
            np.round(synapses.weight / scale[target]),
            np.round(synapses.slope * 2.0 ** slope_shift[target]),
            np.clip(np.round(synapses.reversal * 2.0**reversal_shift), -full, full),
            synapses.source,
            np.clip(np.round(synapses.offset * SIGMOID), -(2**28), 2**28),
        )
        rows = ["{" + ", ".join(str(int(v)) for v in row) + "}" for row in zip(*columns, strict=True)]
        where = "from the inputs" if name == "sensory" else "between neurons"
        body = text.wrapped(rows or ["{0, 0, 0, 0, 0}"])
        if name == "sensory":
            self.made.append(
                Constant(
                    f"typedef struct {{\n    {self.weight_type('synapses')} weight, slope, reversal;\n"
                    f"    {types[0]} source;\n"
                    f"    {types[1]} offset;\n}} {self.network.name}_synapse;"
                )
            )
        self.made += [
            Constant(
                f"static const {self.network.name}_synapse {name}[{max(len(rows), 1)}] = {{\n{body}\n}};",
                f"Synapses {where}, by the neuron they end at.",
            ),
            Constant(text.array(f"{'synapse' if name == 'synapses' else name}_count", synapses.count[ends], types[0])),
        ]
        most = 31 - (int(self.formats.finer.max()) if kind == "input" else 0)
        return np.minimum(down + up, most)[ends], 2**up

    def tables(self) -> None:
        grid = np.arange(129) / 16
        tables = self.context["tables"]
        tanh, exp = np.tanh(grid), np.exp(-grid)
        phi = np.array([0.5 * math.erf(x / math.sqrt(2)) for x in grid])
        # A straight line between two points errs to one side, by h^2 / 8 of the curvature: half of that is given back.
        back = (1 / 16) ** 2 / 16
        for name, scale, curve, curvature, words in (
            ("tanh", 32768, tanh, -2 * tanh * (1 - tanh**2), "32768 tanh(x)"),
            ("exp", 32768, exp * (grid < 8), exp, "32768 exp(-x)"),
            ("normal", 65536, phi, -grid * np.exp(-(grid**2) / 2) / math.sqrt(2 * math.pi), "65536 (Phi(x) - 1/2)"),
        ):
            if tables[name]:
                values = np.clip(np.round(scale * (curve - back * curvature)), 0, 32767)
                remark = f"{words}, x from 0 to 8 in steps of 1/16; lines between them are wrong by less than 2.5e-4."
                self.made.append(Constant(text.array(f"{name}_table", values, "int16_t"), remark))
        if self.network.with_span:
            values = np.minimum(np.round(np.log2(1 + np.arange(65) / 64) * 32768), 32767)
            remark = "32768 log2(x), x from 1 to 2 in steps of 1/64."
            self.made.append(Constant(text.array("log_table", values, "int16_t"), remark))
            self.context["log_factor"] = round(math.log(2) * 2.0 ** (self.formats.inputs[-1] + 15))


@dataclass(frozen=True, eq=False)
class _Sum:
    """Rows of weights in integers.

    Attributes:
        scale (R,), weight (R, C), bias (R,): one unit of a row's weights, the weights and the bias in it.
        shift: of the unit of the values in the sums.
        largest (R,): what no sum exceeds.
        context: of the C function that sums.
    """

    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    shift: int
    largest: np.ndarray
    context: dict[str, Any]


def _rows(dense: Dense, shift: int, bound: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale of each row, its weights of so many bits, int32 biases; ``bound`` is the largest sum of a row in units of
    the values."""
    scale = np.abs(dense.weight).max(1) / (2 ** (bits - 1) - 1)
    scale = np.maximum.reduce(
        [scale, bound / (FULL / 2), np.abs(dense.bias) * 2.0**shift / (FULL / 2), np.full_like(scale, 1e-12)]
    )
    return scale, np.round(dense.weight / scale[:, None]), np.round(dense.bias / scale * 2.0**shift)


def _check(sums: np.ndarray, name: str) -> None:
    if (sums >= 2**31).any():
        raise InputError(
            f"{name} is too large for int8, its sums need more than 32 bits; export it with --quantize none"
        )


def _factors(factor: np.ndarray, bound: np.ndarray, name: str) -> tuple[np.ndarray, int]:
    """Whole numbers and the shift that make a sum times one of them the unit that comes next."""
    if (bound * factor).max() >= 2**30:
        raise InputError(f"the weights of {name} are too large for int8; export the model with --quantize none")
    shift = min(30 - math.ceil(math.log2(factor.max())), 62)
    return np.round(factor * 2.0**shift), shift


def _summed(synapses: Synapses, scale: np.ndarray) -> np.ndarray:
    total = np.zeros(len(scale))
    np.add.at(total, synapses.target, np.round(synapses.weight / scale[synapses.target]))
    return total
