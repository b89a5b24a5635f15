"""What belongs together is never in two parts: groups, and series that share rows."""

from __future__ import annotations

import logging

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from torchliquid import Recording, fit
from torchliquid.data import series_split
from torchliquid.data.overlap import Units, share_in
from torchliquid.errors import InputError
from torchliquid.study.plan import Plan
from torchliquid.tasks import Task
from torchliquid.training import TrainingConfig


def walk(n: int, channels: int = 2, seed: int = 0) -> np.ndarray:
    return np.cumsum(np.random.default_rng(seed).normal(size=(n, channels)), 0)


def cut(values: np.ndarray, length: int, stride: int) -> list[np.ndarray]:
    return [values[i : i + length] for i in range(0, len(values) - length + 1, stride)]


def coins(n: int, seed: int = 1) -> list[str]:
    return np.array(["heads", "tails"])[np.random.default_rng(seed).integers(0, 2, n)].tolist()


def parts(plan: Plan) -> list[Recording]:
    return [plan.training, plan.validation, *plan.tests.values()]


def rows(recording: Recording) -> set[bytes]:
    return {row.tobytes() for s in recording.series for row in s.values}


@settings(max_examples=30, deadline=None)
@given(groups=st.lists(st.integers(0, 7), min_size=6, max_size=40).filter(lambda g: len(set(g)) >= 3))
def test_a_group_is_in_one_part(groups):
    rng = np.random.default_rng(0)
    recording = Recording.from_arrays([rng.normal(size=(9, 2)) for _ in groups], targets=groups, groups=groups)
    first, second = series_split(recording, 0.3)
    mine, theirs = ({s.group for s in part.series} for part in (first, second))
    assert mine
    assert theirs
    assert not mine & theirs
    assert first.n_series + second.n_series == len(groups)


def test_one_group_is_refused():
    recording = Recording.from_arrays(cut(walk(200), 10, 10), targets=coins(20), groups=["A"] * 10 + ["B"] * 10)
    with pytest.raises(InputError, match=r"one group.*give more groups"):
        Plan.make(recording, Task.infer(recording))


def table(persons: int = 6, trials: int = 4, rows: int = 12) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    n = persons * trials * rows
    return pl.DataFrame(
        {
            "person": np.repeat([f"P{i}" for i in range(persons)], trials * rows),
            "trial": np.tile(np.repeat(np.arange(trials), rows), persons),
            "x": rng.normal(size=n),
            "state": np.repeat(coins(persons * trials), rows),
        }
    )


def test_series_of_one_name_in_two_groups_are_two_series():
    recording = Recording.from_frame(table(), target="state", series="trial", group="person")
    assert recording.n_series == 24
    assert recording.series[0].name == "P0/0"
    assert {len(s) for s in recording.series} == {12}
    assert any("more than one 'person'" in note for note in recording.notes)
    assert recording.channels == ("x",)
    plan = Plan.make(recording, Task.infer(recording))
    groups = [{s.group for s in part.series} for part in parts(plan)]
    assert sum(map(len, groups)) == 6
    assert any("groups" in line for line in plan.split)


def test_without_a_series_column_each_group_is_a_series():
    recording = Recording.from_frame(table().drop("trial"), target="state", group="person")
    assert [s.name for s in recording.series] == [s.group for s in recording.series] == [f"P{i}" for i in range(6)]
    assert recording.columns["series"] == "person"


@pytest.mark.parametrize("shuffled", [False, True])
def test_windows_that_overlap_are_held_out_from_the_end_and_none_is_in_two_parts(shuffled):
    windows = cut(walk(1500), 40, 10)
    if shuffled:
        windows = [windows[i] for i in np.random.default_rng(5).permutation(len(windows))]
    recording = Recording.from_arrays(windows, targets=coins(len(windows)))
    plan = Plan.make(recording, Task.infer(recording))
    found = [rows(part) for part in parts(plan)]
    assert not found[0] & found[1]
    assert not found[0] & found[2]
    assert not found[1] & found[2]
    assert plan.training.n_series > 0.5 * len(windows)
    (test,) = plan.tests.values()
    apart = Units.of(test.series).unit.tolist()
    assert len({s.group or s.name for s in test.series}) == len(set(apart)) < test.n_series / 2
    assert any(f"{len(windows)} series" in n and "share rows" in n for n in plan.training.notes)


def test_series_given_four_times_stay_together():
    singles = [walk(30, seed=i) for i in range(30)]
    recording = Recording.from_arrays(singles * 4, targets=coins(120))
    plan = Plan.make(recording, Task.infer(recording))
    found = [rows(part) for part in parts(plan)]
    assert not any(found[a] & found[b] for a, b in ((0, 1), (0, 2), (1, 2)))
    assert sum(part.n_series for part in parts(plan)) == 120


def test_copies_of_one_series_are_said(caplog):
    recording = Recording.from_arrays([walk(50)] * 12, targets=coins(12))
    plan = Plan.make(recording, Task.infer(recording))
    assert any("is also in the training part" in line for line in (*plan.split, *plan.training.notes))
    with caplog.at_level(logging.WARNING):
        fit(recording, parameters=100, config=TrainingConfig(epochs=1))
    assert "also occur in the training data" in caplog.text


def test_a_validation_part_that_was_learnt_from_is_said():
    values = walk(600)
    recording, validation, test = (
        Recording.from_arrays(v, targets=v[:, 0]) for v in (values[:400], values[250:450], values[450:])
    )
    plan = Plan.make(recording, Task.infer(recording), {"later": test}, validation)
    (line,) = [line for line in plan.split if "also occur in the training data" in line]
    assert "the validation part" in line
    assert "75%" in line or "74%" in line


def channel(kind: str, seed: int) -> np.ndarray:
    """Values that agree by chance, as those of switches, counters and sensors at rest do."""
    rng = np.random.default_rng(seed)
    return {
        "switch": np.cumsum(rng.random((500, 1)) < 0.05, 0) % 2.0,
        "counter": np.arange(300.0)[:, None],
        "steps": np.cumsum(rng.integers(-1, 2, (200, 1)), 0).astype(float),
        "rest": np.where(rng.random((300, 2)) < 0.9, 0.0, rng.integers(0, 5, (300, 2))),
        "still": np.full((100, 2), 20.0),
    }[kind]


@pytest.mark.parametrize("kind", ["switch", "counter", "steps", "rest", "still"])
def test_what_agrees_by_chance_shares_no_rows(kind):
    recording = Recording.from_arrays([channel(kind, seed) for seed in range(80)])
    assert len(set(Units.of(recording.series).unit.tolist())) == 80


def test_rounded_values_that_overlap_are_found():
    values = np.round(100 * np.sin(np.arange(4000) / 10)[:, None] + 3 * walk(4000, 1))
    units = Units.of(Recording.from_arrays(cut(values, 40, 10)).series)
    assert not units.unit.any()
    assert (np.diff(units.start) == 10).all()


def test_published_recordings_share_no_rows(data_dir):
    from torchliquid.datasets import load

    for name in ("cmapss", "japanese_vowels", "walker"):
        dataset = load(name)
        assert len(set(Units.of(dataset.train.series).unit.tolist())) == dataset.train.n_series
        assert all(share_in(test, [dataset.train]) == 0 for test in dataset.tests.values())
