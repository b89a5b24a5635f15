"""Liquid-resistance liquid-capacitance neurons (arXiv 2505.21717), alone or in a block with norms and a skip.

In integers, hidden values are in this order: what the inputs' synapses let through, what a block reads and adds,
normalised, the rectified values of its end, and its outputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from torchliquid.cells.lrcssm import LEAST
from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Layout, Needs, Ranges, largest
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Dense, LrcSsm

EPSILON = 1e-5
"""Added to a variance, as in ``torch.nn.functional.layer_norm``."""


class LrcSsmCore(Core[LrcSsm]):
    label = "LrcSSM"
    template = "lrcssm"
    clips = True

    @property
    def passes(self) -> str:
        return "hidden3" if self.answers else "state"

    def hidden_bits(self, widths: Widths) -> int:
        """Those of the states: there are as many of both, and they are as sensitive."""
        return widths.state

    @property
    def divides(self) -> bool:
        return self.data.exponential or self.answers

    @property
    def tables(self) -> set[str]:
        return {"tanh", "sigmoid"} | ({"lost"} if self.data.exponential else set())

    @property
    def call(self) -> str:  # type: ignore[override]
        return "liquid({x}, span, {h}, {y})" if self.answers else "liquid({x}, span, {h})"

    @property
    def answers(self) -> bool:
        return self.data.feed is not None

    @property
    def bounded(self) -> bool:
        """Not bounded: over a long gap, elastance and drive can move a state any distance."""
        return False

    @property
    def steps(self) -> Any:
        return self.data.exponential

    def maps(self) -> dict[str, Dense]:
        lrc = self.data
        named = zip(("drive", "enter", "feed", "added"), (lrc.drive, lrc.enter, *(lrc.feed or ())), strict=False)
        return {name: dense for name, dense in named if dense is not None}

    def context(self) -> dict[str, Any]:
        lrc = self.data
        return {
            "width": len(lrc.slope),
            "block": self.answers,
            "enters": lrc.enter is not None,
            "symmetric": lrc.shift is not None,
            "exponential": lrc.exponential,
            "least": text.number(LEAST),
            "epsilon": text.number(EPSILON),
        }

    def constants(self, layout: Layout) -> list[Constant]:
        lrc, q = self.data, self.prefix
        made = [] if lrc.enter is None else self.named("enter", lrc.enter, layout, "The inputs, one value per unit.")
        if lrc.feed is not None:
            made += self.named("feed", lrc.feed[0], layout, "The maps at the block's end.")
            made += self.named("added", lrc.feed[1], layout, "")
        made += [
            Constant(text.array(f"{q}sensory_slope", lrc.slope), "The inputs' synapses, sigmoid(slope u + offset)."),
            Constant(text.array(f"{q}sensory_offset", lrc.offset)),
            *self.named("drive", lrc.drive, layout, "Their effect on each resistance, then on each drive."),
        ]
        own = {"slope": lrc.sigma, "offset": -lrc.sigma * lrc.mu, "to_resistance": lrc.w, "to_pull": lrc.k}
        own |= {"reversal": lrc.vleak, "open_weight": lrc.open_weight, "open_bias": lrc.open_bias}
        own |= {} if lrc.shift is None else {"open_shift": lrc.shift}
        return made + [Constant(text.array(f"{q}{name}", values)) for name, values in own.items()]

    # -- in integers

    def answer(self, x: np.ndarray, after: np.ndarray) -> np.ndarray:
        assert self.data.feed is not None
        normed, rectified = self._end(x, after)
        return normed + self.data.feed[1](rectified)

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        seen.hidden.append(1.0)
        if self.answers:
            seen.drive.append(largest(self._entered(x)))
            seen.hidden += [math.sqrt(self.units), largest(self._end(x, after)[1]), largest(self.answer(x, after))]

    def _end(self, x: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A block's normalised sum, and the rectified values behind it."""
        assert self.data.feed is not None
        normed = _norm(after + _norm(self._entered(x)))
        return normed, np.maximum(self.data.feed[0](normed), 0.0)

    def _entered(self, x: np.ndarray) -> np.ndarray:
        return x if self.data.enter is None else self.data.enter(x)

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        reach = max(seen.state, largest(self.data.vleak) / 2)
        return Needs(reach, False, tuple((value, i < 2) for i, value in enumerate(seen.hidden)))

    def integers(self, made: Integers) -> None:
        lrc, chosen = self.data, made.formats
        sigmoid, tanh = made.units("sigmoid", "tanh")
        finer = 16 - chosen.widths.state  # the bits of a state while it is stepped
        hidden = [2.0**shift for shift in chosen.hidden]
        source = np.array(chosen.inputs)
        if self.answers:
            assert lrc.feed is not None
            if lrc.enter is not None:
                made.dense("enter", lrc.enter, self.inputs, 2.0**chosen.drive, "The inputs, one value per unit.")
                source = np.array([chosen.drive])
            elif chosen.finer.any():
                made.array("even", 2.0 ** (source.max() - source), "int32_t", "The inputs in one unit.")
            made.dense("feed", lrc.feed[0], 0, hidden[2], "The maps at the block's end.", "hidden1")
            made.dense("added", lrc.feed[1], 0, hidden[3], "", "hidden2")
            made.context |= self._norms(source, chosen.hidden[1], chosen.state)
            made.context["normed_down"] = chosen.hidden[1] - chosen.hidden[3]
        read = np.full(len(lrc.slope), chosen.hidden[1]) if self.answers else source
        self._synapses(made, "sensory_slope", lrc.slope * 2.0**-read, "sensory", "The inputs' synapses.")
        made.array("sensory_offset", _held(lrc.offset * sigmoid, 2**28), "int32_t")
        effect = "Their effect on each resistance, then on each drive."
        made.dense("drive", lrc.drive, 0, np.repeat([sigmoid, tanh], self.units), effect, "hidden0")
        unit = 2.0**-chosen.state
        self._synapses(made, "slope", lrc.sigma * unit, "slope", "Each neuron's own synapse.")
        made.array("offset", _held(-lrc.sigma * lrc.mu * sigmoid, 2**28), "int32_t")
        made.array("to_resistance", _held(lrc.w * sigmoid, 32767), "int16_t", "What it brings to resistance and drive.")
        made.array("to_pull", _held(lrc.k * tanh, 32767), "int16_t")
        made.array("reversal", _held(lrc.vleak * 2.0 ** (chosen.state + finer), 65535), "int32_t")
        self._synapses(made, "open_weight", lrc.open_weight * unit, "open", "The elastance.")
        made.array("open_bias", _held(lrc.open_bias * sigmoid, 2**28), "int32_t")
        if lrc.shift is not None:
            made.array("open_shift", _held(lrc.shift * sigmoid, 2**28), "int32_t")
        made.context |= {"finer": finer, "grows": lrc.shift is not None and bool((lrc.shift < 0).any())}

    def _synapses(self, made: Integers, name: str, slope: np.ndarray, shift: str, remark: str) -> None:
        """Slopes by the integers of their sources, into the unit of a sigmoid."""
        (sigmoid,) = made.units("sigmoid")
        steepest = largest(slope) * sigmoid
        down = int(np.clip(math.floor(math.log2(32767 / max(steepest, 1e-9))), 1, 30))
        if steepest * 2.0**down > 32767:
            raise InputError(f"{name} of an LrcSSM is too steep for int8; export it with --quantize none")
        made.context["shifts"][shift] = down
        made.array(name, np.round(slope * sigmoid * 2.0**down), "int16_t", remark)

    def _norms(self, inputs: np.ndarray, normed: int, state: int) -> dict[str, Any]:
        """The constants of both norms. Their values have these shifts, and are brought to the finest of them."""
        n, read = self.units, int(inputs.max())
        finest = max(read - int(inputs.min()), abs(normed - state))
        largest_value = 2.0**15 * (2.0**finest + 1)
        if n**3 * largest_value**2 > 2.0**62 or 2 * n * largest_value >= 2.0**31:  # the sums of squares, and of values
            raise InputError("an LrcSSM's states or inputs differ too much in size for int8: use --quantize none")
        root = 29 - math.floor(math.log2(n) / 2)
        least = [max(1, round(EPSILON * n**3 * 4.0**shift)) for shift in (read, max(normed, state))]
        return {
            "root_shift": root,
            "root": round(math.sqrt(n) * 2.0**root),
            "least_read": f"INT64_C({least[0]})",
            "least_answer": f"INT64_C({least[1]})",
        }

    # -- as ONNX

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        lrc = self.data

        def affine(u: str, weight: Any, bias: Any) -> str:
            return g.add(g.mul(u, g.constant(weight)), g.constant(bias))

        read = g.call("Sigmoid", affine(self._read(g, x), lrc.slope, lrc.offset))
        resistance, driven = g.slices(g.dense(read, lrc.drive), [self.units] * 2)
        y = g.call("Sigmoid", affine(h, lrc.sigma, -lrc.sigma * lrc.mu))
        rate = g.call("Sigmoid", g.call("Max", g.add(resistance, g.mul(y, g.constant(lrc.w))), g.constant(LEAST)))
        pull = g.mul(g.call("Tanh", g.add(driven, g.mul(y, g.constant(lrc.k)))), g.constant(lrc.vleak))
        open_ = affine(h, lrc.open_weight, lrc.open_bias)
        if lrc.shift is None:
            elastance = g.call("Sigmoid", open_)
        else:
            shift = g.constant(lrc.shift)
            elastance = g.sub(g.call("Sigmoid", g.add(open_, shift)), g.call("Sigmoid", g.sub(open_, shift)))
        length = g.mul(elastance, span)
        if lrc.exponential:
            u = g.mul(length, rate)
            near = g.constant(1.0)  # (1 - exp(-u)) / u where u is small
            for n in (6, 5, 4, 3, 2):
                near = g.sub(1.0, g.mul(g.mul(u, 1 / n), near))
            far = g.call("Div", g.sub(1.0, g.call("Exp", g.call("Neg", u))), u)
            length = g.mul(length, g.call("Where", g.call("Less", g.call("Abs", u), 0.25), near, far))
        return g.add(h, g.mul(length, g.sub(pull, g.mul(rate, h)))), c

    def onnx_answer(self, g: Graph, x: str, h: str) -> str:
        if self.data.feed is None:
            return h
        first, second = self.data.feed
        y = _normed(g, g.add(h, self._read(g, x)))
        return g.add(y, g.dense(g.call("Relu", g.dense(y, first)), second))

    def _read(self, g: Graph, x: str) -> str:
        if not self.answers:
            return x
        return _normed(g, x if self.data.enter is None else g.dense(x, self.data.enter))


def _norm(x: np.ndarray) -> np.ndarray:
    made: np.ndarray = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + EPSILON)
    return made


def _held(values: np.ndarray, most: int) -> np.ndarray:
    return np.clip(np.round(values), -most, most)


def _normed(g: Graph, x: str) -> str:
    centred = g.sub(x, g.call("ReduceMean", x, axes=[1]))
    variance = g.call("ReduceMean", g.mul(centred, centred), axes=[1])
    return g.call("Div", centred, g.call("Sqrt", g.add(variance, EPSILON)))
