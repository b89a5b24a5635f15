"""A mixture of experts: only those that the router calls are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Layout, peak
from torchliquid.edge.text import Constant
from torchliquid.models.description import Dense, Mixture, Part, arrays

if TYPE_CHECKING:
    from torchliquid.edge.cores.graph import Graph


class MixtureCore(Core[Mixture]):
    template = "mixture"
    call = "mix({x}, span, {h}, {w}, {y})"
    answers = True

    @cached_property
    def inner(self) -> tuple[Core[Any], ...]:
        from torchliquid.edge.cores import CORES

        names = ("router_", *(f"expert{k + 1}_" for k in range(len(self.data.experts))))
        parts = (self.data.router, *self.data.experts)
        return tuple(
            CORES[type(part.core)](part.core, part.inputs, part.units, self.model, self.prefix + name)
            for part, name in zip(parts, names, strict=True)
        )

    @property
    def label(self) -> str:  # type: ignore[override]
        kinds = dict.fromkeys(core.label for core in self.inner[1:])
        return f"mixture of {len(self.data.experts)} {' and '.join(kinds)}"

    @property
    def functions(self) -> set[str]:
        return set().union(*(core.functions for core in self.inner))

    @property
    def longest_span(self) -> float:
        return min(core.longest_span for core in self.inner)

    @property
    def steps(self) -> Any:
        return self.data.top_k, *((type(core.data).__name__, core.steps) for core in self.inner)

    @property
    def bounded(self) -> bool:
        return all(core.bounded for core in self.inner)

    @property
    def bound(self) -> float:
        leaving = zip(self.data.experts, self.inner[1:], strict=True)
        return max(core.bound if part.leave is None else peak(part.leave, core.bound) for part, core in leaving)

    def peaks(self, source: float) -> list[float]:
        found = [each for core in self.inner for each in core.peaks(max(source, core.bound))]
        return [*found, peak(self.gate, self.inner[0].bound), self.bound]

    @property
    def gate(self) -> Dense:
        """From the router's states to a number for each expert."""
        leave = self.data.router.leave
        return self.data.gate if leave is None else self.data.gate.after(leave)

    @property
    def outputs(self) -> int:
        """As many as each expert has."""
        first = self.data.experts[0]
        return first.outputs if first.projection is None else len(first.projection.bias)

    def kinds_of_cost(self) -> list[list[int]]:
        """The experts, those together that cost the same."""
        found: dict[Any, list[int]] = {}
        for k, (part, core) in enumerate(zip(self.data.experts, self.inner[1:], strict=True)):
            form = type(core), core.steps, tuple(array.shape for array in arrays(part))
            found.setdefault(form, []).append(k)
        return list(found.values())

    def calling(self, experts: Sequence[int]) -> Mixture:
        """The same, whose router chooses these experts at every sample."""
        bias = self.data.gate.bias.copy()
        bias[list(experts)] += 10 * peak(self.gate, self.inner[0].bound) + 1
        return replace(self.data, gate=Dense(self.data.gate.weight, bias), top_k=len(experts))

    def check(self) -> None:
        for core in self.inner:
            core.check()

    def constants(self, layout: Layout) -> list[Constant]:
        made: list[Constant] = []
        for core in self.inner:
            upper = core.prefix.upper()
            size = f"enum {{ {upper}UNITS = {core.units}, {upper}FEATURES = {core.inputs} }};"
            made += [Constant(size, f"{core.prefix.rstrip('_')}: {core.label}."), *core.constants(layout)]
        made += self.named("gate", self.gate, layout, "From the router to a number for each expert.")
        for part, core in zip(self.data.experts, self.inner[1:], strict=True):
            if part.leave is not None:
                made += core.named("leave", part.leave, layout, "What leaves this expert.")
        return made

    def context(self) -> dict[str, Any]:
        parts = (self.data.router, *self.data.experts)
        places = list(accumulate((part.states for part in parts), initial=0))
        called: list[dict[str, Any]] = []
        for k, (part, core, at) in enumerate(zip(parts, self.inner, places, strict=False)):
            h = f"h + {at}" if at else "h"
            span = f"waited[{k - 1}]" if k else "span"
            call = core.call.format(x="x", h=h, c="", y="answer", w="").replace(", span", f", {span}")
            read = "answer" if core.answers else f"h + {at + part.first}" if at + part.first else "h"
            own = {"prefix": core.prefix, "call": core.prefix + call, "read": read, "outputs": part.outputs}
            called.append(own | {"leaves": part.leave is not None})
        return {
            "router": called[0],
            "experts": called[1:],
            "top_k": self.data.top_k,
            "leaving": self.outputs,
            "widest": max(core.units for core in self.inner) if any(core.answers for core in self.inner) else 0,
            "longest": text.number(self.longest_span),
        }

    # In a graph all experts are computed, and those that are not called keep their states.

    def onnx(self, g: Graph, x: str, span: str, h: str, c: str) -> tuple[str, str]:
        router, *own, waited = g.slices(h, self._sizes)
        waited = g.add(waited, span)
        spans = g.slices(waited, [1] * len(own))
        router, _ = self.inner[0].onnx(g, x, span, router, "")
        called = self._called(g, self._gated(g, x, router))
        masks = g.slices(g.call("Cast", called, to=1), [1] * len(own))
        after = []
        for core, old, time, mask in zip(self.inner[1:], own, spans, masks, strict=True):
            new, _ = core.onnx(g, x, time, old, "")
            after.append(g.call("Where", g.call("Greater", mask, 0.5), new, old))
        return g.concat(router, *after, g.call("Where", called, 0.0, waited)), c

    def onnx_answer(self, g: Graph, x: str, h: str) -> str:
        router, *own, _ = g.slices(h, self._sizes)
        gated = self._gated(g, x, router)
        shares = g.call("Where", self._called(g, gated), g.call("Softmax", gated, axis=1), 0.0)
        answer = ""
        for core, part, state, share in zip(
            self.inner[1:], self.data.experts, own, g.slices(shares, [1] * len(own)), strict=True
        ):
            y = _of_outputs(g, part, core, core.onnx_answer(g, x, state))
            weighted = g.mul(share, y if part.leave is None else g.dense(y, part.leave))
            answer = g.add(answer, weighted) if answer else weighted
        return answer

    @property
    def _sizes(self) -> list[int]:
        return [*(core.units for core in self.inner), len(self.data.experts)]

    def _gated(self, g: Graph, x: str, router: str) -> str:
        core, part = self.inner[0], self.data.router
        return g.dense(_of_outputs(g, part, core, core.onnx_answer(g, x, router)), self.gate)

    def _called(self, g: Graph, gated: str) -> str:
        from onnx import helper

        largest = [f"v{len(g.nodes)}_values", f"v{len(g.nodes)}_places"]
        g.nodes.append(helper.make_node("TopK", [gated, g.constant([self.data.top_k], np.int64)], largest, axis=1))
        return g.call("GreaterOrEqual", gated, g.call("ReduceMin", largest[0], axes=[1]))


def _of_outputs(g: Graph, part: Part, core: Core[Any], y: str) -> str:
    if part.outputs == core.units:
        return y
    ends = (part.first, part.first + part.outputs, 1)
    return g.call("Slice", y, *(g.constant([end], np.int64) for end in ends))
