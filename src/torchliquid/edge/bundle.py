"""The files that accompany the C: self-test, Makefile, Python module and README."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import LIMIT
from torchliquid.edge import parity, text
from torchliquid.edge.artifact import Artifact
from torchliquid.edge.generate import frame, templates
from torchliquid.edge.network import Network
from torchliquid.edge.parity import Walk
from torchliquid.edge.plausible import CLIPPED
from torchliquid.edge.tabular import Table
from torchliquid.edge.targets import Target
from torchliquid.models.conformal import Interval, Tracker
from torchliquid.tasks import ACROSS

DENSER, MOST_WAITING = 8, 2**20
"""Forecasts that wait for their truth: room for samples this many times as dense as usual, and at most this many."""

STEPS = 48
"""Recorded samples in a self-test, before the samples with faults."""


def write(
    artifact: Artifact,
    target: Target,
    folder: Path,
    measured: list[str],
    table: str,
    warnings: list[str],
    sample: bool = True,
) -> None:
    """All files of an export except footprint.json. Without ``sample`` they contain no recorded sample."""
    artifact.write(folder)
    network = artifact.network
    context: dict[str, Any] = {
        **frame(network, [], artifact.fields, artifact.math),
        **_selftest(artifact if sample else replace(artifact, walked=artifact.made_up(STEPS))),
        **_following(network),
        "target": target,
        "arithmetic": artifact.arithmetic,
        "bounded": network.bounded() or artifact.widths is not None,
        "math_words": "expf and tanhf come from the C library."
        if artifact.math == "libm"
        else "No library is needed: exp and tanh are built in; their errors are below 2.2e-7 and 1.9e-7.",
        "limit_words": f"{LIMIT:,.0f}",
        "label_words": ", ".join(text.remark(label) for label in network.task.labels[:40]),
        "channels_python": list(network.preprocessing.channels),
        "labels_python": list(network.task.labels),
        "quantized": artifact.widths is not None,
        "longest_gap_words": f"{float(network.limits.longest_gap):.6g}",
        "measured": list(map(text.prose, measured)),
        "table": table,
        "warnings": list(map(text.prose, warnings)),
        "fields": [{"name": f.name, "length": f.length, "python": f.kind.removesuffix("_t")} for f in artifact.fields],
    }
    for name in ("selftest.c", "live.c", "Makefile", "README.md", "model.py"):
        written = f"{network.name}.py" if name == "model.py" else name
        content = templates().get_template(f"{name}.j2").render(context)
        (folder / written).write_text(content, encoding="utf-8")


def with_faults(walked: Walk, network: Network | Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first samples, then some of them again with every kind of fault."""
    limits = network.limits
    channel = int(np.isfinite(limits.high).argmax())
    beyond = np.float32(limits.high[channel] + abs(limits.high[channel] - limits.low[channel]))
    inputs, elapsed, reset = (part[:STEPS] for part in (walked.inputs, walked.elapsed, walked.reset))
    week = np.float32(7 * 24 * 3600)
    faults = [
        (np.nan, elapsed[-1]),
        (np.inf, elapsed[-1]),
        (-np.inf, 0.0),
        (np.float32(3e38), -1.0),
        (None, np.nan),
        (None, np.inf),
        # An explicit solver does not stay finite through long gaps.
        *([(None, week), (None, np.float32(limits.longest_gap * 2))] if network.bounded() else []),
        (None, -np.inf),
    ]
    more = np.resize(inputs, (len(faults), inputs.shape[1]))
    times = np.array([time for _, time in faults], dtype=np.float32)
    for i, (value, _) in enumerate(faults):
        if value is not None:
            more[i, i % inputs.shape[1]] = value
    if np.isfinite(beyond):
        more[4, channel] = beyond
    goes_on = np.zeros(len(faults), dtype=bool)
    return np.concatenate([inputs, more]), np.concatenate([elapsed, times]), np.concatenate([reset, goes_on])


def _selftest(artifact: Artifact) -> dict[str, Any]:
    network = artifact.network
    walked = parity.walk(artifact.model, *with_faults(artifact.walked, network), network.limits)
    expected = np.where(artifact.undecided(walked)[:, None], np.nan, walked.outputs)
    first = walked.samples == 1
    status = network.limits.statuses(network.preprocessing, walked.inputs, walked.elapsed, first)
    tolerance, words = 1e-3, f"of the output's spread, against {artifact.by}"
    if artifact.widths is not None or (isinstance(network, Table) and network.integers):
        # The self-test compares with the same integers, run on the machine that exported them.
        ran = replace(artifact, walked=walked).run(None, same_state=False).records
        expected, status = ran["outputs"], status | (ran["status"] & CLIPPED)
        words = "of the output's spread, against the same integers where it was exported"
    spread = artifact.walked.spread
    between = {}
    if network.interval is not None:
        half, off = _halves(network.interval, walked.outputs, walked.reset)
        between = {"half": [_row(row) for row in half], "off": [_row(row) for row in off]}
    return {
        "steps": len(walked),
        "tolerance": text.number(tolerance),
        "tolerance_words": words,
        "readings": [_row(row) for row in walked.inputs],
        "elapsed": text.wrapped(text.number(v) for v in walked.elapsed),
        "reset": text.wrapped(str(int(v)) for v in walked.reset),
        "status": text.wrapped(str(v) for v in status),
        "skips": bool(np.isnan(expected).any()),
        "expected": [_row(row) for row in expected],
        "spread": text.wrapped(text.number(v) for v in spread),
        **between,
    }


def _halves(interval: Interval, outputs: np.ndarray, reset: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T, K) half widths, and how far from its output each truth is told to be: every third a miss."""
    half, off = np.empty(outputs.shape), np.zeros(outputs.shape)
    for k in range(outputs.shape[1]):
        for i in range(len(outputs)):
            if not interval.adaptive:
                half[i, k] = interval.half[k]
                continue
            if reset[i] or not i:
                tracker = Tracker(interval, k)
            half[i, k] = tracker.half
            off[i, k] = tracker.half * (1.5 if (i + k) % 3 == 0 else -0.5)
            tracker.learn(abs(off[i, k]), tracker.half)
    return half, off


def _following(network: Network | Table) -> dict[str, Any]:
    """How the program for lines tells an interval the truths of its forecasts."""
    task, usual = network.task, network.preprocessing.time_scale
    if network.interval is None or not network.interval.adaptive:
        return {"follows": False, "by_samples": False}
    by_samples, farthest = task.horizon_unit == "samples", max(task.horizons)
    waiting = farthest + 1 if by_samples else DENSER * farthest / usual + 16
    return {
        "follows": True,
        "by_samples": by_samples,
        "horizon_unit": "samples" if by_samples else text.remark(task.horizon_unit),
        "ahead": ", ".join(f"{horizon:.9g}" for horizon in task.horizons),
        "waiting": int(min(waiting, MOST_WAITING)),
        "across": f"{ACROSS * usual:.9g}",
    }


def _row(values: np.ndarray) -> str:
    return ", ".join(text.number(v) for v in values)
