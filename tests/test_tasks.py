"""Tasks: what they infer, what they make of targets, and their metrics against plain definitions."""

import json
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from torchliquid.data import Recording
from torchliquid.errors import InputError
from torchliquid.tasks import Task


def recording(targets, n=None, times=None, **more):
    rng = np.random.default_rng(0)
    if isinstance(targets, list):
        values = [rng.normal(size=(n or len(t), 2)) for t in targets]
    else:
        values = rng.normal(size=(len(targets), 2))
    return Recording.from_arrays(values, times, targets, ["a", "b"], **more)


def plain(n):
    """Without a target."""
    return Recording.from_arrays(np.random.default_rng(0).normal(size=(n, 2)), channels=["a", "b"])


@pytest.mark.parametrize(
    ("targets", "kind", "per", "labels"),
    [
        (np.array([0, 1, 1, 0, np.nan, 1.0]), "classification", "step", ("0", "1")),
        (np.array(["a10", "a2", None, "B1", "a2", "a10"], dtype=object), "classification", "step", ("a2", "a10", "B1")),
        (np.array(["10", "9", "9", "10"], dtype=object), "classification", "step", ("9", "10")),
        (np.array([3, 1, 2, 5, 4, 6.0]), "regression", "step", ()),  # no two alike: a count, not classes
        (np.arange(50.0).repeat(2), "regression", "step", ()),
        (np.array([0.5, 0.25, 0.5, 0.25, 0.5]), "regression", "step", ()),
        ([np.array(v) for v in (1.0, 0.0, 1.0, 0.0)], "classification", "series", ("0", "1")),
        ([np.full(5, v) for v in (1.0, 0.0, 1.0, 0.0)], "classification", "series", ("0", "1")),
        ([np.array([0, 0, 1.0]), np.array([1, 1, 0.0])], "classification", "step", ("0", "1")),
        ([np.array(v) for v in (1.5, 0.25, 3.5, 7.0)], "regression", "series", ()),
    ],
)
def test_infer(targets, kind, per, labels):
    task = Task.infer(recording(targets, n=5 if isinstance(targets, list) and not targets[0].ndim else None))
    assert (task.kind, task.per, task.labels) == (kind, per, labels)
    assert task.primary == ("accuracy" if kind == "classification" else "rmse")
    assert Task.from_dict(json.loads(json.dumps(task.to_dict()))) == task


def test_encode_leaves_out_what_has_no_label():
    made = recording(np.array(["x", None, "y", "x", "y"], dtype=object))
    task = Task.infer(made)
    targets, weights = task.encode(made.series[0])
    assert targets.tolist() == [0, 0, 1, 0, 1]
    assert weights.tolist() == [1, 0, 1, 1, 1]
    targets, weights = task.encode(replace(made.series[0], targets=None))
    assert targets.dtype == np.int64
    assert weights.tolist() == [0] * 5


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=30).filter(lambda v: np.std(v) > 1e-3))
def test_values_come_back_in_their_unit(values):
    made = recording(np.array([*values, np.nan]))
    task = Task.infer(made, kind="regression")
    targets, weights = task.encode(made.series[0])
    assert weights.tolist() == [1.0] * len(values) + [0.0]
    back = task.decode(targets[:-1, None])[:, 0]
    assert back == pytest.approx(values, rel=1e-5, abs=1e-5 * task.std[0] + 1e-6 * abs(task.mean[0]))


def test_forecast_by_samples_and_by_time_agree_where_sampling_is_even():
    values = np.random.default_rng(1).normal(size=(40, 2))
    made = Recording.from_arrays(values, np.arange(40) * 0.1, channels=["a", "b"], time_unit="h")
    by_samples = Task.infer(made, "b", horizon=3)
    by_time = Task.infer(made, "b", horizon=0.3, horizon_unit="h")
    expected = np.append(values[3:, 1], [np.nan] * 3)
    np.testing.assert_array_equal(by_samples.truth(made.series[0]), expected)
    np.testing.assert_array_equal(by_time.truth(made.series[0]), expected)
    labelled = by_time.with_targets(made)
    np.testing.assert_array_equal(by_time.truth(labelled.series[0]), expected)


