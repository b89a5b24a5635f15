"""Recurrences with random shapes and parameters, for holding one implementation against another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from torchliquid.backends.operators import OPERATORS
from torchliquid.cells import Sequences
from torchliquid.cells.cfc import ACTIVATIONS, MODES

WORK = 3_000_000
"""Most multiply-adds (or synapses) times samples that one problem may cost, so that a float64 reference is quick."""


@dataclass
class Problem:
    """Arguments of a recurrence by name, float32; the drawn sizes and options for a failing test's message."""

    kind: str
    arguments: dict[str, Any]
    drawn: dict[str, Any] = field(repr=True)

    def __repr__(self) -> str:
        return f"{self.kind}({self.drawn})"

    def run(self, module: Any, dtype: torch.dtype = torch.float32) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs, and the gradients of all that has one for random gradients of the outputs."""
        # Equal spans without a gradient of theirs take a path of their own.
        fixed = ("dropout_masks", "timespans") if self.drawn["equal_spans"] else ("dropout_masks",)
        arguments, leaves = _leaves(self.arguments, dtype, fixed)
        outputs = module.run(*taken(self.kind, arguments))
        random = torch.Generator().manual_seed(1)
        grads = [torch.randn(o.shape, generator=random).to(dtype) for o in outputs]
        used = [(o, g) for o, g in zip(outputs, grads, strict=True) if o.numel()]
        found = torch.autograd.grad([o for o, _ in used], leaves, [g for _, g in used], allow_unused=True)
        zeros = [torch.zeros_like(leaf) if g is None else g for leaf, g in zip(leaves, found, strict=True)]
        return [o.detach() for o, _ in used], zeros


def taken(kind: str, arguments: dict[str, Any]) -> tuple[Any, Sequences]:
    """The recurrence and the sequences of arguments, which stand in the order of its operator's."""
    (operator,) = (operator for operator in OPERATORS.values() if operator.name == kind)
    return operator.taken([*arguments.values(), *([] if "reset" in arguments else [None])])


def _leaves(value: Any, dtype: torch.dtype, fixed: tuple[str, ...], name: str = "") -> tuple[Any, list[Tensor]]:
    if isinstance(value, dict):
        made = {k: _leaves(v, dtype, fixed, k) for k, v in value.items()}
        return {k: v for k, (v, _) in made.items()}, [leaf for _, leaves in made.values() for leaf in leaves]
    if isinstance(value, list) and name != "layer_sizes":
        items = [_leaves(v, dtype, fixed, name) for v in value]
        return [v for v, _ in items], [leaf for _, leaves in items for leaf in leaves]
    if isinstance(value, Tensor) and value.is_floating_point():
        leaf = value.to(dtype, copy=True).requires_grad_(name not in fixed)
        return leaf, [leaf] if leaf.requires_grad else []
    return value, []


