"""A model as ONNX: one step, and a whole sequence as a Scan over that step. It reads raw readings and returns answers.

The graph is written node by node, so that it holds the equations and nothing else. Values, times and states are as in
:class:`torchliquid.runtime.stream.ModelStream`: the last good reading fills a gap, an impossible span is 1.
"""

from __future__ import annotations

import json
import os
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import parity, text
from torchliquid.edge.cores.graph import Graph
from torchliquid.edge.generate import mean_rest, title
from torchliquid.edge.network import Network, describe
from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.tasks import Task

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # otherwise ONNX Runtime writes a machine id to the home folder

OPSET = 17


def step(network: Network) -> Graph:
    """The graph from ``values`` (B, C), ``elapsed`` (B) and the states to ``outputs`` (B, K) and ``<state>_out``. For
    classes also ``label`` (B), the index of the answer."""
    g = Graph()
    scales, task = network.preprocessing, network.task
    centred = g.sub(g.sub("values", g.constant(scales.mean)), g.constant(mean_rest(network)))
    scaled = g.mul(centred, g.constant(1 / scales.unit))
    observed = g.call("LessOrEqual", g.call("Abs", scaled), float(LIMIT))
    held = g.call("Where", observed, scaled, "held", out="held_out")
    mask = g.call("Or", observed, g.constant(scales.untold, bool)) if scales.untold.any() else observed
    features = g.concat(held, g.call("Cast", mask, to=1)) if scales.with_mask else held
    gap = g.call("Unsqueeze", g.mul("elapsed", float(1 / scales.time_scale)), g.constant([1], np.int64))
    finite = g.call("LessOrEqual", gap, float(np.finfo(np.float32).max))
    known = g.call("And", g.call("And", g.call("GreaterOrEqual", gap, 0.0), finite), g.call("Greater", "started", 0.5))
    span = g.call("Min", g.call("Where", known, gap, g.constant([[1.0]])), g.constant(network.longest_span))
    g.call("Max", "started", 1.0, out="started_out")
    read = _parts(g, network, features, span)
    answer = g.dense(read, network.readout)
    if task.change:
        last = g.call("Gather", held, g.constant([task.column], np.int64), axis=1)
        answer = g.add(answer, g.mul(last, task.change))
    if task.per == "series":
        # In double precision, because single precision cannot count beyond 2^24 samples.
        count = g.call("Add", "count", g.constant(1.0, np.float64), out="count_out")
        change = g.call("Div", g.sub(g.call("Cast", answer, to=11), "mean"), count)
        answer = g.call("Cast", g.call("Add", "mean", change, out="mean_out"), to=1)
    if task.labels:
        _label(g, g.call("Softmax", answer, axis=1, out="outputs"), task)
    else:
        g.call("Add", g.mul(answer, g.constant(task.std)), g.constant(task.mean), out="outputs")
    return g


def _label(g: Graph, probabilities: str, task: Task) -> None:
    """The index of the answer, as in :meth:`Task.decide`: by the alarm's threshold, otherwise the most probable."""
    if task.alarm is None or task.alarm.threshold is None:
        g.call("ArgMax", probabilities, axis=1, keepdims=0, out="label")
        return
    sought = g.call("Gather", probabilities, g.constant(task.positive, np.int64), axis=1)
    over = g.call("GreaterOrEqual", sought, task.alarm.threshold)
    g.call("Where", over, *(g.constant(k, np.int64) for k in (task.positive, 1 - task.positive)), out="label")


def _parts(g: Graph, network: Network, x: str, span: str) -> str:
    """Add one part after the other; returns what the readout reads."""
    stages = network.stages
    hidden = iter(g.slices("hidden", [s.part.states for s in stages if s.part.states]))
    cells = iter(g.slices("cell", [s.part.cells for s in stages if s.part.cells]))
    after: list[str] = []
    kept: list[str] = []
    for stage in stages:
        part = stage.part
        if part.with_span:
            x = g.concat(x, g.sub(g.call("Log", g.add(span, 1.0)), float(np.log(2))))
        h, c = next(hidden) if part.states else "", next(cells) if part.cells else ""
        for core in stage.cores:
            h, c = core.onnx(g, x, span, h, c)
        y = stage.core.onnx_answer(g, x, h)
        after += [h] if part.states else []
        kept += [c] if part.cells else []
        x = g.outputs(y, part.first, part.outputs, stage.core.units)
    if kept:
        g.call("Identity", g.concat(*kept), out="cell_out")
    g.call("Identity", g.concat(*after), out="hidden_out")
    return x