def test_another_target_is_not_taken_for_the_forecast():
    task = Task.infer(plain(9), "a", horizon=2)
    beside = recording(np.arange(9.0))
    (true,) = task.with_targets(beside).series
    np.testing.assert_array_equal(true.targets[:7], beside.series[0].values[2:, 0])
    (again,) = task.with_targets(task.with_targets(beside)).series
    np.testing.assert_array_equal(again.targets, true.targets)
    with pytest.raises(InputError, match="without a target"):
        task.fit(beside)
    told = Task.infer(beside)
    with pytest.raises(InputError, match="target is 'other', the task's 'target'"):
        told.metrics([], replace(beside, target="other"))


def test_forecast_by_time_takes_no_stale_reading():
    times = np.array([0, 1, 2, 3.5, 4, 20, 21, 22, 23])
    values = np.arange(9.0)[:, None]
    values[2] = np.nan
    made = Recording.from_arrays(values, times, channels=["x"], time_unit="s")
    task = Task.infer(made, "x", horizon=2, horizon_unit="s", kind="regression")
    # At 0 the last reading until 2 is that at 1, not after 0 + 1: too old. At 1 it would be due at 3: none after 2.
    # At 2 the one at 4, at 3.5 (due 5.5) none after 4.5; before the hole none; the last two are over the end.
    np.testing.assert_array_equal(task.truth(made.series[0]), [np.nan, np.nan, 4, np.nan, np.nan, 7, 8, np.nan, np.nan])


def test_metrics_against_their_definitions():
    rng = np.random.default_rng(2)
    truth = [rng.integers(0, 2, 30).astype(float), rng.integers(0, 2, 20).astype(float)]
    truth[1][3] = np.nan
    made = recording(truth)
    task = Task.infer(made)
    outputs = [task.decode(rng.normal(size=(len(t), 2))) for t in truth]
    scores = task.metrics(outputs, made)
    p, y = np.concatenate(outputs), np.concatenate(truth)
    p, y = p[~np.isnan(y)], y[~np.isnan(y)].astype(int)
    assert scores["accuracy"] == pytest.approx(np.mean(p.argmax(1) == y))
    assert scores["log_loss"] == pytest.approx(-np.log(p[np.arange(len(y)), y]).mean())
    positive, negative = p[y == 1, 1], p[y == 0, 1]
    assert scores["roc_auc"] == pytest.approx(np.mean(positive[:, None] > negative[None]))
    loss = task.loss(torch.tensor(np.log(p)), torch.tensor(y), torch.ones(len(y)))
    assert loss.item() == pytest.approx(scores["log_loss"])

    values = recording(rng.normal(5, 3, 40))
    task = Task.infer(values)
    y = values.series[0].targets
    scores = task.metrics([y[:, None] + 1], values)
    assert scores["rmse"] == pytest.approx(1)
    assert scores["mae"] == pytest.approx(1)
    assert scores["r2"] == pytest.approx(1 - 1 / y.var())