@st.composite
def problems(draw: Any, kind: str, longest_span: float = 5.0, most: int | Sequence[int] = 500) -> Problem:
    """Any shape, mode, wiring and option; parameters as the layers draw them.

    ``most``: the largest size, or those of batch, time, inputs and units.
    """
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1), label="seed"))
    sizes = {
        "batch": draw(st.one_of(st.integers(1, 70), st.integers(1, 300))),
        "time": draw(st.one_of(st.integers(1, 20), st.integers(1, 500))),
        "inputs": draw(st.integers(1, 64)),
        "units": draw(st.one_of(st.integers(1, 40), st.integers(1, 200))),
    }
    limits = [most] * len(sizes) if isinstance(most, int) else most
    sizes = {name: min(size, limit) for (name, size), limit in zip(sizes.items(), limits, strict=True)}
    flags = {name: draw(st.booleans()) for name in ("lengths", "memory", "equal_spans")}
    flags["memory"] &= kind in MIXED
    # A step that moves a state by less than its rounding is lost in single precision, in any code.
    span = draw(st.just(0.0) | st.floats(1e-3, longest_span))
    options = {**flags, "span": span}
    own, cost, more = KINDS[kind](draw, random, sizes["inputs"], sizes["units"])
    sizes["inputs"] = more.pop("driven", sizes["inputs"])
    sizes["time"] = max(1, min(sizes["time"], WORK // cost, more.pop("longest", WORK)))
    sizes["batch"] = max(1, min(sizes["batch"], WORK // (cost * sizes["time"])))
    B, T, C, H = sizes.values()

    def normal(*shape: int, scale: float = 1.0) -> Tensor:
        return torch.from_numpy(random.normal(size=shape).astype(np.float32) * np.float32(scale))

    def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, shape).astype(np.float32))

    masks = []
    for u in more.pop("dropout", []):
        masks.append((uniform(B, T, u) < 0.8).float() / 0.8)
    if kind == "cfc":
        own["dropout_masks"] = masks
    arguments = {
        "inputs": normal(B, T, C),
        "timespans": uniform(B, T, low=options["span"] * options["equal_spans"], high=options["span"]),
        "state": normal(B, H * own.get("scales", 1), scale=0.5),
        "lengths": torch.from_numpy(random.integers(0, T + 1, B)) if options["lengths"] else None,
        **own,
    }
    if kind in MIXED:
        arguments["memory_drive"] = normal(B, T, 4 * H, scale=0.5) if options["memory"] else None
        arguments["memory_weight"] = normal(4 * H, H, scale=0.5 / H**0.5) if options["memory"] else None
        arguments["cell"] = normal(B, H, scale=0.5) if options["memory"] else None
    return Problem(kind, arguments, {**sizes, **options, **more})


def _ltc(draw: Any, random: np.random.Generator, inputs: int, units: int) -> tuple[dict[str, Any], int, dict[str, Any]]:
    density, unfolds = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0])), draw(st.sampled_from([1, 3, 6]))

    def synapses(sources: int) -> tuple[list[Tensor], Tensor]:
        target, source = np.nonzero(random.random((units, sources)) < density)
        n = len(target)
        ranges = [(0.001, 1.0), (0.3, 0.8), (3.0, 8.0)]
        values = [random.uniform(*r, n) for r in ranges] + [random.choice([-1.0, 1.0], n)]
        return [torch.from_numpy(v.astype(np.float32)) for v in values], torch.from_numpy(np.stack([source, target]))

    between, index = synapses(units)
    sensory, sensory_index = synapses(inputs)
    leak = [random.uniform(*r, units) for r in [(0.001, 1.0), (-0.2, 0.2), (0.4, 0.6)]]
    own = {
        "leak": [torch.from_numpy(v.astype(np.float32)) for v in leak],
        "synapses": between,
        "synapse_index": index,
        "sensory": sensory,
        "sensory_index": sensory_index,
        "unfolds": unfolds,
        "epsilon": 1e-8,
    }
    cost = 10 * (len(between[0]) * unfolds + len(sensory[0]) + 6 * units)
    return own, cost, {"density": density, "unfolds": unfolds}


