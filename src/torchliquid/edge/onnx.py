"""A model as ONNX: one step, and a whole sequence as a Scan over that step; raw readings in, answers out.

Written operator by operator, so that the graph is the equations and nothing of a tracer's. Values, times and states are
as in :class:`torchliquid.runtime.stream.ModelStream`: a hole holds the last good value, an impossible span counts as 1.
"""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import parity, text
from torchliquid.edge.generate import longest_span, mean_rest, title
from torchliquid.edge.network import Cfc, Dense, Gru, Lstm, Ltc, Network, Synapses, describe
from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.tasks import Task

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # or ONNX Runtime numbers this machine in a file in its home

OPSET = 17


class Graph:
    """Nodes in the making; every method gives the name of its result."""

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix  # a graph inside another must not hide its names
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

    def slices(self, x: str, sizes: list[int]) -> list[str]:
        from onnx import helper

        if len(sizes) == 1:
            return [x]
        names = [f"v{len(self.nodes)}_{i}" for i in range(len(sizes))]
        self.nodes.append(helper.make_node("Split", [x, self.constant(sizes, np.int64)], names, axis=1))
        return names

    def concat(self, *parts: str) -> str:
        return self.call("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]


def step(network: Network) -> Graph:
    """The graph from ``values`` (B, C), ``elapsed`` (B) and the states to ``outputs`` (B, K) and ``<state>_out``; of
    classes also ``label`` (B), the place of the one that is answered."""
    g = Graph()
    scales, task = network.preprocessing, network.task
    centred = g.sub(g.sub("values", g.constant(scales.mean)), g.constant(mean_rest(network)))
    scaled = g.mul(centred, g.constant(1 / scales.unit))
    observed = g.call("LessOrEqual", g.call("Abs", scaled), float(LIMIT))
    held = g.call("Where", observed, scaled, "held", out="held_out")
    told = g.call("Or", observed, g.constant(scales.untold, bool)) if scales.untold.any() else observed
    features = g.concat(held, g.call("Cast", told, to=1)) if scales.with_mask else held
    gap = g.call("Unsqueeze", g.mul("elapsed", float(1 / scales.time_scale)), g.constant([1], np.int64))
    finite = g.call("LessOrEqual", gap, float(np.finfo(np.float32).max))
    known = g.call("And", g.call("And", g.call("GreaterOrEqual", gap, 0.0), finite), g.call("Greater", "started", 0.5))
    span = g.call("Min", g.call("Where", known, gap, g.constant([[1.0]])), g.constant(longest_span(network)))
    g.call("Max", "started", 1.0, out="started_out")
    if network.with_span:
        log = g.sub(g.call("Log", g.add(span, 1.0)), float(np.log(2)))
        features = g.concat(features, log)
    h, c = "hidden", "cell"
    memory = network.memory or (network.core if isinstance(network.core, Lstm) else None)
    if memory is not None:
        h, c = _lstm(g, memory, features, h, c)
        g.call("Identity", c, out="cell_out")
    core = network.core
    if isinstance(core, Ltc):
        h = _ltc(g, core, features, span, h)
    elif isinstance(core, Cfc):
        h = _cfc(g, core, features, span, h)
    elif isinstance(core, Gru):
        h = _gru(g, core, features, h)
    g.call("Identity", h, out="hidden_out")
    n = network.readout.weight.shape[1]
    read = (
        h
        if n == network.units
        else g.call("Slice", h, *(g.constant([v], np.int64) for v in (network.first, network.first + n, 1)))
    )
    answer = g.dense(read, network.readout)
    if task.change:
        last = g.call("Gather", held, g.constant([task.column], np.int64), axis=1)
        answer = g.add(answer, g.mul(last, task.change))
    if task.per == "series":
        # In double precision: single cannot count beyond 2^24 samples.
        count = g.call("Add", "count", g.constant(1.0, np.float64), out="count_out")
        change = g.call("Div", g.sub(g.call("Cast", answer, to=11), "mean"), count)
        answer = g.call("Cast", g.call("Add", "mean", change, out="mean_out"), to=1)
    if task.labels:
        _label(g, g.call("Softmax", answer, axis=1, out="outputs"), task)
    else:
        g.call("Add", g.mul(answer, g.constant(task.std)), g.constant(task.mean), out="outputs")
    return g


def _label(g: Graph, probabilities: str, task: Task) -> None:
    """As :meth:`Task.decide` has it: by the alarm's threshold, else the likeliest."""
    if task.alarm is None or task.alarm.threshold is None:
        g.call("ArgMax", probabilities, axis=1, keepdims=0, out="label")
        return
    sought = g.call("Gather", probabilities, g.constant(task.positive, np.int64), axis=1)
    over = g.call("GreaterOrEqual", sought, task.alarm.threshold)
    g.call("Where", over, *(g.constant(k, np.int64) for k in (task.positive, 1 - task.positive)), out="label")


def _lstm(g: Graph, lstm: Lstm, x: str, h: str, c: str) -> tuple[str, str]:
    enter, keep, candidate, out = g.slices(g.dense(g.concat(x, h), lstm.gates), [lstm.units] * 4)
    c = g.add(g.mul(g.call("Sigmoid", keep), c), g.mul(g.call("Sigmoid", enter), g.call("Tanh", candidate)))
    return g.mul(g.call("Sigmoid", out), g.call("Tanh", c)), c


def _gru(g: Graph, gru: Gru, x: str, h: str) -> str:
    reset, update = g.slices(g.call("Sigmoid", g.dense(g.concat(x, h), gru.gates)), [gru.units] * 2)
    n = g.call("Tanh", g.add(g.dense(x, gru.candidate), g.mul(reset, g.dense(h, gru.recalled))))
    return g.add(n, g.mul(update, g.sub(h, n)))


def _ltc(g: Graph, ltc: Ltc, x: str, span: str, v: str) -> str:
    pull_in, conductance_in = _gather(g, ltc.sensory, x, ltc.units)
    pull_in, conductance_in = g.add(pull_in, g.constant(ltc.pull)), g.add(conductance_in, g.constant(ltc.conductance))
    d = g.call("Div", span, float(ltc.unfolds))

    def bring(v: str) -> tuple[str, str]:
        """What pulls, less what v loses by it, and the conductance."""
        pull, conductance = _gather(g, ltc.synapses, v, ltc.units)
        pull, conductance = g.add(pull, pull_in), g.add(conductance, conductance_in)
        return g.sub(pull, g.mul(conductance, v)), conductance

    def rate(v: str) -> str:
        return g.call("Div", bring(v)[0], g.constant(ltc.capacitance))

    for _ in range(ltc.unfolds):
        if ltc.solver == "fused":
            change, conductance = bring(v)
            v = g.add(v, g.call("Div", g.mul(d, change), g.add(g.constant(ltc.capacitance), g.mul(d, conductance))))
        elif ltc.solver == "euler":
            v = g.add(v, g.mul(d, rate(v)))
        else:
            half = g.mul(d, 0.5)
            k1 = rate(v)
            k2 = rate(g.add(v, g.mul(half, k1)))
            k3 = rate(g.add(v, g.mul(half, k2)))
            k4 = rate(g.add(v, g.mul(d, k3)))
            total = g.add(g.add(k1, k4), g.mul(g.add(k2, k3), 2.0))
            v = g.add(v, g.mul(g.mul(d, float(1 / 6)), total))
    return v


def _gather(g: Graph, synapses: Synapses, x: str, units: int) -> tuple[str, str]:
    source = g.call("Gather", x, g.constant(synapses.source, np.int64), axis=1)
    drive = g.add(g.mul(source, g.constant(synapses.slope)), g.constant(synapses.offset))
    share = g.call("Sigmoid", drive)
    both = []
    for strength in (synapses.weight * synapses.reversal, synapses.weight):
        onto = np.zeros((len(synapses.source), units))
        onto[np.arange(len(onto)), synapses.target] = strength
        both.append(g.call("MatMul", share, g.constant(onto)))
    return both[0], both[1]


def _cfc(g: Graph, cfc: Cfc, x: str, span: str, h: str) -> str:
    parts = []
    for layer, own in zip(cfc.layers, g.slices(h, [layer.units for layer in cfc.layers]), strict=True):
        z = g.concat(x, own)
        for dense in cfc.backbone:
            z = _activation(g, cfc.activation, g.dense(z, dense))
        heads = g.dense(z, layer.heads)
        if layer.rate is not None and layer.amplitude is not None:
            rate = g.mul(span, g.add(g.constant(layer.rate), g.call("Abs", heads)))
            decayed = g.mul(g.call("Exp", g.call("Neg", rate)), heads)
            x = g.mul(g.constant(layer.amplitude), g.sub(1.0, decayed))
        else:
            f, k, a, b = g.slices(heads, [layer.units] * 4)
            f, k = g.call("Tanh", f), g.call("Tanh", k)
            s = g.call("Sigmoid", g.add(g.mul(a, span), b))
            x = g.add(f, g.mul(s, k if cfc.mode == "no_gate" else g.sub(k, f)))
        parts.append(x)
    return g.concat(*parts)


def _activation(g: Graph, name: str, x: str) -> str:
    if name == "lecun_tanh":
        return g.mul(g.call("Tanh", g.mul(x, 0.666)), 1.7159)
    if name == "silu":
        return g.mul(x, g.call("Sigmoid", x))
    if name == "gelu":
        share = g.mul(g.add(g.call("Erf", g.mul(x, float(np.sqrt(0.5)))), 1.0), 0.5)
        return g.mul(x, share)
    return g.call({"tanh": "Tanh", "relu": "Relu"}[name], x)


WIDE = ("mean", "count")
"""The states in double precision; all others are in single."""


def state_sizes(network: Network) -> dict[str, int]:
    """The states' names and widths; all zeros before the first sample."""
    sizes = {"held": network.preprocessing.n_channels, "started": 1, "hidden": network.units}
    if network.cells:
        sizes["cell"] = network.cells
    if network.task.per == "series":
        sizes |= {"mean": network.task.n_outputs, "count": 1}
    return sizes


def models(network: Network) -> tuple[Any, Any]:
    """The step and the sequence as ONNX models.

    The step takes values (B, C), elapsed (B) and each state; it gives outputs (B, K), each state's successor and, of
    classes, label (B). The sequence takes values (B, T, C) and elapsed (B, T), and gives outputs (B, T, K) and label
    (B, T).
    """
    from onnx import TensorProto, helper

    graph, sizes = step(network), state_sizes(network)
    k, n = network.task.n_outputs, network.preprocessing.n_channels

    def value(name: str, *shape: int | str) -> Any:
        kind = TensorProto.DOUBLE if name.removesuffix("_out") in WIDE else TensorProto.FLOAT
        return helper.make_tensor_value_info(name, kind, shape)

    def finished(made: Any) -> Any:
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="torchliquid")
        model.ir_version = 8
        helper.set_model_props(model, described(network))
        return model

    states = [value(name, "B", size) for name, size in sizes.items()]
    after = [value(f"{name}_out", "B", size) for name, size in sizes.items()]
    inputs = [value("values", "B", n), value("elapsed", "B")]
    answers = [value("outputs", "B", k)]
    if network.task.labels:
        answers.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["B"]))
    one = helper.make_graph(
        graph.nodes,
        "step",
        [*inputs, *states],
        [answers[0], *after, *answers[1:]],
        initializer=graph.constants,
    )
    body = helper.make_graph(graph.nodes, "body", [*states, *inputs], [*after, *answers], initializer=graph.constants)
    outer = Graph("outer_")
    batch = outer.call("Shape", "values", start=0, end=1, out="batch")
    zeros = []
    for name, size in sizes.items():
        shape = outer.call("Concat", batch, outer.constant([size], np.int64), axis=0, out=f"{name}_shape")
        zero = helper.make_tensor("zero", TensorProto.DOUBLE if name in WIDE else TensorProto.FLOAT, [1], [0.0])
        zeros.append(outer.call("ConstantOfShape", shape, value=zero, out=f"{name}_zero"))
    scan = helper.make_node(
        "Scan",
        [*zeros, "values", "elapsed"],
        [*(f"{name}_last" for name in sizes), *(answer.name for answer in answers)],
        body=body,
        num_scan_inputs=2,
        scan_input_axes=[1, 1],
        scan_output_axes=[1] * len(answers),
    )
    series = [value("outputs", "B", "T", k)]
    if network.task.labels:
        series.append(helper.make_tensor_value_info("label", TensorProto.INT64, ["B", "T"]))
    whole = helper.make_graph(
        [*outer.nodes, scan],
        "sequence",
        [value("values", "B", "T", n), value("elapsed", "B", "T")],
        series,
        initializer=outer.constants,
    )
    return finished(one), finished(whole)


