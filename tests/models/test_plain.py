"""The models to beat: their features against plain definitions, and figures known from elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.small import small_recording

from torchliquid.data import Preprocessing, Recording
from torchliquid.datasets import load
from torchliquid.errors import InputError
from torchliquid.models import Naive, Tabular, tabular
from torchliquid.models.features import features
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out


@given(st.integers(1, 30), st.integers(2, 9), st.integers(0, 4), st.booleans(), st.integers(0, 1000))
def test_features_against_their_definitions(n, window, lags, uneven, seed):
    rng = np.random.default_rng(seed)
    x, spans = rng.normal(size=(n, 2)), rng.exponential(size=n).astype(np.float32)
    mask = (rng.random((n, 2)) < 0.7).astype(float)
    times = np.cumsum(spans, dtype=np.float64)
    found = features(np.concatenate([x, mask], 1), spans, 2, (window,), lags=lags, uneven=uneven)

    def age(i: int, lag: int) -> float:
        return times[i] - times[max(i - lag, 0)] + max(lag - i, 0)

    def mean(i: int, youngest: float) -> np.ndarray:
        """Over one span, summed on each stretch in which a value was held; nothing before the oldest."""
        begin, end, total = times[i] - youngest - 1, times[i] - youngest, np.zeros(2)
        for j in range(max(i - lags, 0), i):
            total += x[j] * max(min(times[j + 1], end) - max(times[j], begin), 0)
        return total

    for i in range(n):
        past = slice(max(i - window + 1, 0), i + 1)
        t, v = times[past], x[past]
        slope = [np.polyfit(t - t[-1], v[:, c], 1)[0] if len(t) > 1 else 0.0 for c in range(2)]
        ago = [max(i - lag, 0) for lag in range(1, lags + 1)]
        expected = [x[i], mask[i]]
        expected += [np.log1p([spans[i], age(i, window - 1)])] if uneven else []
        expected += [v.mean(0), v.std(0), v.min(0), v.max(0), slope, v[-1] - v[0], mask[past].mean(0)]
        if lags:
            raw = np.array([x[j] if i >= lag else [0, 0] for lag, j in enumerate(ago, 1)])
            expected.append(raw.T.ravel())
            if uneven:
                expected.append(np.log1p([age(i, lag) for lag in range(1, lags + 1)]))
                expected.append(np.array([mean(i, k) for k in range(lags)]).T.ravel())
            seen = [max([j for j in range(i + 1) if mask[j, c]], default=0) for c in range(2)]
            expected.append(np.log1p([times[i] - times[max(j, i - lags, 0)] for j in seen]))
        np.testing.assert_allclose(found[i], np.concatenate(expected), rtol=1e-4, atol=1e-5)
    last = features(np.concatenate([x, mask], 1), spans, 2, (window,), slice(-1, None), lags, uneven)
    np.testing.assert_allclose(last[0], found[-1], atol=1e-12)


@pytest.mark.parametrize("lengths", [(40, 30, 23, 35, 11, 17), (30,) * 6])
@pytest.mark.parametrize("per", ["step", "series"])
@pytest.mark.parametrize("kind", ["linear", "boosting", "naive"])
def test_live_answers_are_those_of_the_whole(kind, per, lengths):
    training = small_recording(lengths, per)
    task = Task("classification", per, "target").fit(training)
    preprocessing = Preprocessing.fit(training)
    model = Naive.fit(task, preprocessing, training)
    if kind != "naive":
        model = Tabular.fit(kind, task, preprocessing, training, training)
        assert task.metrics(model.outputs(training), training)["accuracy"] > 0.75
    for series, expected in zip(training.series, model.outputs(training), strict=True):
        live = model.live()
        gaps = np.diff(series.times, prepend=series.times[0])
        said = [live.step(v, g) for v, g in zip(series.values, gaps, strict=True)]
        np.testing.assert_allclose(said if per == "step" else said[-1], expected, atol=1e-9)
    assert model.live_parameters() > 0
    assert model.n_bytes() > 0


def test_whole_series_of_one_length_are_seen_as_they_are():
    """The label is which of two samples is larger: nothing that statistics of the series know."""
    rng = np.random.default_rng(0)
    values = [rng.permutation(np.linspace(-1, 1, 24))[:, None] for _ in range(300)]
    whole = Recording.from_arrays(values, targets=["up" if v[7, 0] > v[3, 0] else "down" for v in values])
    training, validation, test = (whole.select(range(*part)) for part in ((0, 200), (200, 240), (240, 300)))
    task = Task.infer(training).fit(training)
    model = Tabular.fit("linear", task, Preprocessing.fit(training), training, validation)
    assert model.config["aligned"] == 24
    assert task.metrics(model.outputs(test), test)["accuracy"] > 0.9


def test_logistic_regression_on_window_statistics_knows_the_speakers():
    data = load("japanese_vowels")
    training, validation = hold_out(data.train, data.task)
    task = data.task.fit(training)
    model = Tabular.fit("linear", task, Preprocessing.fit(training), training, validation)
    (test,) = data.tests.values()
    assert task.metrics(model.outputs(test), test)["accuracy"] > 0.975


def test_boosting_finds_what_logistic_regression_finds_on_few_series():
    """At scikit-learn's defaults it finds nothing on 40 series of two kinds: no leaf may be so small."""
    rng = np.random.default_rng(0)
    values = [rng.normal(size=(20, 3)) + np.array([2.0 * (i % 2), 0, 0]) for i in range(80)]
    whole = Recording.from_arrays(values, targets=[np.array(float(i % 2)) for i in range(80)])
    training, test = whole.select(range(40)), whole.select(range(40, 80))
    task = Task.infer(training)
    model = Tabular.fit("boosting", task, Preprocessing.fit(training), training, training)
    assert task.metrics(model.outputs(test), test)["accuracy"] > 0.95


