"""Walking forward: trained anew before each stretch, on nothing that comes later, and judged over all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.test_path import wave
from typer.testing import CliRunner

from torchliquid import Model, Recording, assess
from torchliquid.cli import app
from torchliquid.errors import InputError
from torchliquid.study.plan import Plan
from torchliquid.study.results import POOLED
from torchliquid.study.shifts import LostSamples
from torchliquid.tasks import Task

STRETCHES = 3
QUICK = {"contenders": ["cfc", "linear", "naive"], "seeds": 2, "tuning": 2, "updates": 15, "parameters": 200}


def changed(recording: Recording, start: int) -> Recording:
    """With another future from a sample on."""
    (series,) = recording.series
    values = series.values.copy()
    values[start:] = np.random.default_rng(1).normal(size=values[start:].shape) * 3
    return replace(recording, series=(replace(series, values=values),))


def run(recording: Recording, out: Path, **options):
    task = Task.infer(recording, "x", horizon=[1, 3])
    return assess(recording, out, task=task, walk_forward=STRETCHES, interval=0.8, **{"shifts": (), **QUICK, **options})


def test_each_training_has_all_that_came_before_and_nothing_else() -> None:
    recording = wave(400)
    plan = Plan.walk_forward(recording, Task.infer(recording, "x", horizon=2), STRETCHES)
    assert list(plan.tests) == ["stretch 1", "stretch 2", "stretch 3"]
    (series,) = recording.series
    for i, (test, at) in enumerate(zip(plan.tests.values(), (100, 200, 300), strict=True)):
        parts = plan.at(i).training, plan.at(i).validation
        np.testing.assert_array_equal(np.concatenate([p.series[0].values for p in parts]), series.values[:at])
        np.testing.assert_array_equal(test.series[0].values, series.values[at : at + 100])
    assert "at 100, 200, 300" in plan.split[0]


def test_no_model_knows_the_future(tmp_path: Path) -> None:
    """With another last stretch, all figures of the earlier ones are the same, and the last ones are not."""
    recording = wave(600)
    one = run(recording, tmp_path / "one")
    other = run(changed(recording, 450), tmp_path / "other")
    for name in ("cfc", "linear", "naive"):
        before, after = (results.contender(name).trials for results in (one, other))
        assert [t.validation for t in before] == [t.validation for t in after]
        for was, now in zip(before, after, strict=True):
            for stretch in ("stretch 1", "stretch 2"):
                assert was.tests[stretch] == now.tests[stretch]
                assert was.coverage[stretch] == now.coverage[stretch]
            assert was.tests["stretch 3"] != now.tests["stretch 3"]
    best = one.contender("linear")
    overall, each = best.trials[0].tests[POOLED], [best.trials[0].tests[f"stretch {k}"] for k in (1, 2, 3)]
    assert overall["rmse"] == pytest.approx(np.sqrt(np.mean([m["rmse"] ** 2 for m in each])))
    assert best.primary is not None
    assert best.primary.unit == "stretches"
    saved = Model.load(tmp_path / "one" / "best.safetensors")
    last = Plan.walk_forward(recording, Task.infer(recording, "x", horizon=[1, 3]), STRETCHES).at(2)
    np.testing.assert_array_equal(saved.preprocessing.mean, last.preprocessing.mean)  # the last training's


def test_it_continues_where_it_was_stopped(tmp_path: Path) -> None:
    recording, out = wave(600), tmp_path / "out"
    whole = run(recording, out)
    trained = sorted(path.name for path in (out / "trials").iterdir())
    assert sum(name.endswith("-refit2") for name in trained) == 2 + 1 + 1  # two seeds of the network, one of the others
    for path in (
        out / "results.json",
        *(out / "trials").glob("linear*-refit1/*"),
        *(out / "evaluations").glob("linear*/*"),
    ):
        path.unlink()
    again = run(recording, out)
    assert [t.tests for t in again.contender("linear").trials] == [t.tests for t in whole.contender("linear").trials]


def test_the_interval_is_over_independent_stretches_of_all_that_was_tested(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1200, 2))
    x[1:, 1] += 0.8 * x[:-1, 0]
    recording = Recording.from_arrays(x, channels=["noise", "x"])
    results = run(recording, tmp_path / "out", contenders=["cfc", "linear"], seeds=1, tuning=1)
    interval = results.contender("linear").primary
    assert interval is not None
    assert interval.known
    assert interval.blocks > STRETCHES
    assert 0.9 < interval.value < 1.4


def test_under_shifts_and_from_the_command(tmp_path: Path) -> None:
    run(wave(600), tmp_path / "shifted", shifts=(LostSamples(),), contenders=["linear", "cfc"], seeds=1)
    rows = wave(600).series[0].values.tolist()
    (tmp_path / "x.csv").write_text("noise,x\n" + "".join(f"{a!r},{b!r}\n" for a, b in rows))
    command = ["assess", str(tmp_path / "x.csv"), "--target", "x", "--horizon", "2", "--walk-forward", "3"]
    command += ["--contender", "cfc", "--contender", "linear", "--seeds", "1", "--updates", "10", "--tuning", "1"]
    done = CliRunner().invoke(app, [*command, "--jobs", "1", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    report = (tmp_path / "out" / "report.html").read_text()
    assert "trained anew on all that came before" in report
    assert "stretch 3" in report
    refused = CliRunner().invoke(app, ["assess", str(tmp_path / "x.csv"), "--target", "x", "--walk-forward", "9" * 20])
    assert refused.exit_code == 2
    assert "--walk-forward" in refused.output


@pytest.mark.parametrize(
    ("recording", "stretches", "words"),
    [
        (wave(400), 1, "2 stretches or more"),
        (wave(12), 10, "stretch 1 of 10|too few"),
        (wave(12), 10**12, "12 samples are too few"),
        (Recording.concat([wave(60), wave(60)]), 3, "one series in time"),
    ],
)
def test_what_cannot_be_walked_is_refused(recording: Recording, stretches: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Plan.walk_forward(recording, Task.infer(recording, "x", horizon=1), stretches)


def test_classes_and_parts_of_ones_own_are_refused(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(200, 2))
    classes = Recording.from_arrays(x, targets=(x[:, 0] > 0).astype(float))
    with pytest.raises(InputError, match="for values and forecasts"):
        assess(classes, tmp_path / "out", walk_forward=3)
    with pytest.raises(InputError, match="leave out test recordings"):
        run(wave(400), tmp_path / "out", time_limit=60)
    assert not (tmp_path / "out").exists()
