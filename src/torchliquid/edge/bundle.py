"""What comes beside the C: self-test, Makefile, Python module, README."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import parity, text
from torchliquid.edge.artifact import Artifact
from torchliquid.edge.generate import frame, templates
from torchliquid.edge.parity import Walk
from torchliquid.edge.targets import Target

STEPS = 48
"""Recorded samples in a self-test, before those with faults."""


def write(
    artifact: Artifact, target: Target, folder: Path, measured: list[str], table: str, warnings: list[str]
) -> None:
    """All files of an export but footprint.json."""
    artifact.write(folder)
    network = artifact.network
    context: dict[str, Any] = {
        **frame(network, [], artifact.fields, artifact.math),
        **_selftest(artifact),
        "target": target,
        "arithmetic": artifact.arithmetic,
        "bounded": network.bounded() or artifact.widths is not None,
        "math_words": "expf and tanhf come from the C library."
        if artifact.math == "libm"
        else "No library is needed: exp and tanh are built in, wrong by less than 2.2e-7 and 1.9e-7.",
        "limit_words": f"{LIMIT:,.0f}",
        "channel_words": ", ".join(text.remark(c) for c in network.preprocessing.channels[:40]),
        "label_words": ", ".join(text.remark(label) for label in network.task.labels[:40]),
        "channels_python": ascii(list(network.preprocessing.channels)),
        "labels_python": ascii(list(network.task.labels)),
        "measured": measured,
        "table": table,
        "warnings": warnings,
    }
    context["fields"] = [
        {"name": f.name, "length": f.length, "python": f.kind.removesuffix("_t")} for f in artifact.fields
    ]
    for name in ("selftest.c", "Makefile", "README.md", "model.py"):
        (folder / name).write_text(templates().get_template(f"{name}.j2").render(context))


def with_faults(walked: Walk, bounded: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first samples, and some again with everything that can go wrong in them.

    Args:
        bounded: whether the network stays finite through a week's gap; an explicit solver does not.
    """
    n = min(len(walked), STEPS)
    inputs, elapsed, anew = (part[:n].copy() for part in (walked.inputs, walked.elapsed, walked.anew))
    week = np.float32(7 * 24 * 3600)
    faults = [
        (np.nan, elapsed[-1]),
        (np.inf, elapsed[-1]),
        (-np.inf, 0.0),
        (np.float32(3e38), -1.0),
        (None, np.nan),
        (None, np.inf),
        *([(None, week)] if bounded else []),
        (None, -np.inf),
    ]
    more = np.resize(inputs, (len(faults), inputs.shape[1]))
    times = np.zeros(len(faults), dtype=np.float32)
    for i, (value, time) in enumerate(faults):
        if value is not None:
            more[i, i % inputs.shape[1]] = value
        times[i] = time
    return (
        np.concatenate([inputs, more]),
        np.concatenate([elapsed, times]),
        np.concatenate([anew, np.zeros(len(faults), dtype=bool)]),
    )


def statuses(artifact: Artifact, walked: Walk) -> np.ndarray:
    """What model_step returns, by the rule: 1 where a reading is held, 2 where a time is replaced."""
    rule = artifact.network.preprocessing
    held = ~rule.observed(walked.inputs.astype(np.float64))
    span = ~((walked.elapsed >= 0) & np.isfinite(walked.elapsed)) & (walked.samples > 1)
    result: np.ndarray = held.any(1) * 1 + span * 2
    return result


def _selftest(artifact: Artifact) -> dict[str, Any]:
    walked = parity.walk(artifact.model, *with_faults(artifact.walked, artifact.network.bounded()))
    expected = walked.outputs
    tolerance, words = 1e-3, "of the output's spread, against PyTorch"
    if artifact.widths is not None:
        # The integers are checked against the same integers on the machine that exported them.
        expected = replace(artifact, walked=walked).run(None, same_state=False).records["outputs"]
        words = "of the output's spread, against the same integers where it was exported"
    spread = artifact.walked.spread
    return {
        "steps": len(walked),
        "tolerance": text.number(tolerance),
        "tolerance_words": words,
        "readings": [_row(row) for row in walked.inputs],
        "elapsed": text.wrapped(_number(v) for v in walked.elapsed),
        "anew": text.wrapped(str(int(v)) for v in walked.anew),
        "status": text.wrapped(str(v) for v in statuses(artifact, walked)),
        "expected": [_row(row) for row in expected],
        "spread": text.wrapped(_number(v) for v in spread),
    }


def _row(values: np.ndarray) -> str:
    return ", ".join(_number(v) for v in values)


def _number(value: float) -> str:
    if np.isnan(value):
        return "NAN"
    if np.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return text.number(value)
