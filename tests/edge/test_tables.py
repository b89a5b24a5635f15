"""Linear models and boosted trees as C, against the same in Python, where whole recordings are answered at once."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from tests.edge.test_c import compilers
from tests.helpers.exports import HOST, needs_zig
from tests.helpers.needed import needs
from tests.helpers.small import small_recording
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.data import Preprocessing, Recording
from torchliquid.data.recording import Series
from torchliquid.edge import Limits, artifact, export, parity, table
from torchliquid.edge.compilers import STRICT, run
from torchliquid.edge.export import SAME_STATE
from torchliquid.edge.targets import TARGETS
from torchliquid.errors import InputError
from torchliquid.models.calibration import Calibration
from torchliquid.models.linear import Linear
from torchliquid.models.naive import Naive
from torchliquid.models.tabular import Tabular
from torchliquid.models.trees import GRID, Trees
from torchliquid.tasks import Task

KINDS = (("classification", "step"), ("regression", "step"), ("classification", "series"), ("regression", "series"))


def answers(model: Tabular, recording: Recording) -> np.ndarray:
    """Of whole series at once; of a task per series, the answers to each beginning of one."""
    if model.task.per == "step":
        return np.concatenate(model.outputs(recording))
    cut = [Series(s.times[:n], s.values[:n], None, "") for s in recording.series for n in range(1, len(s) + 1)]
    return np.stack(model.outputs(Recording(tuple(cut), recording.channels, None, recording.time_unit)))


def checked(model: Tabular, recording: Recording, integers: bool, math: str = "builtin") -> artifact.Artifact:
    """The C of a model, which answers as the model does to all rows but those at a tree's threshold."""
    made = artifact.make(model, HOST, math, integers, parity.samples_of(model, recording))  # type: ignore[arg-type]
    found = made.run(None, same_state=False).records["outputs"]
    decided = ~made.undecided(made.walked)
    assert decided.mean() > 0.5
    off = np.abs(found - answers(model, recording)) - table.rounding(made.network)  # type: ignore[arg-type]
    assert (off / made.walked.spread)[decided].max() <= SAME_STATE
    return made


@pytest.mark.parametrize("mask", [False, True])
@pytest.mark.parametrize(("task", "per"), KINDS)
@pytest.mark.parametrize("kind", ["linear", "boosting"])
def test_it_answers_as_python_does_and_compiles_without_a_word(
    kind: str, task: str, per: str, mask: bool, tmp_path: Path
) -> None:
    recording = small_recording((120, 90, 60) if per == "step" else (20,) * 30, per=per)
    fitted = Task(task, per, "target").fit(recording)  # type: ignore[arg-type]
    model = Tabular.fit(kind, fitted, Preprocessing.fit(recording, with_mask=mask), recording, recording, lookback=16)
    fresh = small_recording((70, 12), seed=3)
    for integers in (False, True) if model.trees is not None else (False,):
        for math in ("builtin", "libm"):
            made = checked(model, fresh, integers, math)
            made.write(tmp_path)
            for compiler in compilers() if math == "builtin" else compilers()[:1]:
                run([*compiler, *STRICT, "-Wdouble-promotion", "-O1", "-c", "model.c", "-o", "model.o"], tmp_path)


def drawn_trees(rng: np.random.Generator, features: int, values: int, rounds: int, splits: int) -> Trees:
    """Of any shape, children anywhere behind their parents."""
    feature, left, right = [], [], []
    roots = []
    for _ in range(rounds * values):
        roots.append(len(feature))
        open_ends = [len(feature)]
        feature += [-1]
        left += [0]
        right += [0]
        for _ in range(int(rng.integers(0, splits + 1))):
            node = open_ends.pop(int(rng.integers(len(open_ends))))
            feature[node] = int(rng.integers(features))
            left[node], right[node] = rng.permutation([len(feature), len(feature) + 1])
            open_ends += [len(feature), len(feature) + 1]
            feature += [-1, -1]
            left += [0, 0]
            right += [0, 0]
    n = len(feature)
    split = np.array(feature) >= 0
    threshold = np.where(split, (np.floor(rng.normal(size=n) / GRID) + 0.5) * GRID, 0.0)
    return Trees(
        rng.normal(size=values),
        np.array(roots, dtype=np.int32).reshape(rounds, values),
        np.array(feature, dtype=np.int32),
        threshold,
        np.array(left, dtype=np.int32),
        np.array(right, dtype=np.int32),
        np.where(split, 0.0, rng.normal(size=n)),
        np.ones(n, dtype=np.uint32),
    )


