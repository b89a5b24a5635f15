"""The models to beat: their features against plain definitions, and figures known from elsewhere."""

import contextlib
import copy
import json
import warnings
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from tests.helpers.hostile import hostile_model, limited
from tests.helpers.small import small_recording
from typer.testing import CliRunner

from torchliquid.cli import app
from torchliquid.data import Preprocessing, Recording
from torchliquid.datasets import load
from torchliquid.errors import InputError
from torchliquid.models import Model, Naive, Tabular, tabular, trees
from torchliquid.models.features import features
from torchliquid.models.minirocket import MiniRocket
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out


@cache
def fitted(kind: str, per: str = "step", task: str = "classification") -> Tabular | MiniRocket | Naive:
    recording = small_recording((40, 30, 23, 35, 11, 17), per)
    fitted = Task(task, per, "target").fit(recording)
    scales = Preprocessing.fit(recording)
    if kind == "naive":
        return Naive.fit(fitted, scales, recording)
    if kind == "minirocket":
        return MiniRocket.fit(fitted, scales, recording, recording, features=168)
    return Tabular.fit(kind, fitted, scales, recording, recording)


TASKS = ("classification", "regression")
PLAIN = [(kind, *of) for kind in ("linear", "boosting", "naive") for of in product(("step", "series"), TASKS)]
PLAIN += [("minirocket", "series", task) for task in TASKS]


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


@pytest.mark.parametrize(("per", "holes"), [("step", 0.2), ("step", 0.0), ("series", 0.2)])
def test_of_few_sensors_the_best_have_weights(per, holes, tmp_path):
    """The truth is in two of five channels; the others are what a linear model without the setting learns by heart."""
    rng = np.random.default_rng(0)

    def drawn(n: int) -> Recording:
        values, targets = [], []
        for i in range(n):
            x = rng.normal(size=(12, 5))
            x[:, [1, 3]] += 2.0 * (i % 2)
            values.append(np.where(rng.random(x.shape) < holes, np.nan, x))
            targets.append(np.full(12, float(i % 2)) if per == "step" else np.array(float(i % 2)))
        return Recording.from_arrays(values, targets=targets, for_model=True)

    training, validation = drawn(20), drawn(20)
    task, scales = Task("classification", per, "target").fit(training), Preprocessing.fit(training)
    model = Tabular.fit("linear", task, scales, training, validation, lookback=4, sensors=2)
    whole = drawn(1)
    for channel in range(5):  # what the others say changes nothing
        (series,) = whole.series
        values = series.values.copy()
        values[:, channel] = rng.normal(size=12)
        changed = replace(whole, series=(replace(series, values=values),))
        same = all(np.allclose(a, b) for a, b in zip(model.outputs(whole), model.outputs(changed), strict=True))
        assert same == (channel not in (1, 3))
    assert (
        model.live_parameters()
        < Tabular.fit("linear", task, scales, training, validation, lookback=4).live_parameters()
    )
    model.save(tmp_path / "m.safetensors")
    assert Model.load(tmp_path / "m.safetensors").config["sensors"] == 2
    with pytest.raises(InputError, match="sensors is None for all or a number of channels"):
        Tabular.fit("linear", task, scales, training, validation, sensors=0)


@pytest.mark.parametrize("kind", ["linear", "boosting"])
def test_of_too_many_samples_no_class_is_left_out(kind, monkeypatch):
    rng = np.random.default_rng(0)
    targets = rng.choice(np.array(["a", "b"], dtype=object), 400)
    targets[[101, 203, 333]] = "rare"
    recording = Recording.from_arrays(rng.normal(size=(400, 2)), targets=targets)
    task, preprocessing = Task("classification", "step", "target").fit(recording), Preprocessing.fit(recording)
    monkeypatch.setattr(tabular, "MOST_NUMBERS", 2000)
    model = Tabular.fit(kind, task, preprocessing, recording, recording, lookback=2)
    assert len(model.linear.bias if kind == "linear" else model.trees.baseline) == 3
    assert model.live().step([0.0, 0.0]).shape == (3,)


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
    (levels,) = trees._levels(np.stack([column], 1)).T
    order = np.argsort(column, kind="stable")
    assert (np.diff(levels[order]) >= 0).all()
    assert len(np.unique(levels)) <= trees.BINS
    assert column.min() <= levels.min()
    assert levels.max() <= column.max()
    if len(np.unique(column)) <= trees.BINS:
        assert (levels == column).all()


