"""A limit of time: what fits is done, what does not is named, and a longer limit goes on from there."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from tests.study.test_resume import command, finished, write_recording
from typer.testing import CliRunner

from torchliquid import Recording, assess
from torchliquid.cli import amounts, app
from torchliquid.cli.progress import StudyProgress
from torchliquid.errors import InputError
from torchliquid.jobs import Job
from torchliquid.study import assess as assessing
from torchliquid.study.contenders import CONTENDERS, Contender, Hyper
from torchliquid.study.plan import Plan
from torchliquid.study.results import StudyResults
from torchliquid.study.run import runner, trial
from torchliquid.study.run.limit import Limit, Pace, Scope, seconds, smaller, time_contender, work
from torchliquid.study.run.trial import Spec
from torchliquid.study.shifts import SensorNoise
from torchliquid.tasks import Task

positive = st.floats(0.01, 1000)
paces_of_all = st.fixed_dictionaries({c.name: st.builds(Pace, positive, positive, positive) for c in CONTENDERS})


def lasts(scope: Scope, paces: dict[str, Pace], at_once: int = 1) -> float:
    def settings(contender: Contender, n: int) -> Sequence[Hyper]:
        return contender.settings(n)

    return seconds(work(scope, paces, settings, lambda _: False, lambda _: False), at_once)


@given(paces_of_all, st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_what_is_left_out_is_the_same_for_all_and_never_the_comparison(
    paces: dict[str, Pace], seeds: int, tuning: int, tuned: bool
) -> None:
    scopes = list(smaller(Scope(CONTENDERS, seeds, tuning), paces, tuned))
    for before, after in pairwise(scopes):
        # One step at a time, in the order of the rule.
        steps = (
            before.tuning - after.tuning,
            before.seeds - after.seeds,
            len(before.contenders) - len(after.contenders),
        )
        assert sorted(steps) == [0, 0, 1]
        gone = [c for c in before.contenders if c not in after.contenders]
        if after.seeds < min(seeds, 3):
            assert not steps[2]
        for c in gone:
            assert after.tuning == (tuning if tuned else 1)
            assert c.name not in ("linear", "naive")
        assert lasts(after, paces) <= lasts(before, paces) + 1e-9
    for scope in scopes:
        families = [c.family for c in scope.contenders]
        assert {"liquid", "neural", "classical", "naive"} <= set(families)
    assert scopes[-1].seeds == 1
    assert {c.name for c in scopes[-1].contenders} >= {"linear", "naive"}
    assert len(scopes[-1].contenders) == 4


def test_the_time_of_a_study_is_that_of_its_jobs() -> None:
    """Counted by hand: two networks with four settings each, then five seeds of which one is trained already."""
    two = tuple(c for c in CONTENDERS if c.name in ("cfc", "gru"))
    paces = {c.name: Pace(100.0, 10.0, 1.0) for c in two}
    each = 4 * 25 + 2 * 100 + 4 * 100 + 5 * 10
    assert lasts(Scope(two, 5, 4), paces) == pytest.approx(2 * each + 2 * 5)
    assert lasts(Scope(two, 5, 4), paces, at_once=2) == pytest.approx(each + 2 * 5)
    assert lasts(Scope(two, 2, 1), paces, at_once=100) == pytest.approx(100 + 10 + 2 * 2)
    assert lasts(Scope(two, 1, 2), paces) == pytest.approx(2 * (2 * 100 + 10 + 1))


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time passes in trainings alone: 100 s each, or their share of it; LSTM takes three times as long."""
    clock, whole = Clock(), trial.train

    def train(model: Any, *args: Any, **options: Any) -> Any:
        history = whole(model, *args, **options)
        clock.now += {"lstm": 300.0}.get(model.kind, 100.0) * args[2].epochs / 4
        return history

    def pace(plan: Plan, spec: Spec, shifts: Any, progress: Any) -> Iterator[Any]:
        contender = spec.contender
        network = contender in ("cfc_ncp", "ltc_ncp", "gru", "lstm")
        yield contender, Pace({"lstm": 300.0}.get(contender, 100.0) if network else 0.0, 0.0)

    monkeypatch.setattr(trial, "train", train)
    monkeypatch.setattr(trial.time, "perf_counter", clock)
    monkeypatch.setattr(assessing, "Limit", lambda seconds: Limit(seconds, clock))
    monkeypatch.setattr(runner, "time_contender", pace)
    return clock


NAMES = ["cfc_ncp", "gru", "lstm", "linear", "naive"]


def study(out: Path, minutes: float | None) -> StudyResults:
    rng = np.random.default_rng(3)
    x = np.cumsum(rng.normal(size=(300, 2)), 0)
    recording = Recording.from_arrays(x, targets=np.where(np.diff(x[:, 0], prepend=0) > 0, "up", "down"))
    return assess(
        recording,
        out,
        contenders=NAMES,
        seeds=4,
        tuning=3,
        epochs=4,
        parameters=400,
        shifts=(SensorNoise(severities=(0.2,)),),
        time_limit=None if minutes is None else 60 * minutes,
    )


def done(results: StudyResults) -> tuple[dict[str, int], int]:
    return {c.name: len(c.trials) for c in results.competing}, results.settings["tuning"]