@settings(max_examples=20, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(data=st.data())
def test_of_any_shape(data: st.DataObject) -> None:
    """Channels, lookback, lags, classes, calibration, forecasts of a change, and trees that no training would grow."""
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    channels, n = draw(st.integers(1, 4)), 60
    walk = np.cumsum(rng.normal(size=(n, channels)), 0)
    walk[rng.random(walk.shape) < draw(st.sampled_from([0.0, 0.2]))] = np.nan
    times = np.cumsum(rng.exponential(1.0, n)) if draw(st.booleans()) else np.arange(float(n))
    forecast = draw(st.booleans())
    targets = None if forecast else rng.choice(list("abcd")[: draw(st.integers(2, 4))], n)
    per = "step" if forecast else draw(st.sampled_from(["step", "series"]))
    if per == "series":
        cut = [slice(i, i + 12) for i in range(0, n, 12)]
        targets = ["a", "b", "c", "a", "b"]
        recording = Recording.from_arrays([walk[c] for c in cut], [times[c] for c in cut], targets, time_unit="s")
    else:
        recording = Recording.from_arrays(walk, times, targets, time_unit="s")
    if forecast:
        task = Task.infer(recording, recording.channels[0], horizon=2).fit(recording)
    else:
        task = Task("classification", per, "target").fit(recording)  # type: ignore[arg-type]
    rule = Preprocessing.fit(recording, with_mask=draw(st.booleans()))
    lookback = draw(st.integers(1, 12))
    config: dict[str, Any] = {"lookback": lookback, "uneven": draw(st.booleans())}
    config |= (
        {"aligned": draw(st.sampled_from([0, 12]))} if per == "series" else {"lags": draw(st.integers(0, lookback - 1))}
    )
    model = Tabular("boosting", config, task, rule)
    f, k = model.n_features, 1 if task.n_outputs == 2 else task.n_outputs
    if draw(st.booleans()):
        model.linear = Linear(rng.normal(size=f), rng.uniform(0.5, 2, f), rng.normal(size=(k, f)), rng.normal(size=k))
    model.trees = drawn_trees(rng, f, k, draw(st.integers(1, 4)), draw(st.integers(0, 9)))
    if task.kind == "classification":
        model.recalibrate(Calibration(draw(st.sampled_from([1.0, 0.5, 3.0])), draw(st.sampled_from([0.0, 0.7]))))
    for integers in (False, True):
        checked(model, recording, integers)


@cache
def trained(kind: str) -> tuple[Tabular, Recording]:
    """On a day of room occupancy, and its first test part."""
    from torchliquid.datasets import load

    found = load("occupancy")
    part = replace(found.train, series=tuple(s.cut(0, 2000) for s in found.train.series))
    test = next(iter(found.tests.values()))
    model = Tabular.fit(kind, found.task, Preprocessing.fit(part), part, part, lookback=8)
    return model, test


@pytest.mark.parametrize("kind", ["linear", "boosting"])
def test_a_real_recording_and_what_a_step_costs(kind: str, data_dir: Path, tmp_path: Path) -> None:
    needs_zig()
    needs("qemu-system-arm")
    model, test = trained(kind)
    model.save(tmp_path / "best.safetensors")
    for target in ("cortex-m4", "cortex-m0"):
        sizes = {}
        for integers in (False, True) if kind == "boosting" else (False,):
            out = tmp_path / f"{target}-{integers}"
            report = export(model, TARGETS[target], out, test, int8=integers, name="it", limits=Limits(ram=4096))
            metric = report.plain["metric"]
            assert abs(metric["pytorch"] - metric["export"]) <= 0.001
            assert report.plain["difference_same_state"] <= 1e-3
            sizes[integers] = report.costs["it"]
            done = subprocess.run(["make", "check"], cwd=out, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr
        if kind == "boosting":
            assert sizes[True].flash < 0.85 * sizes[False].flash
            if target == "cortex-m0":  # where floats are compared in software
                assert sizes[True].instructions < sizes[False].instructions
    command = ["export", str(tmp_path / "best.safetensors"), "--target", "cortex-m4", "--out", str(tmp_path / "new")]
    refused = CliRunner().invoke(app, [*command, "--flash-limit", "1k"])
    assert refused.exit_code == 2
    assert "over the limit of 1,024" in refused.output.replace("\n", "")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_c_runs_from_python_and_keeps_its_state(tmp_path: Path) -> None:
    recording = small_recording((120, 90))
    task = Task("regression", "step", "target").fit(recording)
    model = Tabular.fit("boosting", task, Preprocessing.fit(recording), recording, recording, lookback=8)
    export(model, HOST, tmp_path, recording, c_name="pump", int8=model.trees is not None)
    assert json.loads((tmp_path / "footprint.json").read_text())["name"] == "pump"
    script = (
        "from pump import Model; import json, sys\n"
        "rows = json.load(sys.stdin); a, b = Model(), Model()\n"
        "for i, row in enumerate(rows):\n"
        "    if i == 30: b.restore(a.save())\n"
        "    y = a.step(*row)\n"
        "    assert i < 30 or b.step(*row) == y\n"
        "print(*y)"
    )
    inputs, elapsed, _ = parity.samples_of(model, recording)
    rows = [
        [[None if np.isnan(v) else float(v) for v in x], float(t)] for x, t in zip(inputs[:60], elapsed, strict=False)
    ]
    subprocess.run(["make", "libpump.so"], cwd=tmp_path, capture_output=True, check=True)
    done = subprocess.run(
        ["python3", "-c", script], cwd=tmp_path, input=json.dumps(rows), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert abs(float(done.stdout) - model.outputs(recording)[0][59, 0]) < 1e-3


def test_what_there_is_no_c_for_is_said(tmp_path: Path) -> None:
    recording = small_recording((120, 90))
    task = Task("classification", "step", "target").fit(recording)
    scales = Preprocessing.fit(recording)
    model = Tabular.fit("linear", task, scales, recording, recording, lookback=4)
    for target in ("onnx", "web"):
        with pytest.raises(InputError, match=r"Linear.*--target c99"):
            export(model, TARGETS[target], tmp_path / "out")
    with pytest.raises(InputError, match="leave --quantize out"):
        export(model, HOST, tmp_path / "out", int8=True)
    model.linear.weight[0] = 1e60
    with pytest.raises(InputError, match="larger than single precision"):
        table.describe(model)
    Naive.fit(task, scales, recording).save(tmp_path / "naive.safetensors")
    refused = CliRunner().invoke(app, ["export", str(tmp_path / "naive.safetensors"), "--out", str(tmp_path / "out")])
    assert refused.exit_code == 2
    assert "naive model" in refused.output
    assert not (tmp_path / "out").exists()
