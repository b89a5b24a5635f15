"""Targets are looked at as channels are: what no one measured is refused before anything is learnt from it."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.tasks import Task


def table(n: int = 600) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    return pl.DataFrame({"x": rng.normal(size=n), "y": rng.normal(size=n)})


@given(st.integers(0, 599), st.sampled_from([3.4e38, -3.4e38, 1e200, 1.7e308, 1e31, 5e12]))
def test_a_target_that_no_one_measured_is_refused_with_its_row(row, value):
    frame = table().with_columns(pl.when(pl.int_range(600) == row).then(value).otherwise(pl.col("y")).alias("y"))
    with pytest.raises(InputError, match=f"in the target 'y', row {row + 1}, is not a plausible value"):
        Recording.from_frame(frame, target="y")
    marked = Recording.from_frame(frame, target="y", missing=[value])
    assert np.isnan(marked.series[0].targets).sum() == 1
    for_model = Recording.from_frame(frame, target="y", channels=["x"])
    assert np.isnan(for_model.series[0].targets).sum() == 1
    assert "1 values of the target 'y' are implausible" in " ".join(for_model.notes)


def test_infinite_targets_are_no_labels():
    frame = table().with_columns(pl.when(pl.int_range(600) < 2).then(np.inf).otherwise(pl.col("y")).alias("y"))
    recording = Recording.from_frame(frame, target="y")
    assert "2 infinite values of the target 'y'" in " ".join(recording.notes)
    assert np.isfinite(Task.infer(recording).std).all()


def test_a_target_far_from_all_others_is_told():
    frame = table().with_columns(pl.when(pl.int_range(600) == 7).then(1e9).otherwise(pl.col("y")).alias("y"))
    assert "1000000000 in column 'y' (1 times) is far from all other values" in " ".join(
        Recording.from_frame(frame, target="y").notes
    )


def test_one_target_a_series_and_several_at_once():
    values = [np.zeros((4, 2)) + i for i in range(5)]
    with pytest.raises(InputError, match="in the target 'target' of series '3', is not a plausible"):
        Recording.from_arrays(values, targets=[1.0, 2.0, 3.0, 1e300, 5.0])
    targets = [np.ones((4, 2)) for _ in range(5)]
    targets[2][1, 1] = 1e300
    with pytest.raises(InputError, match="in the target 'target', sample 1 of series '2'"):
        Recording.from_arrays(values, targets=targets)


@pytest.mark.parametrize("two", [(1000.5, 1000.6), (101325.0, 101326.0), (20.0, np.nextafter(20.0, 21.0))])
def test_a_target_that_varies_by_one_count_of_its_display_varies(two):
    x = np.random.default_rng(0).normal(size=(400, 1))
    truth = np.where(x[:, 0] > 0, two[1], two[0])
    task = Task("regression", "step", "target").fit(Recording.from_arrays(x, targets=truth))
    assert 0 < task.std[0] == pytest.approx(np.std(truth - two[0]))
    with pytest.raises(InputError, match=r"is always 1000\.5"):
        Task("regression", "step", "target").fit(Recording.from_arrays(x, targets=np.full(400, 1000.5)))