@pytest.mark.parametrize("classes", [0, 2, 3])
def test_trees_as_arrays_answer_as_scikit_learn(classes):
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(size=(500, 4)) * 8) / 8  # with values on the thresholds
    if classes:
        y = np.digitize(x[:, 0] * x[:, 1], np.linspace(-0.5, 0.5, classes - 1))
        estimator = HistGradientBoostingClassifier(max_iter=20).fit(x, y)
        found, expected = trees.Trees.of([estimator])(x), estimator.decision_function(x).reshape(500, -1)
    else:
        each = [HistGradientBoostingRegressor(max_iter=20).fit(x, np.sin(x[:, k])) for k in range(2)]
        found, expected = trees.Trees.of(each)(x), np.stack([e.predict(x) for e in each], 1)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("kind", "per", "task"), PLAIN)
def test_a_loaded_model_is_the_saved_one(kind, per, task, tmp_path):
    model = copy.copy(fitted(kind, per, task))
    model.metadata = {**model.metadata, "note": "über"}
    model.save(tmp_path / "m.safetensors")
    loaded = Model.load(tmp_path / "m.safetensors")
    recording = small_recording((20, 7))
    for ours, theirs in zip(model.outputs(recording), loaded.outputs(recording), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert loaded.predict(recording).equals(model.predict(recording))
    assert (type(loaded), loaded.kind, loaded.task) == (type(model), kind, model.task)
    assert (loaded.config, loaded.metadata) == (model.config, model.metadata)
    assert (loaded.live_parameters(), loaded.n_bytes()) == (model.live_parameters(), model.n_bytes())
    assert loaded.n_bytes() == (tmp_path / "m.safetensors").stat().st_size


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("good")
    paths = [folder / f"{i}.safetensors" for i in range(len(PLAIN))]
    for path, of in zip(paths, PLAIN, strict=True):
        fitted(*of).save(path)
    return paths


@pytest.mark.parametrize("seed", range(70))
def test_a_file_from_a_stranger_is_refused_or_used(seed, good, tmp_path):
    path = tmp_path / "m.safetensors"
    path.write_bytes(hostile_model(good[seed % len(good)], np.random.default_rng(seed)))
    with limited(), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            model = Model.load(path)
        except InputError:
            return
        recording = small_recording((20, 7), labels=False)
        with contextlib.suppress(InputError):  # of another unit or other channels
            model.outputs(recording)
            live = model.live()
            for sample in recording.series[0].values:
                live.step(sample, 2.0)
        assert CliRunner().invoke(app, ["inspect", str(path)]).exit_code == 0


WRONG = {
    "a loop": ({"trees.left": lambda t: t.zero_()}, {}),
    "a node that is not there": ({"trees.right": lambda t: t.fill_(10**6)}, {}),
    "a feature that is not there": ({"trees.feature": lambda t: t.clamp_(max=0).add_(10**6)}, {}),
    "a tree that is not there": ({"trees.roots": lambda t: t.neg_().sub_(1)}, {}),
    "no scale": ({"linear.scale": lambda t: t.zero_()}, {}),
    "a longer memory": ({}, {"lookback": 10**9}),
    "another memory": ({}, {"lags": 7}),
    "a memory shorter than the lags": ({}, {"lookback": 16}),
    "a command": ({}, {"command": "rm"}),
}


OF_ROCKET = {
    "too many biases": ({"kernels.biases": lambda t: t.add_(1)}, {}),
    "biases fewer than none": ({"kernels.biases": lambda t: t.neg_()}, {}),
    "no distance": ({"kernels.dilation": lambda t: t.zero_()}, {}),
    "a distance beyond any series": ({"kernels.dilation": lambda t: t.fill_(2**30)}, {}),
    "a channel that counts twice": ({"kernels.channels": lambda t: t.fill_(2)}, {}),
    "no coefficient's scale": ({"linear.scale": lambda t: t.zero_()}, {}),
    "a longer grid": ({}, {"length": 10**9}),
    "a setting": ({}, {"command": "rm"}),
}


@pytest.mark.parametrize("name", OF_ROCKET)
def test_kernels_that_do_not_fit_are_refused(name, tmp_path):
    arrays, config = OF_ROCKET[name]
    refused(fitted("minirocket", "series", "regression"), arrays, config, "MiniRocket", tmp_path)


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_do_not_fit_are_refused(name, tmp_path):
    arrays, config = WRONG[name]
    refused(fitted("boosting", "step", "regression"), arrays, config, "gradient boosting", tmp_path)


def refused(model, arrays, config, label, folder):
    """A changed file of the model is."""
    path = folder / "m.safetensors"
    model.save(path)
    with safetensors.safe_open(path, "pt") as file:
        header, tensors = dict(file.metadata()), {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    for each, change in arrays.items():
        change(tensors[each])
    description = json.loads(header["model"])
    description["config"] |= config
    safetensors.torch.save_file(tensors, path, header | {"model": json.dumps(description)})
    with limited(), pytest.raises(InputError, match=f"arrays do not fit a {label} model"):
        Model.load(path)
