"""Drives every path of the compiled kernels without PyTorch, for the sanitizers: ``drive.py <path of _native>``.

Only that nothing is touched that should not be, and that the number of threads changes no bit, is looked at here; the
numbers are held against the reference in ``test_native.py``.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

random = np.random.default_rng(0)


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("_native", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def normal(*shape: int) -> np.ndarray:
    return random.normal(size=shape).astype(np.float32) * np.float32(0.3)


def synapses(sources: int, units: int, density: float) -> tuple[list[np.ndarray], np.ndarray]:
    target, source = np.nonzero(random.random((units, sources)) < density)
    values = [np.abs(normal(len(target))), normal(len(target)), 1 + np.abs(normal(len(target))), normal(len(target))]
    return values, np.stack([source, target])


def ltc(native: Any, sequence: Any, inputs: int, units: int, density: float) -> tuple[Any, int]:
    between, index = synapses(units, units, density)
    sensory, sensory_index = synapses(inputs, units, density)
    leak = [np.abs(normal(units)), normal(units), 0.5 + np.abs(normal(units))]
    made = native.Ltc(sequence, leak, between, index, sensory, sensory_index, 3, 1e-8)
    return made, 4 * (index.shape[1] + sensory_index.shape[1]) + 3 * units


def cfc(
    native: Any, sequence: Any, batch: int, time: int, inputs: int, sizes: list[int], hidden: list[int], options: Any
) -> tuple[Any, int]:
    mode, activation, dropout = options
    backbone, heads, masks, below = [], [], [], inputs
    for n in sizes:
        width = below + n
        for u in hidden:
            backbone += [normal(u, width), normal(u)]
            masks.append(normal(batch, time, u))
            width = u
        outputs = n if mode == "pure" else 4 * n
        heads += [normal(outputs, width), normal(outputs)]
        heads += [normal(n), normal(n)] if mode == "pure" else []
        below = n
    made = native.Cfc(sequence, backbone, heads, sizes, mode, activation, masks if dropout else [])
    return made, sum(p.size for p in backbone + heads)


def ctrnn(native: Any, sequence: Any, inputs: int, units: int, solver: str, leaks: bool) -> tuple[Any, int]:
    parameters = [normal(units, inputs), normal(units, units), normal(units)]
    rate = np.abs(normal(units)) if leaks else None
    return native.Ctrnn(sequence, *parameters, rate, solver, 3), sum(p.size for p in parameters) + units * leaks


def ctgru(native: Any, sequence: Any, inputs: int, units: int, scales: int) -> tuple[Any, int]:
    width = inputs + units
    parameters = [normal(2 * units, width), normal(2 * units) + 2, normal(units, width), normal(units)]
    return native.Ctgru(sequence, *parameters, scales), sum(p.size for p in parameters)


def ode_rnn(native: Any, sequence: Any, inputs: int, units: int, solver: str, unfolds: int) -> tuple[Any, int]:
    field = [normal(*shape) for shape in [(units, units), (units,)] * 2]
    update = [normal(*shape) for shape in [(3 * units, inputs), (3 * units, units), (3 * units,), (3 * units,)]]
    return native.OdeRnn(sequence, field, update, solver, unfolds), sum(p.size for p in field + update)


def lrcssm(native: Any, sequence: Any, units: int, symmetric: bool, exponential: bool) -> tuple[Any, int]:
    synapses, elastance = [normal(units) for _ in range(4)], [normal(units) for _ in range(3 if symmetric else 2)]
    made = native.LrcSsm(sequence, synapses, normal(units), elastance, exponential)
    return made, units * (5 + len(elastance))


def run(native: Any, problem: Any, sequence: dict[str, Any], parameters: int, threads: int) -> list[np.ndarray]:
    (batch, time, _), units = sequence["input"].shape, sequence["state"].shape[1]
    mixed = sequence["drive"] is not None
    states = np.zeros((batch, time, units), np.float32)
    cells = np.zeros_like(states) if mixed else None
    problem.forward(states, cells, threads)
    names = ("input", "timespan", "state", "drive", "cell")
    grads = [None if sequence[name] is None else np.zeros_like(sequence[name]) for name in names]
    if batch % 2:
        grads[:2] = None, None  # not wanted
    flat = np.zeros(parameters + (4 * units * units if mixed else 0), np.float32)
    given = [np.ones_like(states), np.ones_like(states) if mixed else None]
    problem.backward(states, cells, native.Gradients(*given, *grads, flat), threads)
    return [a for a in (states, cells, *grads, flat) if a is not None]


def problems(native: Any) -> Iterator[tuple[Any, dict[str, Any], int]]:
    activations = itertools.cycle(["lecun_tanh", "tanh", "relu", "silu", "gelu"])
    modes = itertools.cycle(["default", "no_gate", "pure"])
    shapes = [(1, 1, 1, 1), (7, 3, 2, 5), (17, 20, 3, 9), (33, 4, 8, 32), (70, 2, 1, 3), (100, 18, 5, 16)]
    for (batch, time, inputs, units), mixed, ragged in itertools.product(shapes, (False, True), (False, True)):
        sequence = {
            "input": normal(batch, time, inputs),
            "timespan": np.ones((batch, time), np.float32) if time % 3 == 0 else np.abs(normal(batch, time)),
            "state": normal(batch, units),
            "lengths": random.integers(0, time + 1, batch) if ragged else None,
            "drive": normal(batch, time, 4 * units) if mixed else None,
            "memory": normal(4 * units, units) if mixed else None,
            "cell": normal(batch, units) if mixed else None,
            "reset": (random.random((batch, time)) < 0.2).astype(np.float32) if ragged else None,
        }
        shared = native.Sequence(**sequence)
        for density in (0.0, 0.4, 1.0):
            problem, parameters = ltc(native, shared, inputs, units, density)
            yield problem, sequence, parameters
        for solver, leaks in itertools.product(("euler", "rk4"), (False, True)):
            problem, parameters = ctrnn(native, shared, inputs, units, solver, leaks)
            yield problem, sequence, parameters
        if not mixed:
            for scales in (1, 8):
                traces = sequence | {"state": normal(batch, units * scales)}
                problem, parameters = ctgru(native, native.Sequence(**traces), inputs, units, scales)
                yield problem, traces, parameters
            driven = sequence | {"input": normal(batch, time, 2 * units)}
            for symmetric, exponential in itertools.product((False, True), (False, True)):
                problem, parameters = lrcssm(native, native.Sequence(**driven), units, symmetric, exponential)
                yield problem, driven, parameters
            for solver, unfolds in itertools.product(("euler", "rk4"), (1, 3)):
                problem, parameters = ode_rnn(native, shared, inputs, units, solver, unfolds)
                yield problem, sequence, parameters
        stacks: list[tuple[list[int], list[int]]] = [([units], []), ([units], [11]), ([units], [4, 130])]
        if units >= 3:
            stacks.append(([units - 2, 1, 1], []))
        for sizes, hidden in stacks:
            options = (next(modes), next(activations), mixed)
            problem, parameters = cfc(native, shared, batch, time, inputs, sizes, hidden, options)
            yield problem, sequence, parameters


def streams(native: Any) -> None:
    for inputs, units, n in itertools.product((1, 5), (1, 9, 33), (1, 3, 20, 600)):
        nothing = np.zeros((0, 0, inputs), np.float32), np.zeros((0, 0), np.float32), np.zeros((0, units), np.float32)
        shared = native.Sequence(*nothing, None, None, None, None)
        gates = native.Gated(normal(4 * units, inputs + units), normal(4 * units), True)
        recurrences = [ltc(native, shared, inputs, units, 0.5)[0], gates]
        recurrences.append(native.Gated(normal(4 * units, inputs + units), normal(4 * units), False))
        for mode in ("default", "no_gate", "pure"):
            recurrences.append(cfc(native, shared, 0, 0, inputs, [units], [7], (mode, "gelu", False))[0])
        for recurrence, mixed in itertools.product(recurrences, (False, True)):
            h, c = np.zeros((n, units), np.float32), np.zeros((n, units), np.float32)
            held, started = np.zeros((n, inputs)), np.zeros(n, bool)
            front = native.Front(np.zeros(inputs), np.ones(inputs), 2.0, 1e6, False, held, started)
            total, count = np.zeros((n, units), np.float32), np.zeros((n, 1), np.float32)
            back = native.Back(native.Linear(normal(3, units), normal(3)), total, count, None, None)
            maps = [[normal(size), normal(size)] for size in (inputs, units)]
            memory = gates if mixed else None
            bare = native.Stepper([native.Layer(recurrence, h, c, 0, units, memory=memory)], threads=4)
            mapped = native.Layer(recurrence, h, c, 0, units, *maps, memory=memory)
            dense = native.Layer(native.Linear(normal(inputs, inputs), normal(inputs)), None, None, 0, inputs)
            model = native.Stepper([dense, mapped], front=front, back=back, threads=4)
            for _ in range(3):
                values = random.normal(size=(n, inputs))
                out, answers = np.zeros((n, units), np.float32), np.zeros((n, 3))
                assert bare.step(values, 1.0, out)
                assert np.isfinite(out).all()
                assert not bare.step(values[:, :-1], 1.0, out)
                assert not bare.step(values, -1.0, out)
                assert model.step(values, random.random(n), answers)
                assert np.allclose(answers.sum(1), 1)
            parts = [native.Layer(each, None, None, 0, units) for each in recurrences if each is not gates]
            chosen = native.Linear(normal(len(parts) - 1, units), normal(len(parts) - 1))
            state = np.zeros((n, (units + 1) * len(parts) - 1), np.float32)
            mixture = native.Stepper([native.Layer(native.Mixture(parts, chosen, 2), state, None, 0, units)], threads=4)
            for _ in range(3):
                assert mixture.step(random.normal(size=(n, inputs)), random.random(n), out)
                assert np.isfinite(out).all()


def state_spaces(native: Any) -> None:
    for batch, kinds, states, width in ((1, 1, 1, 1), (5, 2, 3, 7), (3, 9, 4, 33)):
        sizes = np.sort(random.integers(0, batch + 1, 6))[::-1].copy()
        which = random.integers(kinds, size=sizes.sum())
        fading, gain, read, state = (normal(*n, 2, states, width) for n in ((kinds,), (), (), (batch,)))
        inputs = normal(len(which), width)
        problem = native.StateSpace(fading, which, gain, inputs, read, state, sizes)
        output, last = np.empty_like(inputs), np.empty_like(state)
        problem.forward(output, last)
        gradients = [np.zeros_like(x) for x in (fading, gain, inputs, read, state)]
        problem.backward(output, last, *gradients)
        assert all(np.isfinite(x).all() for x in (output, last, *gradients))


def main(path: str) -> None:
    native = load(path)
    for name in native.instruction_sets():
        native.use_instruction_set(name)
        count = 0
        for problem, sequence, parameters in problems(native):
            results = [run(native, problem, sequence, parameters, threads) for threads in (1, 4)]
            for one, other in zip(*results, strict=True):
                assert np.isfinite(one).all()
                assert one.tobytes() == other.tobytes()
            count += 1
        streams(native)
        state_spaces(native)
        print(f"{name}: {count} recurrences forward and backward, state spaces and live streams: clean")


if __name__ == "__main__":
    main(sys.argv[1])