def test_a_longer_limit_goes_on_where_a_shorter_one_ended(clock: Clock, tmp_path: Path) -> None:
    out = tmp_path / "study"
    with pytest.raises(InputError, match=r"3\.0 min is too short: the smallest study.* takes about 3\.7 min"):
        study(out, 3)
    assert not list(out.glob("trials/*"))

    # Two seeds of CfC and of GRU fit, not three. LSTM, three times as slow, is the first to go.
    few = study(out, 8)
    counts, tuning = done(few)
    assert (set(counts.values()), tuning) == ({1, 2}, 1)
    assert "lstm" not in counts
    assert len(counts) == 4
    assert clock.now <= 0.9 * 8 * 60
    said = " ".join(few.left_out)
    for words in (
        "time limit of 8.0 min",
        "no contender was tuned",
        "2 of 4 seeds",
        "LSTM (about 5.0 min per training)",
    ):
        assert words in said
    assert few.verdict is not None
    assert few.verdict.evidence[0].startswith("Too small to trust: 2 seeds")
    assert few.verdict.evidence[1:2] == few.left_out
    assert few.left_out[0] in (out / "report.html").read_text().replace("&#39;", "'")
    assert StudyResults.from_json((out / "results.json").read_text()) is not None

    before, started = finished(out), clock.now
    more = study(out, 24)
    assert before.items() <= finished(out).items(), "a finished trial was done again or lost"
    assert done(more)[0] == {"cfc_ncp": 3, "gru": 3, "lstm": 3, "linear": 1, "naive": 1}
    assert clock.now - started <= 0.9 * 24 * 60

    before, started = finished(out), clock.now
    whole = study(out, None)
    assert before.items() <= finished(out).items()
    assert (whole.left_out, whole.settings["seeds"], whole.settings["tuning"]) == ((), 4, 3)
    started = clock.now
    again = study(out, 4)
    assert clock.now == started, "nothing is left to do, and all fits"
    assert done(again) == done(whole)
    assert again.left_out == ()

    apart = study(tmp_path / "apart", None)
    assert [c.test("accuracy") for c in apart.contenders] == [c.test("accuracy") for c in whole.contenders]


def test_what_is_timed_is_about_what_it_takes(tmp_path: Path) -> None:
    """The real clock: every contender can be timed, on samples and on whole series, and nothing is left behind."""
    rng = np.random.default_rng(0)
    steps = Recording.from_arrays(rng.normal(size=(300, 2)), targets=rng.normal(size=300))
    series = [rng.normal(size=(20, 2)) for _ in range(30)]
    whole = Recording.from_arrays(series, targets=["a" if i % 2 else "b" for i in range(30)])
    for recording in (steps, whole):
        plan = Plan.make(recording, Task.infer(recording), parameters=400, epochs=2)
        for contender in CONTENDERS:
            if contender.suits == "one label a series" and recording is steps:
                continue
            ((name, pace),) = time_contender(plan, Spec(contender.name, {}, 0), (), lambda share, note: None)
            assert name == contender.name
            assert pace.train > 0
            assert 0 <= pace.live < 2


@pytest.mark.parametrize("text", ["10", "ten", "0m", "-5m", "5 parsecs", "10mm", "h", ""])
def test_a_limit_without_a_known_unit_is_one_line(text: str, tmp_path: Path) -> None:
    write_recording(tmp_path / "recording.csv")
    words = command(tmp_path / "recording.csv", tmp_path / "out", 1)[3:]
    found = CliRunner().invoke(app, [*words, f"--time-limit={text}"])
    assert found.exit_code == 2
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"--time-limit"):
        amounts.seconds("--time-limit", text)


@pytest.mark.parametrize(
    ("text", "wanted"), [("90s", 90), ("10m", 600), ("1.5 h", 5400), ("10min", 600), ("1d", 86400)]
)
def test_a_limit_is_a_time_with_its_unit(text: str, wanted: float) -> None:
    assert amounts.seconds("--time-limit", text) == wanted


def test_one_bar_shows_the_phase_and_the_time_of_a_whole_study() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=110, color_system=None)

    def shown() -> str:
        file.truncate(0)
        file.seek(0)
        progress.progress.refresh()
        return file.getvalue()

    job = Job("CfC, seed 0", iter, (), list)
    with StudyProgress(console) as progress:
        progress.planned({"tuning": 10.0, "training": 30.0, "the end": 10.0})
        progress.phase("tuning", 0, 2)
        assert "phase 1 of 3: tuning, 2 in all" in shown()
        for _ in range(2):
            progress.started(job)
            progress.finished(job)
        progress.phase("training", 3, 5)
        assert "20%" in shown(), "of all work, not of the phase"
        progress.started(job)
        progress.advanced(job, 0.5, "epoch 1")
        text = shown()
        for words in ("phase 2 of 3: training", "35%", "gone", "left", "CfC, seed 0  epoch 1"):
            assert words in text
        progress.finished(job)
        progress.planned({"training": 15.0, "the end": 10.0})  # a limit of time found that less is left
        progress.phase("the end", 0, 1)
        assert "phase 3 of 3: the end" in shown()
