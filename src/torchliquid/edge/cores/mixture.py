"""A mixture of experts: only those that the router calls are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from torchliquid.edge import text
from torchliquid.edge.cores.core import Core, Layout, Needs, Ranges, largest, peak
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.cores.integers import Integers, Widths
from torchliquid.edge.text import Constant
from torchliquid.models.description import Dense, Mixture, Part, arrays


class MixtureCore(Core[Mixture]):
    template = "mixture"
    call = "mix({x}, span, {h}, {w}, {y})"
    answers = True
    passes = "hidden0"

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
    def parts(self) -> list[tuple[Part, Core[Any]]]:
        """The description and the core of the router and of each expert."""
        return list(zip((self.data.router, *self.data.experts), self.inner, strict=True))

    @property
    def experts(self) -> list[tuple[Part, Core[Any]]]:
        return self.parts[1:]

    @property
    def label(self) -> str:  # type: ignore[override]
        kinds = dict.fromkeys(core.label for core in self.inner[1:])
        return f"mixture of {len(self.data.experts)} {' and '.join(kinds)}"

    @property
    def functions(self) -> set[str]:
        return set().union(*(core.functions for core in self.inner))

    @property
    def tables(self) -> set[str]:
        return {"exp"}.union(*(core.tables for core in self.inner))

    @property
    def clips(self) -> bool:
        return any(core.clips for core in self.inner)

    @property
    def divides(self) -> bool:
        return any(core.divides for core in self.inner)

    @property
    def has_hidden(self) -> bool:
        return any(core.has_hidden for core in self.inner)

    def hidden_bits(self, widths: Widths) -> int:
        """Those of the states: it adds states, or what is as wide as they are."""
        return widths.state

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
        return max(core.bound if part.leave is None else peak(part.leave, core.bound) for part, core in self.experts)

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
        for k, (part, core) in enumerate(self.experts):
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
            made += [core.size(core.prefix.rstrip("_")), *core.constants(layout)]
        made += self.named("gate", self.gate, layout, "From the router to a number for each expert.")
        for part, core in self.experts:
            if part.leave is not None:
                made += core.named("leave", part.leave, layout, "What leaves this expert.")
        return made

    # -- in integers

    def weights(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for core in self.inner:
            found |= {core.prefix + name: count for name, count in core.weights().items()}
        for part, core in self.experts:
            found |= {} if part.leave is None else {f"{core.prefix}leave": part.leave.weight.size}
        found = {name.removeprefix(self.prefix): count for name, count in found.items()}
        return found | {"router_choice": self.gate.weight.size}

    def measure(self, seen: Ranges, x: np.ndarray, before: np.ndarray, after: np.ndarray) -> None:
        for core, own in zip(self.inner, self._slices, strict=True):
            moved = (before[:, own] != after[:, own]).any(1)  # at its calls
            states = before[moved, own], after[moved, own]
            seen.inner.append(Ranges(seen.features, largest(states[1])))
            core.measure(seen.inner[-1], x[moved], *states)
        seen.gate = largest(self._logits(x, after))
        seen.hidden.append(max(largest(outputs) for outputs in self._outputs(x, after)))

    def answer(self, x: np.ndarray, after: np.ndarray) -> np.ndarray:
        logits = self._logits(x, after)
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        share[logits < np.sort(logits, 1)[:, [-self.data.top_k]]] = 0.0
        made: np.ndarray = sum(w[:, None] * y for w, y in zip(share.T, self._outputs(x, after), strict=True))
        return made

    def _logits(self, x: np.ndarray, after: np.ndarray) -> np.ndarray:
        return self.gate(self._read(0, x, after))

    def _outputs(self, x: np.ndarray, after: np.ndarray) -> list[np.ndarray]:
        """(T, O) of each expert."""
        read = [(part.leave, self._read(k, x, after)) for k, (part, _) in enumerate(self.experts, 1)]
        return [y if leave is None else leave(y) for leave, y in read]

    def _read(self, i: int, x: np.ndarray, after: np.ndarray) -> np.ndarray:
        """(T, N) what is read of the router, or of an expert."""
        part, core = self.parts[i]
        states = after[:, self._slices[i]]
        return (core.answer(x, states) if core.answers else states)[:, part.first : part.first + part.outputs]

    @property
    def _slices(self) -> list[slice]:
        ends = list(accumulate((core.units for core in self.inner), initial=0))
        return [slice(a, b) for a, b in pairwise(ends)]

    def needs(self, seen: Ranges, widths: Widths) -> Needs:
        needs = [core.needs(own, widths) for core, own in zip(self.inner[1:], seen.inner[1:], strict=True)]
        plain = all(part.leave is None and not core.answers for part, core in self.experts)
        answer = max(need.state for need in needs) if plain else seen.hidden[-1]
        return Needs(hidden=((answer, plain and all(need.exact for need in needs)),))

    def integers(self, made: Integers) -> None:
        for (part, core), chosen in zip(self.parts, made.formats.inner, strict=True):
            own = Integers(chosen, core.prefix)
            own.add(core.size(core.prefix.rstrip("_")))
            own.finer()
            core.integers(own)
            source = core.passes
            if part is self.data.router:
                unit = 2.0**made.formats.gate
                own.dense("choice", self.gate, 0, unit, "From the router to a number for each expert.", source)
            elif part.leave is not None:
                own.dense("leave", part.leave, 0, 2.0 ** made.formats.hidden[0], "What leaves this expert.", source)
            down = 0 if part.leave else own.shift(source) - made.formats.hidden[0]
            own.context |= {"source": source, "down": down}
            made.inner.append(own)
            made.constants += own.constants
        made.context |= {"parts": [own.context for own in made.inner], "clipping": self.clips}

    def context(self) -> dict[str, Any]:
        called: list[dict[str, Any]] = []
        for k, ((part, core), own_states) in enumerate(zip(self.parts, self._slices, strict=True)):
            at = own_states.start
            h = f"h + {at}" if at else "h"
            span = f"waited[{k - 1}]" if k else "span"
            call = core.call.format(x="x", h=h, c="", y="answer", w="").replace(", span", f", {span}")
            read = "answer" if core.answers else f"h + {at + part.first}" if at + part.first else "h"
            own = {"prefix": core.prefix, "call": core.prefix + call, "read": read, "outputs": part.outputs}
            called.append(own | {"leaves": part.leave is not None, "clips": core.clips})
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
        for (part, core), state, share in zip(self.experts, own, g.slices(shares, [1] * len(own)), strict=True):
            y = g.outputs(core.onnx_answer(g, x, state), part.first, part.outputs, core.units)
            weighted = g.mul(share, y if part.leave is None else g.dense(y, part.leave))
            answer = g.add(answer, weighted) if answer else weighted
        return answer

    @property
    def _sizes(self) -> list[int]:
        return [*(core.units for core in self.inner), len(self.data.experts)]

    def _gated(self, g: Graph, x: str, router: str) -> str:
        part, core = self.parts[0]
        return g.dense(g.outputs(core.onnx_answer(g, x, router), part.first, part.outputs, core.units), self.gate)

    def _called(self, g: Graph, gated: str) -> str:
        from onnx import helper

        largest = [f"v{len(g.nodes)}_values", f"v{len(g.nodes)}_places"]
        g.nodes.append(helper.make_node("TopK", [gated, g.constant([self.data.top_k], np.int64)], largest, axis=1))
        n = g.constant([len(self.data.experts)], np.int64)
        each = g.call("OneHot", largest[1], n, g.constant([0.0, 1.0]), axis=1)
        return g.call("Greater", g.call("ReduceMax", each, axes=[2], keepdims=0), 0.5)
