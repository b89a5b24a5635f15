"""LSTM, also as the memory in front of another core, and GRU."""

from __future__ import annotations

from torchliquid.edge.cores.core import Core, Layout
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers
from torchliquid.edge.text import Constant
from torchliquid.models.description import Dense, Gru, Lstm

ANY_SPAN = 3e38
"""Both read the logarithm of the span."""


class LstmCore(Core[Lstm]):
    label = "LSTM"
    template = "lstm"
    call = "memory({x}, {h}, {c})"
    reads_span = False
    clips = True
    longest_span = ANY_SPAN

    def maps(self) -> dict[str, Dense]:
        return {"gate": self.data.gates}

    def constants(self, layout: Layout) -> list[Constant]:
        return self.named("gate", self.data.gates, layout, "Gates input, forget, candidate, output.")

    def integers(self, made: Integers) -> None:
        units = made.units("sigmoid", "sigmoid", "tanh", "sigmoid", each=self.units)
        made.dense("gate", self.data.gates, self.inputs, units, "Gates input, forget, candidate, output.")

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        enter, keep, candidate, out = g.slices(g.dense(g.concat(x, h), self.data.gates), [self.units] * 4)
        c = g.add(g.mul(g.call("Sigmoid", keep), c), g.mul(g.call("Sigmoid", enter), g.call("Tanh", candidate)))
        return g.mul(g.call("Sigmoid", out), g.call("Tanh", c)), c


class GruCore(Core[Gru]):
    label = "GRU"
    template = "gru"
    call = "gated({x}, {h})"
    reads_span = False
    longest_span = ANY_SPAN

    def maps(self) -> dict[str, Dense]:
        return {"gate": self.data.gates, "candidate": self.data.candidate, "recalled": self.data.recalled}

    def constants(self, layout: Layout) -> list[Constant]:
        return [
            *self.named("gate", self.data.gates, layout, "Gates reset and update."),
            *self.named("candidate", self.data.candidate, layout, "The new state's part from the inputs,"),
            *self.named("recalled", self.data.recalled, layout, "and from the state before."),
        ]

    def integers(self, made: Integers) -> None:
        sigmoid, tanh = made.units("sigmoid", "tanh")
        made.dense("gate", self.data.gates, self.inputs, sigmoid, "Gates reset and update.")
        made.dense("candidate", self.data.candidate, self.inputs, tanh, "The new state's part from the inputs,")
        made.dense("recalled", self.data.recalled, 0, tanh, "and from the state before.", only="state")

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        gru = self.data
        reset, update = g.slices(g.call("Sigmoid", g.dense(g.concat(x, h), gru.gates)), [gru.units] * 2)
        n = g.call("Tanh", g.add(g.dense(x, gru.candidate), g.mul(reset, g.dense(h, gru.recalled))))
        return g.add(n, g.mul(update, g.sub(h, n))), c
