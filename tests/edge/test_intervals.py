"""Intervals on a device: the ends that Python gives, along a process that changes, from the program for lines."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from benchmarks.intervals import PROCESSES
from tests.edge.test_c import compilers
from tests.helpers.exports import HOST, needs_zig

from torchliquid import Recording, fit
from torchliquid.data import Preprocessing
from torchliquid.edge import export
from torchliquid.edge.compilers import STRICT, run
from torchliquid.edge.targets import TARGETS
from torchliquid.errors import InputError
from torchliquid.mcp.lines import Lines
from torchliquid.models import Model, Tabular, build
from torchliquid.models.conformal import Band, Interval, add_interval
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig
from torchliquid.training.fit import hold_out


def process(unit: str) -> Recording:
    """Its noise doubles half way; with holes, and in time with uneven gaps, two of them long."""
    (series,) = PROCESSES["forecast, noise doubles"](np.random.default_rng(0)).series
    values, times = series.values[600:1800].copy(), np.arange(1200.0)
    values[500::7] = np.nan
    if unit == "units":
        gaps = np.random.default_rng(1).uniform(0.9, 1.1, len(values))
        gaps[[700, 900]] = 1000.0
        times = np.cumsum(gaps)
    return Recording.from_arrays(values, times, channels=["x"])


@cache
def fitted(kind: str, unit: str) -> Model | Tabular:
    """On the quiet half; a network is as it was drawn, so its errors are large."""
    (series,) = process(unit).series
    quiet = replace(process(unit), series=(series.cut(0, 600),))
    task = Task.infer(quiet, "x", horizon=3, horizon_unit=unit)
    training, validation = hold_out(quiet, task)
    task, scales = task.fit(training), Preprocessing.fit(training)
    torch.manual_seed(0)
    model: Any = None
    if kind in ("linear", "boosting"):
        model = Tabular.fit(kind, task, scales, training, validation, lookback=4)
    else:
        model = build(kind, task, scales, 200).eval()
    add_interval(model, validation, 0.8)
    return model


@pytest.mark.parametrize(
    ("kind", "int8", "unit"),
    [
        *((kind, False, "samples") for kind in ("cfc", "ltc", "gru", "linear")),
        *((kind, True, "samples") for kind in ("cfc", "boosting")),
        *(("linear", False, "units"), ("cfc", False, "units"), ("lstm", True, "units")),
    ],
)
def test_the_program_for_lines_follows_the_errors_as_python_does(kind, int8, unit, tmp_path):
    recording = process(unit)
    (series,) = recording.series
    model = fitted(kind, unit)
    scaled_by = recording if int8 and isinstance(model, Model) else None
    done = export(model, HOST, tmp_path, scaled_by, int8=int8, calibrate=scaled_by, c_name="pump")
    assert not any("interval" in warning for warning in done.warnings)
    subprocess.run(["make", "-s", "check", "live"], cwd=tmp_path, check=True, capture_output=True)
    rows = zip(series.times.tolist(), series.values[:, 0].tolist(), strict=True)
    lines = "".join(f"{time!r},{'' if np.isnan(x) else repr(x)}\n" for time, x in rows)
    ran = subprocess.run([tmp_path / "live"], input=lines, capture_output=True, text=True, check=True)
    head, *told = ran.stdout.splitlines()
    assert head == 'time,"x",answer[0],lower[0],upper[0]'
    found = np.array([line.split(",")[2:] for line in told], dtype=float)
    band = Band(model.task, Interval.of(model), model.preprocessing.time_scale)
    spans, ends = np.diff(series.times, prepend=series.times[0]), []
    for x, span, answer in zip(series.values[:, 0], spans, found[:, :1], strict=True):
        band.step(float(x), float(span), answer)
        ends.append(band.ends[0])
    np.testing.assert_allclose(found[:, 1:], ends, rtol=1e-5, atol=1e-4)
    widths = found[:, 2] - found[:, 1]
    assert widths[700:].mean() > 1.2 * widths[:500].mean()
    if not int8:
        frame = model.predict(recording)
        np.testing.assert_allclose(found, frame.select("prediction", "lower", "upper").to_numpy(), atol=1e-4)
    reader = Lines(("x",))
    assert reader.read(head.encode()) is None
    sample = reader.read(told[0].encode())
    assert set(sample.values) == {"x"}
    assert len(sample.answers) == 1


def test_a_saved_state_keeps_the_widths_and_fixed_ones_never_move(tmp_path):
    model = deepcopy(fitted("linear", "samples"))
    export(model, HOST, tmp_path, c_name="saved_pump")
    subprocess.run(["make", "-s", "libsaved_pump.so"], cwd=tmp_path, check=True)
    code = """
from saved_pump import Model
model = Model()
def width():
    lower, upper = model.interval(model.step([0.0], 1.0))
    return upper[0] - lower[0]
first = width()
for nothing in (float("nan"), float("inf")):
    model.truth(0, nothing, 0.0, first)
model.truth(5, 1e6, 0.0, first)
assert width() == first
for _ in range(20):
    model.truth(0, 3 * first, 0.0, first)
wide = width()
assert wide > 1.5 * first
kept = model.save()
model.reset()
assert width() == first
model.restore(kept)
assert width() == wide
for _ in range(400):
    model.truth(0, first / 2, 0.0, first)
assert 0 <= width() < first
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2))
    several = Recording.from_arrays(x, targets=x * [1, 10])
    model = fit(several, kind="gru", interval=0.9, parameters=200, config=TrainingConfig(updates=40))
    export(model, HOST, tmp_path / "fixed")
    for compiler in compilers():
        run([*compiler, *STRICT, "-Wdouble-promotion", "-c", "model.c", "-o", "model.o"], tmp_path / "fixed")
    subprocess.run(["make", "-s", "check", "libmodel.so"], cwd=tmp_path / "fixed", check=True, capture_output=True)
    assert "model_truth" not in (tmp_path / "fixed" / "model.h").read_text()
    code = "from model import Model\nm = Model()\no = m.step([1.0, 1.0], 1.0)\nprint(*o, *sum(m.interval(o), []))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "fixed", capture_output=True, check=True)
    numbers = np.array(ran.stdout.split(), dtype=float).reshape(3, 2)
    half = Interval.of(model).half
    np.testing.assert_allclose(numbers, [numbers[0], numbers[0] - half, numbers[0] + half], rtol=1e-5)


def test_flash_and_state_count_what_intervals_need(tmp_path):
    needs_zig()
    model, costs = deepcopy(fitted("linear", "samples")), []
    for name in ("with", "without"):
        done = export(model, TARGETS["cortex-m0"], tmp_path / name, c_name="pump")
        costs.append(done.plain["flash"] if "flash" in done.plain else done.plain["models"]["this model"]["flash"])
        header = (tmp_path / name / "pump.h").read_text()
        assert ("pump_interval" in header) == (name == "with")
        model.metadata.pop("interval", None)
    assert costs[0] - costs[1] > 4 * 100  # the errors of the validation part, and two functions


def test_an_interval_that_single_precision_cannot_hold_is_refused(tmp_path):
    model = deepcopy(fitted("linear", "samples"))
    model.metadata["interval"]["half"] = [1e39]
    with pytest.raises(InputError, match="single precision cannot hold the interval"):
        export(model, HOST, tmp_path / "out")
    assert not (tmp_path / "out").exists()