WIDE = ("mean", "count")
"""The states in double precision. All others are in single precision."""


def state_sizes(network: Network) -> dict[str, int]:
    """The names and sizes of the states. All are zero before the first sample."""
    sizes = {
        "held": network.preprocessing.n_channels,
        "started": 1,
        "hidden": sum(part.states for part in network.described.parts),
    }
    if network.cells:
        sizes["cell"] = network.cells
    if network.task.per == "series":
        sizes |= {"mean": network.task.n_outputs, "count": 1}
    return sizes


def models(network: Network) -> tuple[Any, Any]:
    """The step and the sequence as ONNX models.

    The step takes values (B, C), elapsed (B) and each state. It returns outputs (B, K), the new states and, for
    classes, label (B). The sequence takes values (B, T, C) and elapsed (B, T), and returns outputs (B, T, K) and label
    (B, T).
    """
    from onnx import TensorProto, helper

    graph, sizes = step(network), state_sizes(network)
    k, n = network.task.n_outputs, network.preprocessing.n_channels

    def kind(name: str) -> int:
        wide = name.removesuffix("_out") in WIDE
        return TensorProto.INT64 if name == "label" else TensorProto.DOUBLE if wide else TensorProto.FLOAT

    def values(*named: tuple[Any, ...]) -> list[Any]:
        return [helper.make_tensor_value_info(name, kind(name), shape) for name, *shape in named]

    def finished(made: Any) -> Any:
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="torchliquid")
        model.ir_version = 8
        helper.set_model_props(model, described(network))
        return model

    label = [("label",)] if network.task.labels else []
    states = values(*((name, "B", size) for name, size in sizes.items()))
    after = values(*((f"{name}_out", "B", size) for name, size in sizes.items()))
    inputs = values(("values", "B", n), ("elapsed", "B"))
    outputs, *labels = values(("outputs", "B", k), *((*each, "B") for each in label))
    form: dict[str, Any] = {"initializer": graph.constants}
    one = helper.make_graph(graph.nodes, "step", [*inputs, *states], [outputs, *after, *labels], **form)
    body = helper.make_graph(graph.nodes, "body", [*states, *inputs], [*after, outputs, *labels], **form)
    outer = Graph("outer_")
    batch = outer.call("Shape", "values", start=0, end=1, out="batch")
    zeros = []
    for name, size in sizes.items():
        shape = outer.call("Concat", batch, outer.constant([size], np.int64), axis=0, out=f"{name}_shape")
        zero = helper.make_tensor("zero", kind(name), [1], [0.0])
        zeros.append(outer.call("ConstantOfShape", shape, value=zero, out=f"{name}_zero"))
    scan = helper.make_node(
        "Scan",
        [*zeros, "values", "elapsed"],
        [*(f"{name}_last" for name in sizes), *(each.name for each in (outputs, *labels))],
        body=body,
        num_scan_inputs=2,
        scan_input_axes=[1, 1],
        scan_output_axes=[1] * (1 + len(labels)),
    )
    whole = helper.make_graph(
        [*outer.nodes, scan],
        "sequence",
        values(("values", "B", "T", n), ("elapsed", "B", "T")),
        values(("outputs", "B", "T", k), *((*each, "B", "T") for each in label)),
        initializer=outer.constants,
    )
    return finished(one), finished(whole)


def described(network: Network) -> dict[str, str]:
    """Metadata of the files: inputs and outputs as the recording names them. Lists are JSON."""
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
        found |= {"horizon": ",".join(f"{h:g}" for h in task.horizons), "horizon_unit": task.horizon_unit}
    if task.learnt:
        found["learnt"] = task.learnt
    return found


