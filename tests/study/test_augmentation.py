"""Training on changed copies: what they are, that all contenders get them, and that the report shows both."""

import json
from pathlib import Path

import numpy as np
import pytest

from torchliquid import Recording
from torchliquid.errors import InputError
from torchliquid.study.assess import assess
from torchliquid.study.augmentation import augmented
from torchliquid.study.plan import Plan
from torchliquid.study.results import StudyResults
from torchliquid.study.shifts import GainOffsetDrift
from torchliquid.tasks import Task


def drifting(n: int = 1500) -> Recording:
    """The truth is whether one channel is above the other; drift moves both about a mean far from 0."""
    rng = np.random.default_rng(0)
    x = rng.normal([5.0, 5.0], 1.0, size=(n, 2))
    return Recording.from_arrays(x, targets=np.where(x[:, 0] > x[:, 1], "up", "down"))


def test_copies_change_inputs_alone_and_leave_the_other_parts():
    recording = drifting()
    task = Task.infer(recording)
    plain, plan = Plan.make(recording, task), Plan.make(recording, task, augment=True)
    assert plan.unaugmented.training is plan.original
    assert plan.unaugmented.original is None
    np.testing.assert_array_equal(plan.original.series[0].values, plain.training.series[0].values)
    np.testing.assert_array_equal(plan.validation.series[0].values, plain.validation.series[0].values)
    assert plan.preprocessing.to_dict() == plain.preprocessing.to_dict()
    assert plan.updates == plain.updates
    whole, lost, drifted = plan.training.series
    assert 0.6 < len(lost) / len(whole) < 0.8
    kept = np.searchsorted(whole.times, lost.times)
    np.testing.assert_array_equal(lost.values, whole.values[kept])
    np.testing.assert_array_equal(lost.targets, whole.targets[kept])
    np.testing.assert_array_equal(drifted.targets, whole.targets)
    assert abs(drifted.values - whole.values)[-100:].mean() > 10 * abs(drifted.values - whole.values)[:30].mean()


def test_a_forecast_from_changed_readings_is_of_the_true_value():
    x = np.random.default_rng(0).normal(size=(200, 1)) + 3
    recording = Recording.from_arrays(x, channels=["x"])
    task = Task.infer(recording, "x", horizon=2)
    whole, _, drifted = augmented(task, recording, Plan.make(recording, task).usual).series
    np.testing.assert_array_equal(whole.targets, drifted.targets)
    np.testing.assert_allclose(np.asarray(drifted.targets, float)[:-2], x[2:, 0])
    assert not np.allclose(drifted.values[100:], x[100:])


def test_the_report_shows_both_and_goes_on(tmp_path: Path):
    def study(**options):
        given = {"contenders": ["cfc", "linear", "naive"], "seeds": 2, "tuning": 1, "updates": 60, "parameters": 300}
        return assess(drifting(), tmp_path / "study", augment=True, shifts=(GainOffsetDrift(),), **given, **options)

    results = study()
    assert [c.name for c in results.plain] == ["cfc", "linear"]
    assert [len(c.trials) for c in results.plain] == [2, 1]
    for plain in results.plain:
        with_copies = results.contender(plain.name)
        assert plain.primary is not None
        assert plain.shifted is not None
        assert with_copies.shifted is not None
        assert plain.trials[0].hyper == with_copies.trials[0].hyper
        assert plain.trials[0].tests != with_copies.trials[0].tests
    said = " ".join(results.conditions)
    assert "a copy with 30% of the samples lost at random and a copy with by the end 30% of gain" in said
    page = (tmp_path / "study" / "report.html").read_text("utf-8")
    assert "With and without augmentation" in page
    read = StudyResults.from_json((tmp_path / "study" / "results.json").read_text("utf-8"))
    assert read.plain == results.plain
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("study/trials/*/trial.json")}
    assert study().plain == results.plain
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("study/trials/*/trial.json")} == before
    assert sum(path.parent.name.endswith("-plain") for path in before) == 3
    assert json.loads((tmp_path / "study" / "results.json").read_text("utf-8"))["settings"]["augment"] is True


def test_without_it_nothing_is_said_and_with_a_time_limit_it_is_refused(tmp_path: Path):
    given = {"contenders": ["linear", "naive"], "seeds": 1, "tuning": 1, "shifts": ()}
    results = assess(drifting(300), tmp_path / "plain", **given)
    assert results.plain == ()
    assert "augmentation" not in (tmp_path / "plain" / "report.html").read_text("utf-8").lower()
    with pytest.raises(InputError, match="no time limit"):
        assess(drifting(300), tmp_path / "no", augment=True, time_limit=60, **given)
    assert not (tmp_path / "no").exists()