def test_the_naive_answers():
    rng = np.random.default_rng(0)
    recording = Recording.from_arrays(rng.normal(5, 2, (50, 2)), channels=["x", "y"])
    task = Task.infer(recording, "y", horizon=3)
    last = Naive.fit(task, Preprocessing.fit(recording), recording)
    np.testing.assert_allclose(last.outputs(recording)[0][:, 0], recording.series[0].values[:, 1], rtol=1e-6)
    labelled = small_recording()
    task = Task("classification", "step", "target").fit(labelled)
    prior = Naive.fit(task, Preprocessing.fit(labelled), labelled).outputs(labelled)
    share = np.mean(np.concatenate([s.targets for s in labelled.series]))
    np.testing.assert_allclose(np.concatenate(prior), [[1 - share, share]] * labelled.n_samples)


def test_unknown_settings_are_named():
    training = small_recording()
    task = Task("classification", "step", "target").fit(training)
    with pytest.raises(InputError, match="'strenght'; did you mean 'strength'"):
        Tabular.fit("linear", task, Preprocessing.fit(training), training, training, strenght=1)
    with pytest.raises(InputError, match="no tabular model 'forest'"):
        Tabular.fit("forest", task, Preprocessing.fit(training), training, training)


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 3000), st.integers(0, 2**16), st.sampled_from([1, 300, 10_000]))
def test_with_class_weights_boosting_sees_levels_in_the_order_of_the_values(rows: int, seed: int, kinds: int) -> None:
    rng = np.random.default_rng(seed)
    column = rng.integers(0, kinds, rows) * rng.choice([1e-9, 1.0, 1e9])
    (levels,) = tabular._levels(np.stack([column], 1)).T
    order = np.argsort(column, kind="stable")
    assert (np.diff(levels[order]) >= 0).all()
    assert len(np.unique(levels)) <= tabular.BINS
    assert column.min() <= levels.min()
    assert levels.max() <= column.max()
    if len(np.unique(column)) <= tabular.BINS:
        assert (levels == column).all()
