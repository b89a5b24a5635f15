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
    """Bits of the values: inputs, hidden layers of a backbone, states."""

    input: int = 8
    hidden: int = 8
    state: int = 8

    @property
    def words(self) -> str:
        wide = [n for n in ("input", "hidden", "state") if getattr(self, n) == 16]
        names = {"input": "inputs", "hidden": "the backbone's values", "state": "states"}
        if not wide:
            return "int8 weights and values"
        return f"int8 weights, int16 {' and '.join(names[n] for n in wide)}"


@dataclass(frozen=True)
class Formats:
    """Shifts: a value q stands for q * 2**-shift."""

    widths: Widths
    input: int
    hidden: tuple[int, ...]
    drive: int
    gate: int
    head: int
    state: int
    cell: int


def formats(network: Network, seen: Ranges, widths: Widths) -> Formats:
    """The finest units that hold what was seen; int16 has room for twice as much."""
    core = network.core
    if isinstance(core, Ltc) and core.solver != "fused":
        raise InputError(
            f"int8 steps an LTC by the solver fused, this one's is {core.solver}: export it with --quantize none"
        )

    def shift(largest: float, bits: int, room: float = 2.0) -> int:
        reach = max(largest, 1e-3) * (room if bits == 16 else 1.0)
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
        shift(seen.features, widths.input),
        tuple(hidden),
        shift(max([*seen.drive, 0.1]), 16),
        shift(max(seen.gate, 8.0), 16),
        shift(max(seen.head, rate / 4), 16),
        _power(state, widths.state) if exact else shift(state, widths.state),
        shift(seen.cell, widths.state),
    )


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
        "uneven": False,
        "bounded": True,
        "layout": "rows",
        "formats": chosen,
        "kinds": kinds,
        "largest": {name: 2 ** (getattr(chosen.widths, name) - 1) - 1 for name in ("input", "hidden", "state")},
        "input_type": kinds["input"],
        "input_one": min(2**chosen.input, 2 ** (chosen.widths.input - 1) - 1),
        "input_limit": text.number(LIMIT * 2.0**chosen.input),
        **cfc_context(network),
        **maker.context,
        "readout": maker.readout_call(),
    }
    return render(context)


def fields_int8(network: Network, widths: Widths) -> list[Field]:
    """The state's members."""
    fields = state_fields(network, f"int{widths.input}_t", f"int{widths.state}_t")
    return [*fields, Field("uint32_t", "clipped", 0, "how often a value was larger than its integer, and was clipped")]