def write(model: Model, folder: Path, samples: tuple[np.ndarray, np.ndarray, np.ndarray]) -> float:
    """Write both files and check them in ONNX Runtime; returns the largest difference from PyTorch, as a share of an
    output's spread.

    Raises:
        InputError: onnx or onnxruntime is not installed, or they differ by more than 1e-3.
    """
    try:
        import onnx
        import onnxruntime  # noqa: F401
    except ImportError:
        raise InputError("ONNX export needs two more packages: pip install 'torchliquid[onnx]'") from None
    network = describe(model)
    for name, made in zip(("step.onnx", "sequence.onnx"), models(network), strict=True):
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, folder / name)
    walked = parity.walk(model, *samples)
    largest = 0.0
    for ran in (run, partial(_stepped, network)):
        outputs = ran(folder, walked.inputs, walked.elapsed, walked.reset)
        largest = max(largest, float((np.abs(outputs - walked.outputs) / walked.spread).max()))
    if not largest <= 1e-3:
        raise InputError(
            f"ONNX Runtime differs from the model by {largest:.2g} of an output's spread: nothing was exported"
        )
    return largest


def run(folder: Path, inputs: np.ndarray, elapsed: np.ndarray, reset: np.ndarray) -> np.ndarray:
    """Outputs of ``sequence.onnx`` in ONNX Runtime for these samples; ``reset`` is true where a series starts."""
    runner, starts = _session(folder / "sequence.onnx"), np.flatnonzero(reset)[1:]
    pieces = zip(np.split(inputs, starts), np.split(elapsed, starts), strict=True)
    return np.concatenate([runner.run(["outputs"], {"values": x[None], "elapsed": t[None]})[0][0] for x, t in pieces])


def _stepped(network: Network, folder: Path, inputs: np.ndarray, elapsed: np.ndarray, reset: np.ndarray) -> np.ndarray:
    """The same of ``step.onnx``, one sample after the other."""
    session, sizes, rows = _session(folder / "step.onnx"), state_sizes(network), []
    for x, time, begins in zip(inputs, elapsed, reset, strict=True):
        if begins:
            state = {name: np.zeros((1, n), np.float64 if name in WIDE else np.float32) for name, n in sizes.items()}
        given = {"values": x[None], "elapsed": time[None], **state}
        outputs, *after = session.run(["outputs", *(f"{name}_out" for name in state)], given)
        state = dict(zip(state, after, strict=True))
        rows.append(outputs[0])
    return np.stack(rows)


def _session(file: Path) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(file), options)


def readme(model: Model, measured: list[str]) -> str:
    """What the two files take and return, as Markdown."""
    network = describe(model)
    sizes = ", ".join(
        f"`{name}` (B, {size}{', double' if name in WIDE else ''})" for name, size in state_sizes(network).items()
    )
    channels = ", ".join(text.remark(c) for c in network.preprocessing.channels)
    n, k = network.preprocessing.n_channels, network.task.n_outputs
    labels = ", ".join(text.remark(label) for label in network.task.labels)
    return (
        f"# {title(network)}\n\n"
        f"Raw readings in this order: {channels}. NaN stands for a missing reading: the last good one is used. "
        f"`elapsed` is the time since the previous sample in {text.remark(network.preprocessing.time_unit)}; "
        "that of the first sample is ignored, an impossible one counts as the usual gap.\n\n"
        f"* `step.onnx`: `values` (B, {n}), `elapsed` (B), and the states {sizes}, zeros at first; returns `outputs` "
        f"(B, {k}) and the new states, `<name>_out`{', and `label` (B)' if labels else ''}.\n"
        f"* `sequence.onnx`: `values` (B, T, {n}), `elapsed` (B, T); returns `outputs` (B, T, {k})"
        f"{f' and `label` (B, T), the index of the answer among {labels}' if labels else ''}.\n\n"
        + "".join(f"* {text.prose(line)}\n" for line in measured)
    )