def described(network: Network) -> dict[str, str]:
    """The files' metadata: what goes in and comes out, in the words of the recording; lists as JSON, in their order."""
    scales, task = network.preprocessing, network.task
    found = {
        "model": title(network),
        "torchliquid": version("torchliquid"),
        "channels": json.dumps(scales.channels, ensure_ascii=False),
        "elapsed_unit": scales.time_unit,
        "usual_gap": f"{scales.time_scale:.9g}",
        "task": task.kind,
        "answers": "a probability for each label" if task.labels else "values in the target's unit",
        "target": task.target,
    }
    if task.labels:
        found["labels"] = json.dumps(task.labels, ensure_ascii=False)
        if task.alarm is not None and task.alarm.threshold is not None:
            found["threshold"] = f"{task.alarm.threshold:.9g}"
    if task.horizon is not None:
        found |= {"horizon": f"{task.horizon:g}", "horizon_unit": task.horizon_unit}
    if task.learnt:
        found["learnt"] = task.learnt
    return found


def write(model: Model, folder: Path, samples: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Write both files, check them in ONNX Runtime; the largest difference from PyTorch in an output's spread.

    Raises:
        InputError: onnx or onnxruntime is not installed, or they differ by more than 1e-3.
    """
    try:
        import onnx
        import onnxruntime
    except ImportError:
        raise InputError("ONNX needs two more packages: pip install 'torchliquid[onnx]'") from None
    network = describe(model)
    one, whole = models(network)
    for name, made in (("step.onnx", one), ("sequence.onnx", whole)):
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, folder / name)
    walked = parity.walk(model, *samples)
    spread = walked.spread
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    ends = np.append(np.flatnonzero(walked.anew[1:]) + 1, len(walked))
    starts = np.flatnonzero(walked.anew)
    largest = 0.0
    stepper = onnxruntime.InferenceSession(str(folder / "step.onnx"), options)
    runner = onnxruntime.InferenceSession(str(folder / "sequence.onnx"), options)
    for start, end in zip(starts, ends, strict=True):
        values, elapsed = walked.inputs[start:end], walked.elapsed[start:end]
        found = [runner.run(["outputs"], {"values": values[None], "elapsed": elapsed[None]})[0][0]]
        found.append(_stepped(stepper, network, values, elapsed))
        largest = max(largest, *(float((np.abs(f - walked.outputs[start:end]) / spread).max()) for f in found))
    if not largest <= 1e-3:
        raise InputError(
            f"ONNX Runtime differs from the model by {largest:.2g} of an output's spread: nothing was exported"
        )
    return largest


def run(folder: Path, inputs: np.ndarray, elapsed: np.ndarray, anew: np.ndarray) -> np.ndarray:
    """Outputs of ``sequence.onnx`` in ONNX Runtime for these samples; ``anew`` where a series starts."""
    import onnxruntime

    runner = onnxruntime.InferenceSession(str(folder / "sequence.onnx"))
    starts = np.flatnonzero(anew)[1:]
    pieces = zip(np.split(inputs, starts), np.split(elapsed, starts), strict=True)
    return np.concatenate([runner.run(["outputs"], {"values": x[None], "elapsed": t[None]})[0][0] for x, t in pieces])


def _stepped(session: Any, network: Network, values: np.ndarray, elapsed: np.ndarray) -> np.ndarray:
    sizes = state_sizes(network)
    state = {name: np.zeros((1, size), np.float64 if name in WIDE else np.float32) for name, size in sizes.items()}
    rows = []
    for x, time in zip(values, elapsed, strict=True):
        given = {"values": x[None], "elapsed": np.array([time], dtype=np.float32), **state}
        wanted = ["outputs", *(f"{name}_out" for name in state)]
        outputs, *after = session.run(wanted, given)
        state = dict(zip(state, after, strict=True))
        rows.append(outputs[0])
    return np.stack(rows)


def readme(model: Model, measured: list[str]) -> str:
    """What the two files take and give."""
    network = describe(model)
    sizes = ", ".join(
        f"`{name}` (B, {size}{', double' if name in WIDE else ''})" for name, size in state_sizes(network).items()
    )
    channels = ", ".join(text.remark(c) for c in network.preprocessing.channels)
    n, k = network.preprocessing.n_channels, network.task.n_outputs
    labels = ", ".join(text.remark(label) for label in network.task.labels)
    return (
        f"# {title(network)}\n\n"
        f"Raw readings in this order: {channels}. NaN where there is none: the last good one is held. "
        f"`elapsed` is the time since the sample before in {text.remark(network.preprocessing.time_unit)}; "
        "the first sample's is not looked at, an impossible one counts as the usual gap.\n\n"
        f"* `step.onnx`: `values` (B, {n}), `elapsed` (B), and the states {sizes}, zeros at first; gives `outputs` "
        f"(B, {k}) and each state's successor, `<name>_out`{', and `label` (B)' if labels else ''}.\n"
        f"* `sequence.onnx`: `values` (B, T, {n}), `elapsed` (B, T); gives `outputs` (B, T, {k})"
        f"{f' and `label` (B, T), the place of what is answered among {labels}' if labels else ''}.\n\n"
        + "".join(f"* {text.prose(line)}\n" for line in measured)
    )
