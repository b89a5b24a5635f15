"""An ONNX graph in the making, operator by operator."""

from __future__ import annotations

from typing import Any

import numpy as np

from torchliquid.models.description import Dense


class Graph:
    """Nodes of a graph. Each method adds a node and returns the name of its result."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # names in an inner graph must not hide those of the outer one
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: dict[bytes, str] = {}

    def constant(self, values: Any, kind: type = np.float32) -> str:
        from onnx import numpy_helper

        array: np.ndarray = np.asarray(values, dtype=kind)
        key = array.tobytes() + str((array.dtype, array.shape)).encode()
        if key not in self._names:
            self._names[key] = f"{self.prefix}constant{len(self._names)}"
            self.constants.append(numpy_helper.from_array(array, self._names[key]))
        return self._names[key]

    def call(self, operator: str, *inputs: str | float, out: str = "", **attributes: Any) -> str:
        from onnx import helper

        names = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        out = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, names, [out], **attributes))
        return out

    def add(self, a: str | float, b: str | float) -> str:
        return self.call("Add", a, b)

    def sub(self, a: str | float, b: str | float) -> str:
        return self.call("Sub", a, b)

    def mul(self, a: str | float, b: str | float) -> str:
        return self.call("Mul", a, b)

    def dense(self, x: str, dense: Dense) -> str:
        return self.call("Gemm", x, self.constant(dense.weight), self.constant(dense.bias), transB=1)

    def outputs(self, y: str, first: int, n: int, of: int) -> str:
        """``n`` of ``of`` columns, from the ``first`` on."""
        if n == of:
            return y
        return self.call("Slice", y, *(self.constant([at], np.int64) for at in (first, first + n, 1)))

    def slices(self, x: str, sizes: list[int]) -> list[str]:
        from onnx import helper

        if len(sizes) < 2:
            return [x] * len(sizes)
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant(sizes, np.int64)], names, axis=1))
        return names

    def concat(self, *parts: str) -> str:
        return self.call("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
