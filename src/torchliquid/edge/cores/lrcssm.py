"""Liquid-resistance liquid-capacitance neurons (arXiv 2505.21717), alone or in a block with norms and a skip."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torchliquid.cells.lrcssm import LEAST
from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Layout
from torchliquid.edge.text import Constant
from torchliquid.models.description import Dense, LrcSsm

if TYPE_CHECKING:
    from torchliquid.edge.cores.graph import Graph

EPSILON = 1e-5
"""Added to a variance, as in ``torch.nn.functional.layer_norm``."""


class LrcSsmCore(Core[LrcSsm]):
    label = "LrcSSM"
    template = "lrcssm"

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

    def dense(self) -> list[Dense]:
        lrc = self.data
        return [each for each in (lrc.enter, lrc.drive, *(lrc.feed or ())) if each is not None]

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


def _normed(g: Graph, x: str) -> str:
    centred = g.sub(x, g.call("ReduceMean", x, axes=[1]))
    variance = g.call("ReduceMean", g.mul(centred, centred), axes=[1])
    return g.call("Div", centred, g.call("Sqrt", g.add(variance, EPSILON)))
