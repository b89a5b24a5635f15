"""Intervals cover as often as they say, in a frame, in a stream, after saving, and under drift."""

import numpy as np
import pytest
from benchmarks.intervals import PROCESSES, one
from tests.helpers.small import small_recording
from typer.testing import CliRunner

from torchliquid import Model, Recording, fit
from torchliquid.cli import app
from torchliquid.cli.amounts import part_of_one
from torchliquid.data import Preprocessing
from torchliquid.errors import InputError
from torchliquid.models import Tabular, conformal
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig
from torchliquid.training.fit import hold_out


@pytest.mark.parametrize("process", PROCESSES)
def test_ninety_per_cent_are_ninety(process):
    """Over 12 draws of 1,200 samples: the deviation of their mean is below one point."""
    found = [one(process, seed) for seed in range(12)]
    if process in ("values", "forecast, steady"):
        assert 0.88 <= np.mean([c.fixed[0] for c in found]) <= 0.92
    else:
        assert np.mean([c.fixed[0] for c in found]) < 0.85  # what drifts is not covered by a width that stays
    if process != "values":
        assert 0.88 <= np.mean([c.adaptive[0] for c in found]) <= 0.92


def test_the_half_width_is_the_corrected_quantile_of_the_errors():
    recording = small_recording((400,), seed=1)
    task = Task("regression", "step", "target").fit(recording)
    model = Tabular.fit("linear", task, Preprocessing.fit(recording), recording, recording, lookback=4)
    conformal.add_interval(model, recording, 0.9)
    errors = np.sort(np.abs(model.outputs(recording)[0][:, 0] - recording.series[0].targets))
    (half,) = conformal.Interval.of(model).half
    assert half == errors[int(np.ceil(401 * 0.9)) - 1]
    frame = model.predict(recording)
    np.testing.assert_allclose(frame["upper"] - frame["prediction"], half, rtol=1e-12)
    np.testing.assert_allclose(frame["prediction"] - frame["lower"], half, rtol=1e-12)


@pytest.mark.parametrize("unit", ["samples", "units"])
def test_a_stream_and_a_saved_model_say_what_the_frame_says(unit, tmp_path):
    recording = PROCESSES["forecast, noise doubles"](np.random.default_rng(0))
    (series,) = recording.series
    holes = series.values.copy()
    holes[1000::7] = np.nan
    gaps = np.random.default_rng(1).uniform(0.9, 1.1, len(series))
    gaps[[600, 1300]] = 1000.0
    times = np.cumsum(gaps)
    recording = Recording.from_arrays(holes, times, channels=["x"])
    task = Task.infer(recording, "x", horizon=3, horizon_unit=unit)
    training, validation = hold_out(recording, task)
    model = Tabular.fit("linear", task.fit(training), Preprocessing.fit(training), training, validation, lookback=4)
    conformal.add_interval(model, validation, 0.8)
    model.save(tmp_path / "m.safetensors")
    said = " ".join(CliRunner().invoke(app, ["inspect", str(tmp_path / "m.safetensors")]).output.split())
    assert f"of 80 %: ±{conformal.Interval.of(model).half[0]:.4g}, following the errors over time" in said
    model = Model.load(tmp_path / "m.safetensors")
    frame = model.predict(recording)
    live, ends = model.live(), []
    for row, gap in zip(holes, np.diff(times, prepend=times[0]), strict=True):
        live.step(row, float(gap))
        ends.append(live.interval[0])
    np.testing.assert_allclose(np.array(ends), frame.select("lower", "upper").to_numpy(), atol=1e-9)
    assert frame["upper"][-1] - frame["lower"][-1] > 1.3 * (frame["upper"][100] - frame["lower"][100])


def test_networks_series_and_several_values_have_intervals(tmp_path):
    rng = np.random.default_rng(0)
    series = [rng.normal(size=(12, 2)) for _ in range(150)]
    both = [np.array([s[:, 0].mean(), 10 * s[:, 1].mean()]) for s in series]
    whole = Recording.from_arrays(series, targets=[each[0] for each in both])
    model = fit(whole, kind="gru", interval=0.9, parameters=200, config=TrainingConfig(updates=40))
    frame = model.predict(whole)
    inside = (frame["lower"] <= frame["prediction"]) & (frame["prediction"] <= frame["upper"])
    assert inside.all()
    x = rng.normal(size=(600, 2))
    several = Recording.from_arrays(x, targets=x * [1, 10])
    model = fit(several, kind="gru", interval=0.9, parameters=200, config=TrainingConfig(updates=40))
    frame = model.predict(several)
    widths = [(frame[f"upper_{k}"] - frame[f"lower_{k}"]).mean() for k in (1, 2)]
    assert widths[1] > 3 * widths[0]


@pytest.mark.parametrize(
    ("task", "level", "words"),
    [
        (Task("classification", "step", "y"), 0.9, "classes have probabilities"),
        (Task("regression", "step", "y"), 1.5, "between 0 and 1"),
        (Task("regression", "step", "y", primary="pinball@0.9"), 0.9, "an interval and a quantile exclude each other"),
    ],
)
def test_where_there_is_no_interval(task, level, words):
    with pytest.raises(InputError, match=words):
        conformal.check_interval(task, level)


def test_how_the_command_says_a_share():
    assert part_of_one("--interval", "90%") == part_of_one("--interval", "0.9") == pytest.approx(0.9)
    assert part_of_one("--interval", None) is None
    for wrong in ("90", "0", "most", "-0.5", "nan"):
        with pytest.raises(InputError, match="between 0 and 1"):
            part_of_one("--interval", wrong)


@pytest.mark.parametrize(
    "change",
    [
        *({"level": 2}, {"level": 10**400}, {"half": []}, {"half": [-1.0]}, {"half": "x"}),
        *({"recent": [1.0] * 101}, {"recent": [1.0]}),
    ],
)
def test_a_broken_interval_is_refused(change):
    recording = small_recording((60,), seed=1)
    task = Task("regression", "step", "target").fit(recording)
    model = Tabular.fit("linear", task, Preprocessing.fit(recording), recording, recording, lookback=1)
    conformal.add_interval(model, recording, 0.9)
    model.metadata["interval"] |= change
    with pytest.raises(InputError, match="interval is invalid"):
        model.predict(recording)
