"""Forecasts of several steps at once: every kind of model, in a frame, a stream, a file, the report and C."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.helpers.exports import HOST
from torchliquid import Model, Recording
from torchliquid.cli import app, options
from torchliquid.data import Preprocessing
from torchliquid.edge import export
from torchliquid.errors import InputError
from torchliquid.models import Tabular, build, conformal
from torchliquid.models.naive import Naive
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out

STEPS = (1, 2, 6)


def wave(n: int = 600, time_unit: str = "units", gap: float = 1.0) -> Recording:
    rng = np.random.default_rng(0)
    x = np.sin(np.arange(n) / 8) + 0.01 * np.arange(n) + 0.1 * rng.normal(size=n)
    values = np.column_stack([rng.normal(size=n), x])
    return Recording.from_arrays(values, np.arange(n) * gap, channels=["noise", "x"], time_unit=time_unit)


def test_the_truth_is_that_of_each_step_alone() -> None:
    recording = wave(60)
    path = Task.infer(recording, "x", horizon=STEPS)
    alone = [Task.infer(recording, "x", horizon=step) for step in STEPS]
    (series,) = recording.series
    np.testing.assert_array_equal(path.truth(series), np.column_stack([task.truth(series) for task in alone]))
    assert path.mean == pytest.approx([task.mean[0] for task in alone], abs=0.1)
    assert len(set(path.std)) == 1
    assert (path.horizon, path.n_outputs, path.ahead) == (6, 3, "1, 2 and 6")
    assert Task.infer(recording, "x", horizon=range(1, 13)).ahead == "1 to 12"
    assert Task.from_dict(path.to_dict()) == path
    timed = wave(60, "s", 60.0)
    two = Task.infer(timed, "x", horizon=[timedelta(minutes=1), timedelta(minutes=30)])
    assert (two.path, two.value_names) == ((60.0, 1800.0), ("1min", "30min"))
    assert Task.infer(recording, "x", horizon=[6]) == Task.infer(recording, "x", horizon=np.array(6)) == alone[2]


def test_a_step_too_short_for_the_samples_is_the_one_named() -> None:
    with pytest.raises(InputError, match=r"'x' 0\.001 s ahead of it; samples are 60 apart: give 60 or more"):
        Task.infer(wave(60, "s", 60.0), "x", horizon=[0.001, 60.0], horizon_unit="s")


def test_no_two_steps_have_one_name() -> None:
    for unit, path in (
        ("samples", (1234567.0, 1234568.0)),
        ("s", (12345.678, 12345.679)),
        ("s", (1e-7, 2e-7)),
        ("units", (1234567.5, 1234568.5)),
    ):
        task = Task("regression", "step", "x", (), path[-1], unit, 0, path=path)
        assert len(set(task.value_names)) == len(set(task.ahead.split(" and "))) == 2


def test_overall_and_by_step_are_in_the_channels_unit() -> None:
    recording = wave()
    task = Task.infer(recording, "x", horizon=STEPS)
    found = task.metrics([np.zeros((len(recording.series[0]), 3))], recording)
    each = [found[f"rmse[{k}]"] for k in (1, 2, 3)]
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(each))))


@pytest.mark.parametrize("kind", ["naive", "linear", "boosting", "cfc", "gru"])
def test_every_kind_answers_alike_everywhere(kind: str, tmp_path: Path) -> None:
    recording = wave()
    asked = Task.infer(recording, "x", horizon=STEPS)
    training, validation = hold_out(recording, asked)
    scales = Preprocessing.fit(training)
    task = asked.fit(training).from_last(training, validation, scales)
    assert task.change > 0
    if kind == "naive":
        model = Naive.fit(task, scales, training)
    elif kind in ("linear", "boosting"):
        model = Tabular.fit(kind, task, scales, training, validation, lookback=16)
    else:
        model = build(kind, task, scales, 300).eval()
    conformal.add_interval(model, validation, 0.8)  # type: ignore[arg-type]
    frame = model.predict(recording)
    assert frame.columns == [
        *("time", "time_for_1", "time_for_2", "time_for_6", "prediction_1", "prediction_2", "prediction_6"),
        *("lower_1", "upper_1", "lower_2", "upper_2", "lower_6", "upper_6"),
    ]
    np.testing.assert_array_equal(frame["time_for_6"], frame["time"] + 6)
    predictions = frame.select(f"prediction_{k}" for k in STEPS).to_numpy()
    if kind == "naive":
        np.testing.assert_allclose(predictions, recording.series[0].values[:, [1, 1, 1]], atol=1e-6)
        return
    if kind == "linear":
        farthest = Task.infer(recording, "x", horizon=6).fit(training).from_last(training, validation, scales)
        single = Tabular.fit(kind, farthest, scales, training, validation, lookback=16)
        assert model.score(recording, "rmse[3]") == pytest.approx(single.score(recording), rel=0.03)
    model.save(tmp_path / "model.safetensors")
    live = Model.load(tmp_path / "model.safetensors").live()
    rows = [(live.step(row), live.interval) for row in recording.series[0].values]
    np.testing.assert_allclose([row[0] for row in rows], predictions, atol=1e-4)
    ends = frame.select(f"{end}_{k}" for k in STEPS for end in ("lower", "upper")).to_numpy().reshape(-1, 3, 2)
    np.testing.assert_allclose([row[1] for row in rows], ends, atol=1e-4)
    share, _ = conformal.coverage(model, task.with_targets(recording), model.outputs(recording))
    assert 0.7 < share < 0.9
    export(model, HOST, tmp_path / "device", recording)  # type: ignore[arg-type]
    subprocess.run(["make", "-s", "check", "live"], cwd=tmp_path / "device", check=True, capture_output=True)
    lines = "".join(f"{t},{a!r},{b!r}\n" for t, (a, b) in enumerate(recording.series[0].values.tolist()))
    ran = subprocess.run([tmp_path / "device" / "live"], input=lines, capture_output=True, text=True, check=True)
    short = subprocess.run(
        [tmp_path / "device" / "live"], input="0\n1,2,3\n2,4\n3\n", capture_output=True, text=True, check=True
    )
    given = [line.split(",")[:3] for line in short.stdout.splitlines()[1:]]
    assert given == [["0", "", ""], ["1", "2", "3"], ["2", "4", ""], ["3", "", ""]]  # nothing stays from a line before
    said = np.array([line.split(",")[3:] for line in ran.stdout.splitlines()[1:]], dtype=float).reshape(-1, 3, 3)
    same = np.abs(said[..., 0] - predictions).max(1) < 1e-3
    assert same.mean() > (0.9 if kind == "boosting" else 0.999)  # a tree's feature may lie at a threshold
    if kind != "boosting":
        np.testing.assert_allclose(said[..., 1:], ends, atol=2e-3)


@pytest.mark.parametrize(
    ("text", "steps", "unit"),
    [
        ("6", 6.0, "samples"),
        ("1,2, 6", [1, 2, 6], "samples"),
        ("1-4", [1, 2, 3, 4], "samples"),
        ("1-3,12", [1, 2, 3, 12], "samples"),
        ("30min", 1800.0, "s"),
        ("10min,1h", [600, 3600], "s"),
        ("1e-1h", 360.0, "s"),
    ],
)
def test_how_steps_are_given(text: str, steps: object, unit: str) -> None:
    assert options._horizon(text, "s") == (steps, unit)


@pytest.mark.parametrize("text", ["1,30min", "3-1", "1-", "1,,2", "1,", "1-10min", "0-99999999", "a,b"])
def test_how_steps_cannot_be_given(text: str) -> None:
    with pytest.raises(InputError, match=f"--horizon {text}: "):
        options._horizon(text, "s")


@pytest.mark.parametrize(
    ("horizon", "words"),
    [
        *(([2, 1], "nearest first"), ([1, 1], "nearest first"), ([], "nearest first")),
        *((range(1, 300), "at most 256"), ([0, 1], "greater than 0"), ([1.5, 2], "whole number")),
        ([2, timedelta(seconds=20)], "as numbers, or all as timedelta"),
        ([1, 70], r"'x' 1 and 70 samples ahead of it; give a shorter"),
    ],
)
def test_steps_that_make_no_path_are_refused(horizon: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Task.infer(wave(60), "x", horizon=horizon)  # type: ignore[arg-type]


@pytest.mark.parametrize("change", [{"path": [2.0, 1.0]}, {"path": [1.0, 2.0]}, {"path": "x"}, {"path": [1.0, 6.0]}])
def test_a_broken_path_is_refused(change: dict) -> None:
    task = Task.infer(wave(60), "x", horizon=STEPS)
    with pytest.raises(InputError, match="description is invalid"):
        Task.from_dict(task.to_dict() | change)


def test_training_says_how_far_ahead_each_figure_is(tmp_path: Path) -> None:
    rows = wave(200).series[0].values.tolist()
    (tmp_path / "x.csv").write_text("noise,x\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows))
    command = ["train", str(tmp_path / "x.csv"), "--target", "x", "--horizon", "1,6", "--updates", "2"]
    done = CliRunner().invoke(app, [*command, "--parameters", "100", "--out", str(tmp_path / "x.safetensors")])
    assert done.exit_code == 0, done.output
    said = " ".join(done.output.split())
    assert "RMSE 1 sample ahead" in said
    assert "RMSE 6 samples ahead" in said
    assert "of target" not in said


def test_a_study_of_a_path_says_each_step(tmp_path: Path) -> None:
    rows = wave(400).series[0].values.tolist()
    (tmp_path / "x.csv").write_text("noise,x\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows))
    command = ["assess", str(tmp_path / "x.csv"), "--target", "x", "--horizon", "1,2,6", "--out", str(tmp_path / "out")]
    command += ["--contender", "cfc", "--contender", "linear", "--contender", "naive", "--seeds", "2"]
    command += ["--updates", "20", "--tuning", "1", "--parameters", "300", "--interval", "0.8", "--jobs", "1"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    report = (tmp_path / "out" / "report.html").read_text()
    for words in ("RMSE, 1 sample ahead", "RMSE, 6 samples ahead", "1, 2 and 6 samples"):
        assert words in report
    answers = tmp_path / "answers.csv"
    command = ["predict", str(tmp_path / "out" / "best.safetensors"), str(tmp_path / "x.csv"), "--out", str(answers)]
    assert CliRunner().invoke(app, command).exit_code == 0
    head = answers.read_text().splitlines()[0]
    assert "prediction_1,prediction_2,prediction_6,lower_1,upper_1" in head