def _cfc(draw: Any, random: np.random.Generator, inputs: int, units: int) -> tuple[dict[str, Any], int, dict[str, Any]]:
    mode = draw(st.sampled_from(MODES))
    layers = min(units, draw(st.sampled_from([1, 1, 2, 3])))
    hidden = draw(st.lists(st.integers(1, 140), max_size=2)) if layers == 1 else []
    dropout = draw(st.booleans())
    sizes = [units // layers] * (layers - 1) + [units - units // layers * (layers - 1)]

    def linear(outputs: int, width: int, fan_out: int) -> list[Tensor]:
        bound = (6 / (width + fan_out)) ** 0.5
        shapes = [((outputs, width), bound), ((outputs,), 1 / width**0.5)]
        return [torch.from_numpy(random.uniform(-b, b, s).astype(np.float32)) for s, b in shapes]

    backbone, heads, cost, below = [], [], 0, inputs
    for n in sizes:
        width = below + n
        for u in hidden:
            backbone += linear(u, width, u)
            cost += u * width
            width = u
        heads += linear(n if mode == "pure" else 4 * n, width, n)
        cost += heads[-2].numel() if mode != "pure" else heads[-2].numel() + n
        if mode == "pure":
            heads += [torch.from_numpy(random.normal(size=n).astype(np.float32) * np.float32(0.5)) for _ in range(2)]
        below = n
    activation = draw(st.sampled_from(sorted(ACTIVATIONS)))
    own = {"backbone": backbone, "heads": heads, "layer_sizes": sizes, "mode": mode, "activation": activation}
    more = {"layers": layers, "hidden": hidden, "mode": mode, "activation": activation}
    return own, cost, {**more, "dropout": hidden if dropout else []}


def _ctrnn(
    draw: Any, random: np.random.Generator, inputs: int, units: int
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    solver, unfolds = draw(st.sampled_from(["euler", "rk4"])), draw(st.sampled_from([2, 3, 6]))
    leaks = draw(st.booleans())
    # A field that contracts, and steps short enough for it: nothing makes one precision's rounding grow.
    recurrent = 0.1 / units**0.5 * random.normal(size=(units, units)) - 0.3 * np.eye(units)
    weight = np.concatenate([random.normal(size=(units, inputs)) / inputs**0.5, recurrent], 1)
    own = {
        "weight": torch.from_numpy(weight.astype(np.float32)),
        "bias": torch.from_numpy(random.normal(size=units).astype(np.float32)),
        "rate": torch.from_numpy(random.uniform(0.05, 0.3, units).astype(np.float32)) if leaks else None,
        "solver": solver,
        "unfolds": unfolds,
    }
    options = {"solver": solver, "unfolds": unfolds, "leaks": leaks}
    return own, weight.size * unfolds * (1 if solver == "euler" else 4), options


def _ctgru(
    draw: Any, random: np.random.Generator, inputs: int, units: int
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    scales, width = draw(st.integers(1, 9)), inputs + units
    # Time constants from below the shortest to above the longest, recurrent weights that make no rounding grow, and a
    # signal that is not at its bounds, where all that is left of a gradient is rounding.
    share = np.concatenate([np.full(inputs, inputs**-0.5), np.full(units, 0.1 / (units**0.5 * scales))])
    own = {
        "gates": random.normal(size=(2 * units, width)) * share,
        "gates_bias": random.uniform(-1, 1.15 * scales, 2 * units),
        "signal": random.uniform(-0.5, 0.5, (units, width)) * share,
        "signal_bias": random.uniform(-0.5, 0.5, units),
    }
    tensors = {name: torch.from_numpy(value.astype(np.float32)) for name, value in own.items()}
    # Where a trace hardly fades, equal steps all round alike, and it adds up: not too many of them.
    return {**tensors, "scales": scales}, 3 * units * (width + 20 * scales), {"scales": scales, "longest": 150}


def _ode_rnn(
    draw: Any, random: np.random.Generator, inputs: int, units: int
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    solver, unfolds = draw(st.sampled_from(["euler", "rk4"])), draw(st.sampled_from([1, 2, 3, 6]))

    def uniform(bound: float, *shape: int) -> Tensor:
        return torch.from_numpy(random.uniform(-bound, bound, shape).astype(np.float32))

    # A field that in the longest span makes no rounding grow by more than the update takes away.
    field = [uniform(b, *s) for b, s in [(0.3 / units**0.5, (units, units)), (0.3, (units,))] * 2]
    shapes = [(3 * units, inputs), (3 * units, units), (3 * units,), (3 * units,)]
    update = [uniform(0.5 / shape[-1] ** 0.5 if len(shape) > 1 else 0.5, *shape) for shape in shapes]
    update[2][units : 2 * units] -= 1  # little is kept of a state that the field may drive away
    options = {"solver": solver, "unfolds": unfolds}
    calls = unfolds * (1 if solver == "euler" else 4)
    cost = 2 * units**2 * calls + 3 * units * (inputs + units)
    return {"field": field, "update": update, **options}, cost, options


def _lrcssm(
    draw: Any, random: np.random.Generator, inputs: int, units: int
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    exponential, symmetric = draw(st.booleans()), draw(st.booleans())

    def uniform(low: float, high: float) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, units).astype(np.float32))

    own = {
        "synapses": [uniform(-1, 1), uniform(-1, 1), uniform(-1, 1), uniform(-2, 2)],
        "vleak": uniform(-1, 1),
        # An elastance that no Euler step in the longest span overshoots with.
        "elastance": [uniform(-0.3, 0.3), uniform(-2, -1.5), *([uniform(0.05, 1)] if symmetric else [])],
        "exponential": exponential,
    }
    return own, 60 * units, {"exponential": exponential, "symmetric": symmetric, "driven": 2 * units}


KINDS = {"ltc": _ltc, "cfc": _cfc, "ctrnn": _ctrnn, "ctgru": _ctgru, "ode_rnn": _ode_rnn, "lrcssm": _lrcssm}
MIXED = ("ltc", "cfc", "ctrnn")
"""The kinds that may have a memory in front."""
