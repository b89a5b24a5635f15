"""A dense layer of each sample alone, before the recurrence."""

from __future__ import annotations

import numpy as np

from torchliquid.edge.cores.core import Core, Needs, Ranges
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths
from torchliquid.models.description import Dense, Encoder


class EncoderCore(Core[Encoder]):
    label = "dense layer"
    template = "encoder"
    call = "encode({x}, {h})"
    reads_span = False
    functions = {"tanh"}  # noqa: RUF012
    tables = {"tanh"}  # noqa: RUF012
    longest_span = 3e38
    bound = 1.0
    has_hidden = True
    passes = "hidden0"
    remarks = {"encoder": "A dense layer with tanh."}  # noqa: RUF012

    def maps(self) -> dict[str, Dense]:
        return {"encoder": self.data.dense}

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        seen.hidden.append(1.0)

    def map(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(self.data.dense(x))

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        return Needs(hidden=((1.0, True),))

    def integers(self, made: Integers) -> None:
        (tanh,) = made.units("tanh")
        made.dense("encoder", self.data.dense, self.inputs, tanh, self.remarks["encoder"])

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        return g.call("Tanh", g.dense(x, self.data.dense)), c
