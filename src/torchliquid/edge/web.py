"""A model as a page that runs it: its C compiled to WebAssembly, its circuit, and inputs that the reader can change."""

from __future__ import annotations

import base64
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from torchliquid import page
from torchliquid.edge.artifact import Artifact
from torchliquid.edge.compilers import DEVICE, LEAN, STRICT, run, write_for_programs, zig
from torchliquid.edge.generate import title
from torchliquid.explain.report import answer_names, drawn, synapse_table
from torchliquid.explain.wiring import wiring
from torchliquid.files import to_plain
from torchliquid.models import Model
from torchliquid.page.glossary import NETWORKS
from torchliquid.page.numbers import count

SHOWN = 400
"""Number of samples that the page starts with."""

EXPORTS = ("inputs", "outputs", "hidden", "features", "init", "step", "left")

MEMORY = "time constant"
GLOSSARY = {
    **NETWORKS,
    MEMORY: "The time in which a small push to a neuron fades to 37 %, if all steps are like the last one. It is "
    "measured here, by pushing the neuron. It changes with the inputs: this is what makes the network liquid.",
    "excitatory": "A synapse that drives the neuron up.",
    "inhibitory": "A synapse that drives the neuron down.",
    "usual gap": "The median time between two samples of the recording that the network was trained on.",
}


def write(artifact: Artifact, file: Path, sample: bool = True) -> int:
    """Write the page.

    Args:
        artifact: in single precision, with built-in exp and tanh.
        file: the page.
        sample: start with the samples that the export was checked on, otherwise with synthetic ones.

    Returns:
        The size of the WebAssembly module in bytes.

    Raises:
        InputError: ziglang is not installed, or the model has no circuit to draw.
    """
    program = _compiled(artifact)
    page.write_page(_render(artifact, program, sample), file)
    return len(program)


def _compiled(artifact: Artifact) -> bytes:
    with TemporaryDirectory() as where:
        folder = Path(where)
        source = write_for_programs(artifact.files, artifact.network.name, folder)
        machine = ("-target", "wasm32-freestanding", "-mcpu=generic+bulk_memory+simd128", "-O3", *LEAN)
        command = [*zig(), *machine, f"-I{folder}"]
        run([*command, *STRICT, "-c", source, "-o", folder / "model.o"])
        link = ["-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", *(f"-Wl,--export=web_{each}" for each in EXPORTS)]
        run([*command, folder / "model.o", DEVICE / "web.c", "-o", folder / "model.wasm", *link])
        return (folder / "model.wasm").read_bytes()


def _render(artifact: Artifact, program: bytes, sample: bool) -> str:
    model, network = artifact.model, artifact.network
    assert isinstance(model, Model)
    scales, task = model.preprocessing, model.task
    circuit = wiring(model)
    answers = answer_names(task)
    walked = artifact.walked if sample else artifact.made_up(SHOWN)
    spread = 2 * scales.std
    low, high = (
        usual if seen is None else np.where(np.isfinite(seen), seen, usual)
        for seen, usual in ((scales.low, scales.mean - spread), (scales.high, scales.mean + spread))
    )
    alarm = task.alarm
    data = {
        **drawn(circuit, answers, {}),
        "start": scales.n_inputs,
        "times": [], "inputs": [], "states": [], "taus": [], "answers": [],
        "clock": scales.time_unit,
        "unit": scales.time_unit,
        "tau": MEMORY,
        "strip": [],
        "program": base64.b64encode(program).decode(),
        "channels": [
            {"name": name, "mean": mean, "low": a, "high": b}
            for name, mean, a, b in zip(scales.channels, scales.mean, low, high, strict=True)
        ],
        "features": scales.n_inputs,
        "units": network.units,
        "gap": scales.time_scale,
        "time": model.metadata.get("columns", {}).get("time"),
        "missing": model.metadata.get("columns", {}).get("missing") or [],
        "target": task.target,
        "labels": list(task.labels),
        "threshold": alarm.threshold if alarm is not None else None,
        "positive": task.positive if alarm is not None else None,
        "forecast": task.horizon is not None,
        "began": {
            "name": "samples that the export was checked on" if sample else "synthetic samples",
            "readings": walked.inputs[:SHOWN],
            "elapsed": walked.elapsed[:SHOWN],
            "starts": walked.reset[:SHOWN],
            "expected": walked.outputs[:SHOWN],
        },
    }  # fmt: skip
    return page.render(
        "torchliquid.explain",
        "play.html.j2",
        {},
        GLOSSARY,
        data=to_plain(data, 9),
        style="circuit.css",
        scripts=("circuit.js", "play.js"),
        title=title(network),
        kind=model.kind,
        target=task.target,
        about=f"{count(network.units)} neurons, {scales.n_channels} inputs, "
        f"{count(model.live_parameters())} parameters",
        kilobytes=f"{len(program) / 1000:,.0f}",
        channels=data["channels"],
        clock=scales.time_unit,
        gap=scales.time_scale,
        circuit=circuit,
        tau=MEMORY,
        synapses=synapse_table(circuit),
    )
