"""The methods that every kind of model has, and the stream that takes any of them."""

import copy
import math
import pickle
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from tests.helpers.small import small_model, small_recording

import torchliquid
from torchliquid.alarms import Alarm
from torchliquid.data import Preprocessing, Recording
from torchliquid.errors import InputError
from torchliquid.metrics import names
from torchliquid.models import KINDS, Naive, Predictor, Tabular
from torchliquid.tasks import Task

PLAIN = ("linear", "boosting", "naive")


def fitted(kind: str, per: str = "step", task: str = "classification") -> Predictor:
    """A model of any kind, on :func:`small_recording`; a network is not trained."""
    if kind not in PLAIN:
        return small_model(kind, per, task=task)
    training = small_recording((40, 30, 23, 35, 11, 17), per)
    asked = Task(task, per, "target").fit(training)
    scales = Preprocessing.fit(training)
    if kind == "naive":
        return Naive.fit(asked, scales, training)
    return Tabular.fit(kind, asked, scales, training, training, lookback=8)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("per", ["step", "series"])
@pytest.mark.parametrize("kind", [*KINDS, *PLAIN])
def test_one_protocol(kind, per, task):
    model, recording = fitted(kind, per, task), small_recording(per=per)
    seen: list[int] = []
    frame = model.predict(recording, seen.append)
    n = recording.n_samples if per == "step" else recording.n_series
    outputs = np.concatenate([output.reshape(-1, model.task.n_outputs) for output in model.outputs(recording)])
    assert frame.height == n == len(outputs)
    assert seen[-1] == recording.n_samples
    if task == "classification":
        found = model.predict_proba(recording)
        assert found.dtype == np.float64
        np.testing.assert_array_equal(found, outputs)
        np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-6)
        columns = [f"probability_{label}" for label in model.task.labels]
        np.testing.assert_array_equal(frame.select(columns).to_numpy(), found)
        assert frame["prediction"].to_list() == [model.task.labels[k] for k in model.task.decide(found)]
    else:
        np.testing.assert_array_equal(frame["prediction"].to_numpy(), outputs[:, 0])
        with pytest.raises(InputError, match="'target' has no probabilities"):
            model.predict_proba(recording)
    metrics = model.task.metrics(model.outputs(recording), recording)
    assert model.score(recording) == metrics[model.task.primary]
    for name in set(names(task)) & metrics.keys():
        np.testing.assert_equal(model.score(recording, name), metrics[name])
    with pytest.raises(InputError, match=rf"{task} has no metric"):
        model.score(recording, "rmse" if task == "classification" else "accuracy")
    with pytest.raises(InputError, match="nothing to score"):
        model.score(small_recording(per=per, labels=False))
    with pytest.raises(InputError, match="channel 'b'"):
        model.predict(Recording.from_arrays(np.ones((5, 1)), channels=["a"], time_unit="ms"))
    assert sum(number.size for number in model.numbers()) > 0


@pytest.mark.parametrize("kind", ["cfc", *PLAIN])
def test_arrays_and_frames_are_read_as_recordings(kind):
    model, (series,) = fitted(kind), small_recording((30,)).series
    even = replace(series, times=np.arange(30) * model.preprocessing.time_scale)
    whole = Recording((even,), ("a", "b", "c"), "target", "ms")
    expected = model.predict_proba(whole)
    np.testing.assert_allclose(model.predict_proba(even.values), expected, atol=1e-6)
    model.metadata = {"columns": {"time": "t", "time_unit": "ms"}}
    frame = pl.DataFrame(dict(zip("abc", even.values.T, strict=True)) | {"t": even.times, "target": even.targets})
    frame = frame.fill_nan(None)
    np.testing.assert_allclose(model.predict_proba(frame.select("c", "t", "a", "b")), expected, atol=1e-6)
    assert model.score(frame) == pytest.approx(model.score(whole))
    with pytest.raises(InputError, match="'target'"):
        model.score(frame.drop("target"))
    with pytest.raises(InputError, match="column 'b'"):
        model.predict(frame.drop("b"))


@pytest.mark.parametrize("per", ["step", "series"])
@pytest.mark.parametrize("kind", PLAIN)
def test_plain_models_stream_like_networks(kind, per):
    """Several streams, by name, with times; the state goes to another stream and through pickle."""
    model, recording = fitted(kind, per), small_recording((12, 12))
    live = torchliquid.stream(model, 2)
    values = np.stack([s.values for s in recording.series])
    spans = np.stack([np.diff(s.times, prepend=s.times[0]) for s in recording.series])
    found = [live.step(values[:, t], spans[:, t]) for t in range(6)]
    kept, other, third = live.state, copy.deepcopy(live), pickle.loads(pickle.dumps(live))
    fresh = torchliquid.stream(model, 2)
    fresh.state = kept
    live.reset([1])
    for t in range(6, 12):
        found.append(live.step(values[:, t], spans[:, t]))
        for again in (other, third, fresh):
            np.testing.assert_array_equal(again.step(values[:, t], spans[:, t])[0], found[-1][0])
    (first,) = model.outputs(replace(recording, series=recording.series[:1]))
    np.testing.assert_allclose(np.array(found)[:, 0] if per == "step" else found[-1][0], first, atol=1e-9)
    (rest,) = model.outputs(replace(recording, series=(recording.series[1].cut(6, 12),)))
    if not np.isnan(values[1, 6]).any():  # a stream forgets the readings it held
        np.testing.assert_allclose(np.array(found)[6:, 1] if per == "step" else found[-1][1], rest, atol=1e-9)

    one, named = model.live(), model.live()
    for t, time in enumerate(recording.series[0].times):
        expected = one.step(values[0, t], spans[0, t])
        told = named.step(dict(zip("abc", values[0, t], strict=True)), time=float(time))
        np.testing.assert_allclose(told, expected, atol=1e-6)
        np.testing.assert_array_equal(named.step(values[0, t], time=float(time)), told)  # a repeated time
    assert named.faults["repeated"] == 12
    assert named.label(told) in model.task.labels

    foreign = fitted("cfc", per).live(2)
    with pytest.raises(InputError, match="of another model"):
        live.state = foreign.state
    if kind != "naive":
        with pytest.raises(InputError, match="parts of shapes"):
            live.state = kept[:-1]


def test_a_plain_models_alarms_are_those_of_predict():
    model = fitted("linear")
    model.task = replace(model.task, alarm=Alarm(length=3.0, merge=4.0, threshold=0.6))
    recording = small_recording((200,), seed=3)
    (series,) = recording.series
    live, on = torchliquid.stream(model), []
    for values, span in zip(series.values, np.diff(series.times, prepend=series.times[0]), strict=True):
        assert math.isclose(live.step(values, span).sum(), 1.0)
        on.append(live.alarm)
    assert on == model.predict(recording)["alarm"].to_list()
    assert 5 < sum(on) < 195
