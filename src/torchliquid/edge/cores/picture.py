"""Strided convolutions of a picture, before the recurrence."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import numpy as np
import torch

from torchliquid.edge.cores.core import Core, Layout, Needs, Ranges, peak
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths
from torchliquid.edge.text import Constant
from torchliquid.errors import InputError
from torchliquid.models.description import Convolution, Dense, Picture


class PictureCore(Core[Picture]):
    label = "convolutions"
    template = "picture"
    call = "see({x}, {h})"
    reads_span = False
    functions = {"tanh"}  # noqa: RUF012
    tables = {"tanh"}  # noqa: RUF012
    longest_span = 3e38
    has_hidden = True
    passes = "hidden0"
    remarks = {"convolution0": "Strided convolutions.", "seen": "And a dense layer with tanh."}  # noqa: RUF012

    @property
    def rest(self) -> int:
        """Inputs that are not pixels."""
        return self.inputs - self.data.size

    @property
    def bound(self) -> float:
        return 1e6 if self.rest else 1.0

    def peaks(self, source: float) -> list[float]:
        found = []
        for one in self.data.convolutions:
            source = max(peak(one.dense, source), 1e-30)
            found.append(source)
        return [*found, peak(self.data.dense, source)]

    def maps(self) -> dict[str, Dense]:
        return {f"convolution{i}": one.dense for i, one in enumerate(self.data.convolutions)} | {
            "seen": self.data.dense
        }

    def context(self) -> dict[str, Any]:
        maps, (height, width, depth) = self.data.maps, self.data.shape
        before = [(height, width, depth), *maps[:-1]]
        steps = [
            {"i": i, "from": a, "to": b, "kernel": one.weight.shape[1]}
            for i, (a, b, one) in enumerate(zip(before, maps, self.data.convolutions, strict=True))
        ]
        sizes = [int(np.prod(shape)) for shape in maps]
        return {
            "steps": steps,
            "picture": self.data,
            "rest": self.rest,
            "even": max(sizes[::2]),
            "odd": max(sizes[1::2], default=1),
            "last": sizes[-1],
            "outputs_of": len(self.data.dense.bias),
        }

    def named(self, name: str, dense: Dense, layout: Layout, remark: str) -> list[Constant]:
        return super().named(name, dense, layout if name == "seen" else "rows", remark)

    # -- as numbers

    def _maps(self, x: np.ndarray) -> list[np.ndarray]:
        """The values behind each convolution, (T, height, width, filters)."""
        picture = x[:, self.data.start : self.data.start + self.data.size].reshape(-1, *self.data.shape)
        return list(accumulate(self.data.convolutions, convolved, initial=picture))[1:]

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        # The first element is the part's output; the others are behind the convolutions.
        seen.hidden += [1.0, *(float(one.max(initial=0.0)) for one in self._maps(x))]

    def map(self, x: np.ndarray) -> np.ndarray:
        end = self.data.start + self.data.size
        flat = self._maps(x)[-1].reshape(len(x), -1)
        features = np.tanh(self.data.dense(flat))
        return np.concatenate([x[:, : self.data.start], x[:, end:], features], 1)

    # -- in integers

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        if self.rest:
            raise InputError("a picture beside other readings cannot be exported in integers: use --quantize none")
        return Needs(hidden=((1.0, True), *((one, False) for one in seen.hidden[1:])))

    def integers(self, made: Integers) -> None:
        for i, one in enumerate(self.data.convolutions):
            unit = 2.0 ** made.formats.hidden[i + 1]
            # All columns of a patch are of one kind: the pixels of a picture share one unit.
            name, only = f"convolution{i}", f"hidden{i}" if i else "input"
            made.dense(name, one.dense, 0, unit, self.remarks.get(name, ""), only)
        made.context["convolved"], made.context["denses"] = made.context["denses"], []
        (tanh,) = made.units("tanh")
        last = f"hidden{len(self.data.convolutions)}"
        made.dense("seen", self.data.dense, 0, tanh, self.remarks["seen"], only=last)

    # -- as ONNX

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        data, end = self.data, self.data.start + self.data.size
        parts = g.slices(x, [n for n in (data.start, data.size, self.inputs - end) if n])
        picture = parts.pop(1 if data.start else 0)
        height, width, depth = data.shape
        maps = g.call("Reshape", picture, g.constant([-1, height, width, depth], np.int64))
        maps = g.call("Transpose", maps, perm=[0, 3, 1, 2])
        for one in data.convolutions:
            kernel = one.weight.shape[1]
            weight, bias = g.constant(one.weight.transpose(0, 3, 1, 2)), g.constant(one.bias)
            form: dict[str, Any] = {"strides": [2, 2], "pads": [kernel // 2] * 4, "kernel_shape": [kernel, kernel]}
            maps = g.call("Relu", g.call("Conv", maps, weight, bias, **form))
        maps = g.call("Transpose", maps, perm=[0, 2, 3, 1])
        flat = g.call("Reshape", maps, g.constant([-1, data.dense.weight.shape[1]], np.int64))
        return g.concat(*parts, g.call("Tanh", g.dense(flat, data.dense))), c


def convolved(picture: np.ndarray, one: Convolution) -> np.ndarray:
    """(T, h / 2, w / 2, filters) of (T, h, w, channels)."""
    x, weight = (torch.from_numpy(each.astype(np.float64)).permute(0, 3, 1, 2) for each in (picture, one.weight))
    made = torch.conv2d(x, weight, torch.from_numpy(one.bias), stride=2, padding=one.weight.shape[1] // 2).relu()
    return np.asarray(made.permute(0, 2, 3, 1).numpy())
