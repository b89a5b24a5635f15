"""Watching without labels: what is found, how often wrongly, and the same on live samples, from a file and in C."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

import torchliquid as tl
from torchliquid.cli import app
from torchliquid.data import Preprocessing, Recording
from torchliquid.edge import TARGETS, export
from torchliquid.errors import InputError
from torchliquid.models import Model
from torchliquid.models.tabular import Tabular
from torchliquid.runtime.watch import WatchStream
from torchliquid.tasks import Task
from torchliquid.watching.learn import joint

NAMES = ("motor", "flow", "heat")


def plant(n: int = 1500, seed: int = 0, broken: slice | None = None, holes: float = 0.0) -> Recording:
    """Three coupled sensors on scales of their own; while it is broken the second reads too much."""
    rng = np.random.default_rng(seed)
    ways = np.array([[0.8, 0.1, 0.0], [0.2, 0.7, 0.0], [0.0, 0.1, 0.95]])
    x = np.zeros((n, 3))
    for t in range(1, n):
        x[t] = ways @ x[t - 1] + rng.normal(size=3) * [1, 0.5, 0.1]
    if broken is not None:
        x[broken, 1] += np.linspace(6, 9, len(x[broken]))
    x = x * [1, 100, 0.01] + [0, 5000, 3]
    x[rng.random(x.shape) < holes] = np.nan
    return Recording.from_arrays(x, np.arange(n) * 2.0, None, NAMES, time_unit="s")


def test_it_says_which_sensor_and_since_when() -> None:
    found = tl.watch(plant(broken=slice(1000, 1300)), good=0.5)
    assert found.notes == ()
    first = found.findings[0]
    assert first.sensor == "flow"
    assert 2000 <= first.since <= 2010
    assert first.since <= first.raised <= first.until
    assert found.on[0][1010:1290].mean() > 0.5
    assert found.on[0][:1000].mean() < 0.01
    frame = found.frame()
    assert frame.columns == ["time", "score", "sensor", "alarm", "good"]
    assert frame["good"].sum() == 750
    assert any("taken for good: the first 30%" in note for note in tl.watch(plant()).notes)


def test_as_many_good_samples_are_usual_as_asked_for() -> None:
    """By simulation: of new samples 95 % have all their readings inside."""
    shares = [
        np.mean(np.concatenate(tl.watch(plant(2400, seed), good=0.5, level=0.95).scores)[1200:] <= 1)
        for seed in range(20)
    ]
    assert 0.935 <= np.mean(shares) <= 0.965
    rng = np.random.default_rng(0)
    rule = Preprocessing.fit(plant())
    half, reached = joint(np.abs(rng.normal(size=(60, 3))), rule, 0.99)
    assert reached == pytest.approx(60 / 61)
    assert (half > 0).all()


def test_a_stream_and_a_file_say_the_same(tmp_path: Path) -> None:
    recording = plant(900, broken=slice(600, 700), holes=0.05)
    found = tl.watch(recording, good=(0, 1000))
    found.model.save(tmp_path / "watch.safetensors")
    loaded = Model.load(tmp_path / "watch.safetensors")
    again = tl.watch(recording, model=tmp_path / "watch.safetensors")
    np.testing.assert_array_equal(again.scores[0], found.scores[0])
    again = tl.watch(recording, model=loaded)
    np.testing.assert_array_equal(again.ratios[0], found.ratios[0])
    assert again.findings == found.findings
    stream = tl.stream(loaded)
    assert isinstance(stream, WatchStream)
    series = recording.series[0]
    durations = []
    for i in range(len(series)):
        when = {"time": series.times[i]} if i > 400 else {"elapsed": 2.0}
        ratios = stream.step(series.values[i], **when)
        np.testing.assert_allclose(ratios, found.ratios[0][i], rtol=1e-6, atol=1e-9)
        assert stream.score == pytest.approx(found.scores[0][i], abs=1e-9)
        assert stream.alarm == found.on[0][i]
        durations.append(stream.unusual_for)
    at = int(np.flatnonzero(series.times == found.findings[0].raised)[0])
    assert durations[at] == pytest.approx(found.findings[0].raised - found.findings[0].since)
    stream.reset()
    np.testing.assert_allclose(stream.step(series.values[:300], 2.0), found.ratios[0][:300], rtol=1e-6, atol=1e-9)
    assert isinstance(loaded.predict(recording)["prediction_2"][5], float)  # the forecasts


def test_a_channel_that_stood_still_is_unusual_when_it_moves() -> None:
    recording = plant(600)
    values = np.column_stack([recording.series[0].values, np.full(600, 32.0)])
    values[450:, 3] = 32.5
    found = tl.watch(Recording.from_arrays(values, channels=[*NAMES, "valve"]), good=0.5)
    assert any("valve" in note for note in found.notes)
    assert found.findings[0].sensor == "valve"


def test_a_real_pump(data_dir: Path, tmp_path: Path) -> None:
    """SKAB: a run whose valve is closed after about ten minutes."""
    table = data_dir / "skab" / "valve1" / "0.csv"
    asked = ["watch", str(table), "--time", "datetime", "--ignore", "anomaly", "--ignore", "changepoint"]
    done = CliRunner().invoke(app, [*asked, "--good", "35%", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {f.name for f in (tmp_path / "out").iterdir()} == {
        "watch.html", "alarms.csv", "scores.csv", "watch.safetensors",
    }  # fmt: skip
    scores = pl.read_csv(tmp_path / "out" / "scores.csv")
    truth = pl.read_csv(table, separator=";")["anomaly"] > 0
    assert scores["alarm"].filter(truth).mean() > 0.4
    assert not scores["alarm"].filter(scores["good"]).any()
    other = CliRunner().invoke(
        app, ["watch", str(table), "--model", str(tmp_path / "out" / "watch.safetensors"), "--out", str(tmp_path / "b")]
    )
    assert other.exit_code == 0, other.output
    assert (tmp_path / "b" / "alarms.csv").read_text() == (tmp_path / "out" / "alarms.csv").read_text()


def test_names_in_its_tables_do_not_run_in_a_spreadsheet(tmp_path: Path) -> None:
    values = plant(broken=slice(1000, 1300)).series[0].values
    pl.DataFrame(values, schema=["=motor()", "@flow", "heat"]).write_csv(tmp_path / "plant.csv")
    asked = ["watch", str(tmp_path / "plant.csv"), "--good", "50%", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0, done.output
    for name in ("scores", "alarms"):
        sensors = pl.read_csv(tmp_path / "out" / f"{name}.csv")["sensor"].drop_nulls()
        assert "'@flow" in sensors
        assert not sensors.str.contains("^[=@]").any()


def test_the_forecasts_run_in_c_and_it_is_said_that_scores_do_not(tmp_path: Path) -> None:
    model = tl.watch(plant(), good=0.5).model
    report = export(model, TARGETS["c99"], tmp_path / "c", plant(300, 1))  # type: ignore[arg-type]
    assert report.plain["difference_same_state"] < 1e-4
    assert any(re.search("no scores; half widths", warning) for warning in report.warnings)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"good": 0.0}, "more than 0"),
        ({"good": 0.01}, "50 or more are needed"),
        ({"good": (10, 5)}, "ends"),
        ({"good": (1e6, 2e6)}, "no sample from"),
        ({"level": 1.0}, "level"),
        ({"good": "30%"}, "a share, or its first and last time"),
        ({"good": (1, 2, 3)}, "a share, or its first and last time"),
        ({"length": -1}, "length is a time of 0 or more"),
        ({"merge": "30s"}, "merge is a time of 0 or more"),
    ],
)
def test_what_cannot_be_learnt_is_said(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        tl.watch(plant(), **options)


def test_models_that_watch_nothing_are_refused(tmp_path: Path) -> None:
    recording = plant(300)
    labelled = replace(
        recording, target="x", series=tuple(replace(s, targets=s.values[:, 0]) for s in recording.series)
    )
    task = Task.infer(labelled, kind="regression", per="step").fit(labelled)
    plain = Tabular.fit("linear", task, Preprocessing.fit(recording), labelled, labelled, lookback=1)
    with pytest.raises(InputError, match="watches nothing"):
        tl.watch(recording, model=plain)
    found = tl.watch(recording, good=0.5).model
    for broken in ({"length": -1, "merge": 0, "good": ""}, {"length": "x"}, {}, 3):
        found.metadata["watch"] = broken
        with pytest.raises(InputError, match="broken"):
            tl.stream(found)
    with pytest.raises(InputError, match="leave these out"):
        tl.watch(recording, good=0.5, model=found)
    refused = CliRunner().invoke(app, ["watch", str(tmp_path / "no.csv"), "--good", "5 apples"])
    assert refused.exit_code == 2
