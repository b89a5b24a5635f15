"""Tuning: a killed one goes on as if it had not been, the test part stays unseen, and settings never mix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from torchliquid.cli.progress import StudyProgress
from torchliquid.errors import InputError
from torchliquid.jobs import lines as trials
from torchliquid.reproduce import run, summary, tuning
from torchliquid.reproduce.protocol import Parts, Protocol, Sequences, Setting, part

pytest.importorskip("optuna")


class Unseen:
    """A test part that nobody may look at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(f"the test part's {name} was read")


def pieces(seed: int) -> Sequences:
    x = np.random.default_rng(seed).normal(size=(40, 5, 2))
    return part(x, x.cumsum(1)[..., :1])


@pytest.fixture
def table(monkeypatch) -> Protocol:
    made = Protocol(
        name="cheetah",
        source="nobody",
        metric="squared error",
        published={},
        settings={"LSTM": Setting(4, epochs=8), "GRU": Setting(4, epochs=8)},
        parts=lambda split: Parts(pieces(0), pieces(1), pieces(2), outputs=1),
    )
    monkeypatch.setattr(run, "protocol", lambda _: made)
    return made


def without_times(lines: list[dict]) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in lines]


def test_a_killed_tuning_goes_on_and_never_sees_the_test_part(table):
    unseen = Parts(pieces(0), pieces(1), Unseen(), 1)
    lines = list(tuning.tune(table, unseen, "published", "GRU", 12, [], "cpu", lambda *_: None))

    def kill(share: float, note: str) -> None:
        if share > 10.5 / 12:
            raise KeyboardInterrupt

    broken = []
    with pytest.raises(KeyboardInterrupt):
        broken.extend(tuning.tune(table, unseen, "published", "GRU", 12, [], "cpu", kill))
    assert len(broken) == 10
    broken += tuning.tune(table, unseen, "published", "GRU", 12, broken, "cpu", lambda *_: None)
    assert without_times(broken) == without_times(lines)

    setups = [line["setup"] for line in lines]
    assert setups[0] == {}
    assert len({str(setup) for setup in setups}) == 12
    assert all(0.00025 <= s["lr"] <= 0.004 and s["batch"] in (16, 32, 64) for s in setups[1:])
    assert all(line["epochs"] == 2 for line in lines)
    best = tuning.best(table, lines, 12)
    assert best == min(lines, key=lambda line: line["validation"])["setup"]
    assert tuning.best(table, lines, 1) == {}


def test_tuned_trainings_stand_apart_from_published_ones(table, tmp_path):
    with StudyProgress(Console(quiet=True)) as listener:
        run.reproduce("cheetah", tmp_path, listener, seeds=1)
        found = run.reproduce("cheetah", tmp_path, listener, seeds=2, tune=3)
        lines = trials.read(tmp_path / "cheetah.trials.jsonl")
        run.reproduce("cheetah", tmp_path, listener, seeds=2, tune=3)
    assert trials.read(tmp_path / "cheetah.trials.jsonl") == lines  # all was done
    assert [summary.tuning_trials(x) for x in lines] == [0, 0, 3, 3, 3, 3]
    assert [(row["contender"], row["seeds"]) for row in found["rows"]] == [("LSTM", [0, 1]), ("GRU", [0, 1])]
    for row in found["rows"]:
        tuned = [x for x in lines if x["contender"] == row["contender"] and "tuned" in x]
        assert row["mean"] == pytest.approx(np.mean([x["test"] for x in tuned]))
        assert len({str(x["tuned"]) for x in tuned}) == 1
        tried = [x for x in trials.read(tmp_path / "cheetah.tuning.jsonl") if x["contender"] == row["contender"]]
        assert [x["trial"] for x in tried] == [0, 1, 2]
        assert tuned[0]["tuned"] == {"trials": 3, "setup": tuning.best(table, tried, 3)}
    text = summary.section(table, lines)
    assert text.count("tuned, 3 trials") == 2
    assert summary.TUNING in text


def test_where_the_published_setting_wins_nothing_is_trained_twice(table, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "best", lambda *_: {})
    with StudyProgress(Console(quiet=True)) as listener:
        run.reproduce("cheetah", tmp_path, listener, seeds=1)
        run.reproduce("cheetah", tmp_path, listener, seeds=1, tune=1)
    plain, again = (trials.read(tmp_path / "cheetah.trials.jsonl")[part] for part in (slice(2), slice(2, 4)))
    assert [line | {"tuned": {"trials": 1, "setup": {}}} for line in plain] == again


def test_without_optuna_the_extra_is_named(table, tmp_path: Path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna.distributions", None)
    with (
        StudyProgress(Console(quiet=True)) as listener,
        pytest.raises(InputError, match=r"pip install 'torchliquid\[reproduce\]'"),
    ):
        run.reproduce("cheetah", tmp_path / "new", listener, tune=2)
    assert not (tmp_path / "new").exists()
