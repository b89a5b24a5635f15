"""LSTM, also as the memory in front of another core, and GRU."""

from __future__ import annotations

from torchliquid.edge.cores.core import Core
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers
from torchliquid.models.description import Dense, Gru, Lstm

ANY_SPAN = 3e38
"""Both read the logarithm of the span."""


class LstmCore(Core[Lstm]):
    label = "LSTM"
    template = "lstm"
    call = "memory({x}, {h}, {c})"
    remarks = {"gate": "Gates input, forget, candidate, output."}  # noqa: RUF012
    reads_span = False
    clips = True
    longest_span = ANY_SPAN

    def maps(self) -> dict[str, Dense]:
        return {"gate": self.data.gates}

    def integers(self, made: Integers) -> None:
        units = made.units("sigmoid", "sigmoid", "tanh", "sigmoid", each=self.units)
        made.dense("gate", self.data.gates, self.inputs, units, self.remarks["gate"])

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        enter, keep, candidate, out = g.slices(g.dense(g.concat(x, h), self.data.gates), [self.units] * 4)
        c = g.add(g.mul(g.call("Sigmoid", keep), c), g.mul(g.call("Sigmoid", enter), g.call("Tanh", candidate)))
        return g.mul(g.call("Sigmoid", out), g.call("Tanh", c)), c


class GruCore(Core[Gru]):
    label = "GRU"
    template = "gru"
    call = "gated({x}, {h})"
    remarks = {  # noqa: RUF012
        "gate": "Gates reset and update.",
        "candidate": "The new state's part from the inputs,",
        "recalled": "and from the state before.",
    }
    reads_span = False
    longest_span = ANY_SPAN

    def maps(self) -> dict[str, Dense]:
        return {"gate": self.data.gates, "candidate": self.data.candidate, "recalled": self.data.recalled}

    def integers(self, made: Integers) -> None:
        sigmoid, tanh = made.units("sigmoid", "tanh")
        gru, remarks = self.data, self.remarks
        made.dense("gate", gru.gates, self.inputs, sigmoid, remarks["gate"])
        made.dense("candidate", gru.candidate, self.inputs, tanh, remarks["candidate"])
        made.dense("recalled", gru.recalled, 0, tanh, remarks["recalled"], only="state")

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        gru = self.data
        reset, update = g.slices(g.call("Sigmoid", g.dense(g.concat(x, h), gru.gates)), [gru.units] * 2)
        n = g.call("Tanh", g.add(g.dense(x, gru.candidate), g.mul(reset, g.dense(h, gru.recalled))))
        return g.add(n, g.mul(update, g.sub(h, n))), c