class _Maker:
    """The constants, and what the templates need to know of them."""

    def __init__(self, network: Network, chosen: Formats) -> None:
        self.network, self.formats = network, chosen
        self.made: list[Constant] = []
        self.context: dict[str, Any] = {"shifts": {}, "denses": [], "wired": []}

    def constants(self) -> list[Constant]:
        network, chosen = self.network, self.formats
        scales = scale_constants(network)
        # Readings come in units of the inputs' shift at once.
        finer = Constant(text.array("input_scale", 2.0**chosen.input / network.preprocessing.unit))
        self.made = [finer if c.text.startswith("static const float input_scale") else c for c in scales]
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
        # Sums are in the coarser of the two sources' units; the finer one is shifted into it.
        shifts = [self.shift(kind) for kind in kinds]
        coarse = min(shifts)
        splits = [inputs] if len(kinds) == 2 else []
        parts = zip(np.split(dense.weight, splits, 1), kinds, strict=True)
        bound = sum(np.abs(p).sum(1) * self.most(k) * 2.0 ** (coarse - self.shift(k)) for p, k in parts)
        scale, weight, bias = _rows(dense, coarse, np.asarray(bound), name)
        for part, kind in zip(np.split(weight, splits, 1), kinds, strict=True):
            _check(np.abs(part).sum(1) * self.most(kind), name)
        factor, shift = _factors(scale * 2.0**-coarse * unit, np.asarray(bound) / scale + np.abs(bias), name)
        self.made += [
            Constant(text.array(f"{name}_weight", weight, "int8_t"), remark),
            Constant(text.array(f"{name}_bias", bias, "int32_t")),
            Constant(text.array(f"{name}_factor", factor, "int32_t")),
        ]
        self.context["shifts"][name] = shift
        combination = {"name": "_".join(kinds), "kinds": kinds, "down": [s - coarse for s in shifts]}
        if combination not in self.context["denses"]:
            self.context["denses"].append(combination)

    def shift(self, kind: str) -> int:
        """Of inputs, of states, or of a numbered hidden layer: ``hidden0``."""
        if kind.startswith("hidden"):
            return self.formats.hidden[int(kind[6:])]
        value: int = getattr(self.formats, kind)
        return value

    def most(self, kind: str) -> float:
        bits: int = getattr(self.formats.widths, "hidden" if kind.startswith("hidden") else kind)
        return 2.0 ** (bits - 1)

    def readout(self) -> None:
        dense, shift = self.network.readout, self.formats.state
        bound = np.abs(dense.weight).sum(1) * self.most("state")
        scale, weight, bias = _rows(dense, shift, bound, "readout")
        _check(np.abs(weight).sum(1) * self.most("state") + np.abs(bias), "readout")
        self.made += [
            Constant(text.array("readout_weight", weight, "int8_t"), "From the neurons to the answer."),
            Constant(text.array("readout_bias", bias, "int32_t")),
            Constant(text.array("readout_scale", scale * 2.0**-shift)),
        ]

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
        shifts = {source: self.shift(source), "state": self.shift("state")}
        coarse = min(shifts.values())
        bound = np.abs(heads.weight[:, :n]).sum(1) * self.most(source) * 2.0 ** (coarse - shifts[source])
        bound += np.abs(heads.weight[:, n:]).sum(1) * self.most("state") * 2.0 ** (coarse - shifts["state"])
        scale, weight, bias = _rows(heads, coarse, bound, f"head{i}")
        factor, shift = _factors(scale * 2.0**-coarse * unit, bound / scale + np.abs(bias), f"head{i}")
        _check(np.abs(weight[:, :n]).sum(1) * self.most(source), "a layer")
        _check(np.abs(weight[:, n:]).sum(1) * self.most("state"), "a layer")
        kept = np.concatenate([part[:, :n][mask] for part in np.split(weight, len(weight) // len(mask))])
        sources, count = wires(mask)
        self.made += [
            Constant(text.array(f"wire{i}_weight", kept if len(kept) else [0], "int8_t"), f"Synapses into {where}."),
            Constant(text.array(f"wire{i}_source", sources if len(sources) else [0], kind)),
            Constant(text.array(f"wire{i}_count", count, kind)),
            Constant(text.array(f"head{i}_weight", weight[:, n:], "int8_t"), "And inside the layer."),
            Constant(text.array(f"head{i}_bias", bias, "int32_t")),
            Constant(text.array(f"head{i}_factor", factor, "int32_t")),
        ]
        self.context["shifts"][f"head{i}"] = shift
        down = [shifts[source] - coarse, shifts["state"] - coarse]
        combination = {"name": source, "kinds": (source, "state"), "down": down}
        if combination not in self.context["wired"]:
            self.context["wired"].append(combination)

    def ltc(self, core: Ltc) -> None:
        chosen = self.formats
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
        scale = np.maximum(np.where(weight > 0, weight, 1.0) / 127, unit * 2.0**-16)
        if (_summed(core.sensory, scale) + _summed(core.synapses, scale)).max() > 60_000:  # times 2**15 fits int32
            raise InputError("an LTC neuron has too many strong synapses for int8; export it with --quantize none")
        conductance_shift = np.ceil(np.log2(np.maximum(unit / scale * 2**15, 1.0))).astype(int)
        unit = scale * 2.0 ** (conductance_shift - 15)
        reversal = max(float(np.abs(s.reversal).max(initial=0)) for s in both)
        reversal_shift = math.floor(math.log2(127 / max(reversal, 1e-3)))
        pull_shift = chosen.state + 7 - reversal_shift - conductance_shift
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
        slope_shift = np.floor(np.log2(127 / largest)).astype(int)
        down = slope_shift + self.shift(kind) - 11
        up = max(0, -int(down.min()))
        _check(np.array([127 * self.most(kind) * 2.0**up * 4]), name)
        target = synapses.target
        columns = (
            np.round(synapses.weight / scale[target]),
            np.round(synapses.slope * 2.0 ** slope_shift[target]),
            np.clip(np.round(synapses.reversal * 2.0**reversal_shift), -127, 127),
            synapses.source,
            np.clip(np.round(synapses.offset * SIGMOID), -(2**28), 2**28),
        )
        rows = ["{" + ", ".join(str(int(v)) for v in row) + "}" for row in zip(*columns, strict=True)]
        where = "from the inputs" if name == "sensory" else "between neurons"
        body = text.wrapped(rows or ["{0, 0, 0, 0, 0}"])
        if name == "sensory":
            self.made.append(
                Constant(
                    f"typedef struct {{\n    int8_t weight, slope, reversal;\n    {types[0]} source;\n"
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
        return np.minimum(down + up, 31)[ends], 2**up

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
            self.context["log_factor"] = round(math.log(2) * 2.0 ** (self.formats.input + 15))


def _rows(dense: Dense, shift: int, bound: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scale of each row, int8 weights, int32 biases; ``bound`` is the largest sum of a row in units of the values."""
    scale = np.abs(dense.weight).max(1) / 127
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
