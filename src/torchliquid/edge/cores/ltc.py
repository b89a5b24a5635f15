"""Liquid time-constant neurons (arXiv 2006.04439).

In integers, reversal potentials and conductances are quantised, but the equations stay those of an LTC, and so do its
bounds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.cores.core import LARGEST, Core, Layout, Needs, Ranges
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Ltc, Synapses


class LtcCore(Core[Ltc]):
    label = "LTC"
    template = "ltc"
    functions = {"sigmoid"}  # noqa: RUF012
    divides = True

    @property
    def sensed(self) -> slice:
        """The range of neurons from the first to the last that an input reaches; one neuron if there is none."""
        reached = np.flatnonzero(self.data.sensory.count)
        return slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 1)

    @property
    def both(self) -> tuple[Synapses, Synapses]:
        return self.data.sensory, self.data.synapses

    @property
    def source_type(self) -> str:
        """The C type for the indices of sources and for their counts."""
        return text.index_type(max(int(max(s.source.max(initial=0), s.count.max(initial=0))) for s in self.both))

    def strongest(self) -> float:
        """The largest total conductance of a neuron, or the largest total of conductance times potential."""
        conductance, pull = self.data.conductance.copy(), np.abs(self.data.pull)
        for synapses in self.both:
            np.add.at(conductance, synapses.target, synapses.weight)
            np.add.at(pull, synapses.target, synapses.weight * np.abs(synapses.reversal))
        return float(max((conductance * max(self.data.farthest, 1.0)).max(), pull.max()))

    @property
    def longest_span(self) -> float:
        return min(1e30, LARGEST / self.strongest())

    @property
    def steps(self) -> Any:
        return (self.data.solver, self.data.unfolds)

    @property
    def bounded(self) -> bool:
        return self.data.solver == "fused" and self.strongest() < LARGEST / 1e6

    @property
    def bound(self) -> float:
        return max(self.data.farthest, 1.0)

    def peaks(self, source: float) -> list[float]:
        return [
            float((np.abs(synapses.slope) * most + np.abs(synapses.offset)).max(initial=0.0))
            for synapses, most in zip(self.both, (source, self.bound), strict=True)
        ]

    def check(self) -> None:
        ltc = self.data
        if not (
            (ltc.capacitance > 0).all()
            and (ltc.conductance > 0).all()
            and all((s.weight >= 0).all() for s in self.both)
        ):
            raise InputError("an LTC's conductances and capacitances must be positive; train the model again")

    def context(self) -> dict[str, Any]:
        return {"source_type": self.source_type, "unfolds": self.data.unfolds, "solver": self.data.solver}

    def constants(self, layout: Layout) -> list[Constant]:
        ltc, q = self.data, self.prefix
        return [
            Constant(f"typedef struct {{\n    float weight, slope, offset, reversal;\n}} {self.model}_{q}synapse;"),
            self._sensed(),
            *self._table("sensory", ltc.sensory, self.sensed, "from the inputs"),
            *self._table("synapse", ltc.synapses, slice(None), "between neurons"),
            Constant(text.array(f"{q}leak_pull", ltc.pull), "Leak and capacitance of each neuron."),
            Constant(text.array(f"{q}leak_conductance", ltc.conductance)),
            Constant(text.array(f"{q}capacitance", ltc.capacitance)),
        ]

    def _sensed(self) -> Constant:
        """The range of neurons with sensory synapses. Sums are kept only for them."""
        first, last, upper = self.sensed.start, self.sensed.stop, self.prefix.upper()
        words = "neurons that inputs reach"
        return Constant(f"enum {{ {upper}FIRST_SENSED = {first}, {upper}SENSED = {last - first} }}; /* {words} */")

    def _table(self, name: str, synapses: Synapses, ends: slice, where: str) -> list[Constant]:
        columns = (synapses.weight, synapses.slope, synapses.offset, synapses.reversal)
        rows = [[text.number(v) for v in row] for row in zip(*columns, strict=True)]
        q, plural = self.prefix, "synapses" if name == "synapse" else name
        return [
            self._structs(plural, rows, "{0.0f, 0.0f, 0.0f, 0.0f}", where),
            Constant(text.array(f"{q}{name}_source", synapses.source if rows else [0], self.source_type)),
            Constant(text.array(f"{q}{name}_count", synapses.count[ends], self.source_type)),
        ]

    def _structs(self, name: str, rows: list[list[str]], never_read: str, where: str) -> Constant:
        """An array of synapses. C has no empty arrays: a circuit without such synapses gets one that is never read."""
        body = text.wrapped(["{" + ", ".join(row) + "}" for row in rows] or [never_read])
        kind = f"static const {self.model}_{self.prefix}synapse"
        array = f"{kind} {self.prefix}{name}[{max(len(rows), 1)}] = {{\n{body}\n}};"
        return Constant(array, f"Synapses {where}, by the neuron they end at.")

    def weights(self) -> dict[str, int]:
        return {"synapses": 3 * sum(len(s.weight) for s in self.both)}

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        if self.data.solver != "fused":
            raise InputError(
                f"int8 steps an LTC by the solver fused, this one's is {self.data.solver}: "
                "export it with --quantize none"
            )
        return Needs(self.data.farthest * 1.01)

    def integers(self, made: Integers) -> None:
        ltc, chosen = self.data, made.formats
        wide = made.is_wide("synapses")
        full, over = (32767, 8) if wide else (127, 0)  # int16 products lose 8 bits before they are summed
        weight = np.zeros(self.units)
        total = np.zeros(self.units)
        for synapses in self.both:
            np.maximum.at(weight, synapses.target, synapses.weight)
            np.add.at(total, synapses.target, synapses.weight)
        # The unit is such that a neuron's total conductance is at most 2**14, or half of its capacitance.
        inertia = ltc.capacitance * ltc.unfolds
        unit = np.maximum(total + ltc.conductance, inertia / 4) / 2**14
        # Weights that are negligible beside the leak become 0, so that no int32 is shifted by more than 31.
        scale = np.maximum(np.where(weight > 0, weight, 1.0) / full, unit * 2.0 ** (-16 - over))
        most = _summed(ltc.sensory, scale) + _summed(ltc.synapses, scale)
        if most.max() > 60_000 * 2**over:  # times 2**15 fits int32
            raise InputError("an LTC neuron has too many strong synapses for int8; export it with --quantize none")
        conductance_shift = np.ceil(np.log2(np.maximum(unit / scale * 2.0 ** (15 - over), 1.0))).astype(int)
        unit = scale * 2.0 ** (conductance_shift - 15 + over)
        reversal = max(float(np.abs(s.reversal).max(initial=0)) for s in self.both)
        reversal_shift = math.floor(math.log2(full / max(reversal, 1e-3)))
        pull_shift = chosen.state + 7 - (reversal_shift - over) - conductance_shift
        made.add(self._sensed())
        sensory = self._integer_table(made, "sensory", scale, reversal_shift)
        synapse = self._integer_table(made, "synapses", scale, reversal_shift)
        made.array("sensory_shift", sensory[0], "uint8_t", "Shifts that bring the sums into one unit.")
        made.array("synapse_shift", synapse[0], "uint8_t")
        made.array("conductance_shift", conductance_shift, "uint8_t")
        made.array("pull_down", np.clip(-pull_shift, 0, 31), "uint8_t")
        made.array("pull_up", 2 ** np.maximum(pull_shift, 0), "int32_t")
        leak = np.maximum(np.round(ltc.conductance / unit), 1)
        made.array("leak_conductance", leak, "int16_t", "Leak and capacitance of each neuron.")
        made.array("leak_pull", np.round(ltc.pull / unit * 2.0**chosen.state), "int32_t")
        made.array("inertia", np.clip(np.round(inertia / unit), 1, 65535), "uint16_t")
        made.context |= {"wide_synapses": wide, "sensory_up": sensory[1], "synapse_up": synapse[1]}

    def _integer_table(
        self, made: Integers, name: str, scale: np.ndarray, reversal_shift: int
    ) -> tuple[np.ndarray, int]:
        """Add the constants of the synapses from the inputs (sensory), or of those between neurons (synapses); returns
        by how much each neuron's products of slope and source are shifted down, and a factor before that."""
        if name == "sensory":
            synapses, kind, ends, where = self.data.sensory, "input", self.sensed, "from the inputs"
        else:
            synapses, kind, ends, where = self.data.synapses, "state", slice(None), "between neurons"
        largest = np.full(len(synapses.count), 1e-3)
        np.maximum.at(largest, synapses.target, np.abs(synapses.slope))
        full = 32767 if made.is_wide("synapses") else 127
        slope_shift = np.floor(np.log2(full / largest)).astype(int)
        down = slope_shift + made.shift(kind) - 11
        up = max(0, -int(down.min()))
        most = full * made.most(kind) * 2.0 ** np.array([up, 2 - down.min()])
        made.check(most, name)  # a drive stays below 2^29
        target, (sigmoid,) = synapses.target, made.units("sigmoid")
        columns = (
            np.round(synapses.weight / scale[target]),
            np.round(synapses.slope * 2.0 ** slope_shift[target]),
            np.clip(np.round(synapses.reversal * 2.0**reversal_shift), -full, full),
            synapses.source,
            np.clip(np.round(synapses.offset * sigmoid), -(2**28), 2**28),
        )
        rows = [[str(int(v)) for v in row] for row in zip(*columns, strict=True)]
        if name == "sensory":  # both kinds are one struct in C
            far = max(float(np.abs(s.offset).max(initial=0)) for s in self.both) * sigmoid > 32767
            made.add(
                Constant(
                    f"typedef struct {{\n    {made.weight_type('synapses')} weight, slope, reversal;\n"
                    f"    {self.source_type} source;\n"
                    f"    {'int32_t' if far else 'int16_t'} offset;\n}} {self.model}_{self.prefix}synapse;"
                )
            )
        made.add(self._structs(name, rows, "{0, 0, 0, 0, 0}", where))
        made.array(f"{'synapse' if name == 'synapses' else name}_count", synapses.count[ends], self.source_type)
        highest = 31 - (int(made.formats.finer.max()) if kind == "input" else 0)
        return np.minimum(down + up, highest)[ends], 2**up

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        ltc, v = self.data, h
        pull_in, conductance_in = _gather(g, ltc.sensory, x, ltc.units)
        pull_in = g.add(pull_in, g.constant(ltc.pull))
        conductance_in = g.add(conductance_in, g.constant(ltc.conductance))
        d = g.call("Div", span, float(ltc.unfolds))

        def bring(v: str) -> tuple[str, str]:
            """The sum of conductance times potential, less what v loses by it, and the sum of conductances."""
            pull, conductance = _gather(g, ltc.synapses, v, ltc.units)
            pull, conductance = g.add(pull, pull_in), g.add(conductance, conductance_in)
            return g.sub(pull, g.mul(conductance, v)), conductance

        def rate(v: str) -> str:
            return g.call("Div", bring(v)[0], g.constant(ltc.capacitance))

        for _ in range(ltc.unfolds):
            if ltc.solver == "fused":
                change, conductance = bring(v)
                v = g.add(v, g.call("Div", g.mul(d, change), g.add(g.constant(ltc.capacitance), g.mul(d, conductance))))
            elif ltc.solver == "euler":
                v = g.add(v, g.mul(d, rate(v)))
            else:
                half = g.mul(d, 0.5)
                k1 = rate(v)
                k2 = rate(g.add(v, g.mul(half, k1)))
                k3 = rate(g.add(v, g.mul(half, k2)))
                k4 = rate(g.add(v, g.mul(d, k3)))
                total = g.add(g.add(k1, k4), g.mul(g.add(k2, k3), 2.0))
                v = g.add(v, g.mul(g.mul(d, float(1 / 6)), total))
        return v, c


def _gather(g: Graph, synapses: Synapses, x: str, units: int) -> tuple[str, str]:
    source = g.call("Gather", x, g.constant(synapses.source, np.int64), axis=1)
    drive = g.add(g.mul(source, g.constant(synapses.slope)), g.constant(synapses.offset))
    share = g.call("Sigmoid", drive)
    both = []
    for strength in (synapses.weight * synapses.reversal, synapses.weight):
        onto = np.zeros((len(synapses.source), units))
        onto[np.arange(len(onto)), synapses.target] = strength
        both.append(g.call("MatMul", share, g.constant(onto)))
    return both[0], both[1]


def _summed(synapses: Synapses, scale: np.ndarray) -> np.ndarray:
    total = np.zeros(len(scale))
    np.add.at(total, synapses.target, np.round(synapses.weight / scale[synapses.target]))
    return total