def test_loss_does_not_see_what_is_not_scored():
    task = Task("regression", "step", "y", mean=(0.0,), std=(1.0,))
    outputs = torch.tensor([[1.0], [float("nan")], [3.0]], requires_grad=True)
    loss = task.loss(outputs, torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 1.0]))
    loss.backward()
    assert loss.item() == pytest.approx(2.5)
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Task.infer(recording(np.ones(5))), "only one class, '1'"),
        (lambda: Task.infer(recording(np.full(5, 0.3))), "always 0.3"),
        (lambda: Task.infer(recording(np.full(5, np.nan))), "has no values"),
        (lambda: Task.infer(recording(np.arange(9.0)), "c", horizon=2), "no channel 'c'"),
        (lambda: Task.infer(recording(np.arange(9.0)), "a", horizon=2), "to forecast 'a', read it without a target"),
        (lambda: Task.infer(recording(np.eye(6)), kind="classification"), "has 6 columns; classification needs one"),
        (lambda: Task.infer(recording(np.arange(9.0)), "target", horizon=2), "read it as a channel"),
        (lambda: Task.infer(plain(9), "a", horizon=0.5), "whole number"),
        (lambda: Task.infer(plain(9), "a", horizon=-1), "greater than 0"),
        (lambda: Task.infer(plain(9), "a", horizon=1, horizon_unit="h"), "not in 'h'"),
        (lambda: Task.infer(recording(np.arange(9.0)), primary="accuracy"), "no metric 'accuracy'"),
        (lambda: Task.infer(recording(np.arange(9.0)), kind="ranking"), "not 'ranking'"),
        (
            lambda: Task.infer(recording(np.array(["a", "b"] * 3, dtype=object)), kind="regression"),
            "text",
        ),
        (
            lambda: Task.infer(recording(np.array([0, 1.0] * 3))).check(recording(np.array([0, 2.0, 1])), "test"),
            "test: the class '2' of 'target' does not occur in the training part",
        ),
        (
            lambda: Task.infer(recording(np.array([0, 1.0] * 3))).check(recording(np.full(3, np.nan)), "test"),
            "nothing to score",
        ),
    ],
)
def test_bad_targets_are_refused_in_one_line(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_forecast_is_a_number_also_where_it_counts():
    counts = np.random.default_rng(0).integers(0, 13, 300).astype(float)
    task = Task.infer(Recording.from_arrays(counts, channels=["cars"]), "cars", horizon=3)
    assert task.kind == "regression"
    assert Task.infer(Recording.from_arrays(counts, channels=["cars"]), "cars", "classification", horizon=3).labels


def test_a_label_across_a_gap_is_left_out_and_said():
    times = np.r_[np.arange(50.0), 1000 + np.arange(50.0)]
    recording = Recording.from_arrays(np.sin(times), times, channels=["x"], time_unit="h")
    task = Task.infer(recording, "x", horizon=3)
    truth = task.truth(recording.series[0])
    assert np.flatnonzero(np.isnan(truth)).tolist() == [47, 48, 49, 97, 98, 99]
    assert task.notes(recording)[0].startswith("3 samples have no label")
    even = Recording.from_arrays(np.sin(times), channels=["x"])
    assert not Task.infer(even, "x", horizon=3).notes(even)


def test_a_horizon_shorter_than_the_samples_asks_for_a_longer_one():
    hourly = Recording.from_arrays(np.sin(np.arange(90.0)), np.arange(90) * 3600.0, channels=["x"], time_unit="s")
    with pytest.raises(InputError, match="samples are 3600 apart: give 3600 or more"):
        Task.infer(hourly, "x", horizon=1800, horizon_unit="s")


@pytest.mark.parametrize(
    "typed", [timedelta(minutes=2), np.timedelta64(120_000, "ms"), np.timedelta64(2, "m")], ids=str
)
def test_a_horizon_with_its_own_unit(typed):
    recording = Recording.from_arrays(np.arange(200.0)[:, None], np.arange(200) * 60.0, channels=["x"], time_unit="s")
    task = Task.infer(recording, "x", horizon=typed)
    assert (task.horizon, task.horizon_unit) == (120.0, "s")
    with pytest.raises(InputError, match="not a unit of time"):
        Task.infer(Recording.from_arrays(np.arange(200.0)[:, None], channels=["x"]), "x", horizon=typed)


@pytest.mark.parametrize("horizon", ["30min", [{}], np.ones((2, 2))])
def test_what_is_no_horizon_is_refused_in_a_line(horizon):
    recording = Recording.from_arrays(np.arange(20.0), channels=["x"])
    with pytest.raises(InputError, match="a horizon is a number or a timedelta"):
        Task.infer(recording, target="x", horizon=horizon)
