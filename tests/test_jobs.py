"""The jobs of ``examples/jobs``: what could make their figures too good."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from examples.jobs import common, engines, intensive_care, markets, pump, wearable

from tests.helpers.needed import needs
from torchliquid import Recording, TrainingConfig, datasets, fit
from torchliquid.study.shifts import shifted
from torchliquid.tasks import Task


@pytest.fixture
def days(tmp_path, monkeypatch) -> pd.DataFrame:
    """Made-up days whose variance clusters, without weekends."""
    monkeypatch.setattr(markets, "FOLDER", tmp_path)
    rng = np.random.default_rng(0)
    dates = pd.bdate_range("2001-01-01", "2003-12-31")
    level = np.zeros(len(dates))
    for t in range(1, len(dates)):
        level[t] = 0.95 * level[t - 1] + 0.2 * rng.normal()
    noisy = level - 10 + 0.5 * rng.normal(size=len(dates))
    moves = 100 * np.exp(level / 2 - 5) * rng.normal(size=len(dates))
    return pd.DataFrame({"log_variance": noisy, "return": moves}, index=dates)


@pytest.mark.parametrize("name", ["walk", "har", "falls", "vix", "garch", "cfc"])
def test_no_forecast_knows_the_future(name: str, days: pd.DataFrame) -> None:
    def made(vix: pd.Series) -> markets.Forecaster:
        return {
            "walk": markets.random_walk,
            "har": markets.linear(markets.of_har),
            "falls": markets.linear(markets.with_falls),
            "vix": markets.linear(partial(markets.with_vix, vix)),
            "garch": markets.garch,
            "cfc": markets.network("cfc", 0, updates=20),
        }[name]

    vix = np.exp(days["log_variance"])
    whole = markets.walk_forward(days, made(vix), [2002, 2003])
    changed = days.copy()
    now = pd.Timestamp("2003-06-16")
    changed.loc[changed.index >= now] *= [0.5, -3]
    other = markets.walk_forward(changed, made(np.exp(changed["log_variance"])), [2002, 2003])
    upto = whole.index <= now
    np.testing.assert_array_equal(whole[upto], other[upto])
    assert (whole[~upto] != other[~upto]).mean() > 0.9
    truth = days["log_variance"].reindex(whole.index)
    assert ((whole - truth) ** 2).mean() < 1.2 * days["log_variance"].diff().var()


def test_nasas_score_punishes_late_more_than_early() -> None:
    assert engines.nasa_score(np.array([0.0])) == 0
    assert engines.nasa_score(np.array([13.0, -13.0])) == pytest.approx(np.exp(1.3) - 1 + np.e - 1)


# -- a wearable


def motions_of(recording: Recording) -> set[bytes]:
    """The recordings of ten seconds in a stream."""
    return {part.tobytes() for s in recording.series for part in np.split(s.values, len(s) // 100)}


def test_no_motion_is_in_two_parts() -> None:
    training, validation, (motions, labels) = wearable.parts()
    test = wearable.streams(motions, labels, orders=1, pieces=wearable.PIECES)
    found = [motions_of(part) for part in (training, validation, test)]
    assert [len(part) for part in found] == [28, 12, 40]
    assert len(set.union(*found)) == 80


def test_the_alarms_of_the_device_are_those_of_python() -> None:
    needs("qemu-system-arm")
    training, validation, test = wearable.parts()
    task = Task.infer(training, primary="average_precision", alarm=wearable.ALARM)
    config = TrainingConfig(updates=60, seed=0)
    model = fit(training, task=task, validation=validation, kind="cfc", parameters=500, config=config)
    recording = wearable.turned(wearable.streams(*test, orders=1, pieces=2), axis=1)
    said = common.detect(model, recording)
    alarm = model.task.alarm
    assert alarm is not None
    for series, output, answers, on in zip(
        recording.series, model.outputs(recording), said.answers, said.on, strict=True
    ):
        np.testing.assert_allclose(answers, output, atol=1e-4)
        at = model.task.decide(answers) == model.task.positive
        np.testing.assert_array_equal(on, alarm.raised(at, series.times))
    assert len(said.instructions) == recording.n_samples
    assert common.counted(model, recording, said.on).events > 0
    assert any(on.any() for on in said.on)


@pytest.mark.parametrize("axis", range(3))
def test_a_watch_is_turned_not_mirrored(axis: int) -> None:
    values = np.random.default_rng(axis).normal(size=(50, 6))
    one = wearable.turned(Recording.from_arrays(values), axis).series[0].values
    for sensor in (slice(0, 3), slice(3, 6)):
        change, *_ = np.linalg.lstsq(values[:, sensor], one[:, sensor], rcond=None)
        assert np.linalg.det(change) == pytest.approx(1)
        assert change[axis, axis] == pytest.approx(1)
    again = wearable.turned(wearable.turned(Recording.from_arrays(values), axis), axis)
    np.testing.assert_array_equal(again.series[0].values, values)


# -- a pump


def test_the_time_since_the_start_of_a_run_does_not_tell_when_its_fault_comes() -> None:
    faults = np.zeros(1000)
    faults[570:800] = 1
    values = np.arange(1000.0)[:, None] + np.arange(8)
    runs = Recording.from_arrays([values] * 12, targets=[faults] * 12, target="anomaly")
    found = pump.entered(runs)
    assert found.n_series == 12 * pump.ENTRIES
    begins = [int(np.flatnonzero(s.targets)[0]) for s in found.series]
    assert np.std(begins) > 80
    for series, begin in zip(found.series, begins, strict=True):
        first = int(series.values[0, 0])
        assert first + begin == 570
        assert len(series) == 1000 - first


# -- intensive care


@pytest.fixture
def patients() -> Recording:
    """Made-up patients with most readings missing, of whom some die."""
    rng = np.random.default_rng(0)
    channels = ["Age", "HR", "Temp", "Lactate", "pH"]
    values, times = [], []
    for _ in range(40):
        n = int(rng.integers(20, 60))
        readings = rng.normal(size=(n, len(channels)))
        readings[rng.random(readings.shape) < 0.6] = np.nan
        values.append(readings)
        times.append(np.sort(rng.choice(48 * 60, n, replace=False)) * 60.0)
    died = [float(i % 4 == 0) for i in range(40)]
    return Recording.from_arrays(values, times, died, channels, "died", "s")


def test_a_silent_laboratory_takes_its_late_readings_alone(patients: Recording) -> None:
    shift = intensive_care.SilentLaboratory()
    half, whole = (shifted(patients, shift, s, None, 0) for s in shift.severities)  # type: ignore[arg-type]
    for before, late, none in zip(patients.series, half.series, whole.series, strict=True):
        np.testing.assert_array_equal(none.values[:, :3], before.values[:, :3])
        assert np.isnan(none.values[:, 3:]).all()
        early = before.times - before.times[0] < 24 * 3600
        np.testing.assert_array_equal(late.values[early], before.values[early])
        assert np.isnan(late.values[~early, 3:]).all()


def test_twice_as_often_adds_a_reading_between_each_two_and_changes_none(patients: Recording) -> None:
    often = shifted(patients, intensive_care.TwiceAsOften(), 2.0, None, 0)  # type: ignore[arg-type]
    for before, after in zip(patients.series, often.series, strict=True):
        assert (np.diff(after.times) >= 0).all()
        for column in range(5):
            (old, new) = (np.isfinite(s.values[:, column]) for s in (before, after))
            times, values = after.times[new], after.values[new, column]
            added = column in (1, 2)
            np.testing.assert_array_equal(times[:: 1 + added], before.times[old])
            np.testing.assert_array_equal(values[:: 1 + added], before.values[old, column])
            if added:
                np.testing.assert_allclose(values[1::2], (values[:-1:2] + values[2::2]) / 2)


# -- their pages


@pytest.mark.slow
@pytest.mark.parametrize("job", [wearable, pump, intensive_care], ids=lambda job: job.__name__.rpartition(".")[2])
def test_a_job_writes_its_page(
    job: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    needs("qemu-system-arm")
    few = ("cfc", "linear", "naive")
    monkeypatch.setattr(common, "FEW", few)
    for name, value in {"FOLDER": tmp_path, "PAGE": tmp_path / "page.md", "SEEDS": 2, "TUNING": 1, "UPDATES": 20,
                        "CONTENDERS": few}.items():  # fmt: skip
        if hasattr(job, name):
            monkeypatch.setattr(job, name, value)
    load = datasets.load

    def fewer(name: str) -> datasets.Dataset:
        found = load(name)
        train, *tests = (
            replace(part, series=part.series[: max(len(part.series) // 10, 10)])
            for part in (found.train, *found.tests.values())
        )
        return replace(found, train=train, tests=dict(zip(found.tests, tests, strict=True)))

    if job is intensive_care:  # patients are many
        monkeypatch.setattr(job, "load", fewer)
    job.main()
    page = (tmp_path / "page.md").read_text("utf-8")
    assert "{" not in page
    assert "CfC (best liquid one): " in page or "CfC (best of all): " in page
    assert "instructions, counted in emulation" in page
