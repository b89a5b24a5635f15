"""Linear models, trees and the naive answer on live samples: what they say of the whole, compiled or not."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.small import small_recording

import torchliquid
from torchliquid import backends
from torchliquid.data import Preprocessing
from torchliquid.models import Tabular
from torchliquid.models.calibration import Calibration
from torchliquid.models.linear import Linear
from torchliquid.models.trees import Trees
from torchliquid.tasks import Task

WAYS = [name for name in ("reference", "native") if backends.BACKENDS[name].available()]


def drawn(
    rng: np.random.Generator, per: str, kind: str, lookback: int, lags: int, uneven: bool, holes: float
) -> Tabular:
    """A model of random numbers: what a fit would find does not matter here."""
    recording = small_recording((40, 30), per, holes=holes)
    task = Task(kind, per, "target").fit(recording)
    if kind == "regression" and per == "step":
        task = replace(task, column=1, change=0.5)
    rule = Preprocessing.fit(recording)
    more = {"lags": min(lags, lookback - 1)} if per == "step" else {"aligned": lags}
    model = Tabular("linear", {"lookback": lookback, "uneven": uneven, **more}, task, rule)
    f = model.n_features
    model.linear = Linear(rng.normal(size=f), rng.uniform(0.5, 2, f), rng.normal(size=(1, f)) / f, rng.normal(size=1))
    feature = np.array([rng.integers(f), rng.integers(f), -1, -1, -1, rng.integers(f), -1, -1], dtype=np.int32)
    after = [np.array(nodes, dtype=np.int32) for nodes in ((1, 2, 0, 0, 0, 6, 0, 0), (4, 3, 0, 0, 0, 7, 0, 0))]
    roots, count = np.array([[0], [5]], dtype=np.int32), np.ones(8, dtype=np.uint32)
    model.trees = Trees(rng.normal(size=1), roots, feature, rng.normal(size=8), *after, rng.normal(size=8), count)
    if kind == "classification":
        model.recalibrate(Calibration(1.7, 0.3))
    return model


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 2**16), st.sampled_from(["step", "series"]), st.sampled_from(["classification", "regression"]),
    st.integers(1, 20), st.integers(0, 30), st.booleans(), st.sampled_from([0.0, 0.3]), st.integers(1, 3),
)  # fmt: skip
def test_live_answers_are_those_of_the_whole(way, seed, per, kind, lookback, lags, uneven, holes, n):
    rng = np.random.default_rng(seed)
    model = drawn(rng, per, kind, lookback, lags, uneven, holes)
    recording = small_recording((35,) * n, per, seed=seed, holes=holes)
    late = recording.series[0].values.copy()
    late[:4, 1] = np.nan  # the last value is not known at once
    recording = replace(recording, series=(replace(recording.series[0], values=late), *recording.series[1:]))
    with backends.use(way):
        live = model.live(n)
    values = np.stack([s.values for s in recording.series], 1)
    gaps = np.diff(np.stack([s.times for s in recording.series], 1), axis=0, prepend=0)
    said = []
    for i, (sample, gap) in enumerate(zip(values, gaps, strict=True)):
        if i == 12:  # copied in the middle, it goes on alike
            with backends.use(way):
                live = pickle.loads(pickle.dumps(live)) if seed % 2 else copy.deepcopy(live)
        said.append(live.step(sample if n > 1 else sample[0], gap if n > 1 else float(gap[0])))
    for i, expected in enumerate(model.outputs(recording)):
        found = np.stack(said)[:, i] if n > 1 else np.stack(said)
        np.testing.assert_allclose(found if per == "step" else found[-1], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_readings_by_name_times_faults_and_state(way):
    model = drawn(np.random.default_rng(0), "step", "classification", 9, 8, True, 0.0)
    rows = small_recording((20,), holes=0.0).series[0]
    with backends.use(way):
        live, again = torchliquid.stream(model), torchliquid.stream(model)
    expected = model.outputs(small_recording((20,), holes=0.0))[0]
    for i, (time, row) in enumerate(zip(rows.times, rows.values, strict=True)):
        said = live.step(dict(zip("cba", row[::-1], strict=True)), time=time)
        np.testing.assert_allclose(said, expected[i], atol=1e-9)
        if i == 10:
            again.state = live.state
            again.step(row * 2, time=time)
            np.testing.assert_array_equal(live.step(row * 2, time=time), said)  # a time again changes nothing
    assert live.faults["repeated"] == again.faults["repeated"] == 1
    for time, row in zip(rows.times[11:], rows.values[11:], strict=True):
        said = again.step(row, time=time)
    np.testing.assert_allclose(said, expected[-1], atol=1e-9)
    live.reset()
    np.testing.assert_allclose(live.step(rows.values[0]), expected[0], atol=1e-9)
    with pytest.raises(torchliquid.InputError, match="of another model"):
        torchliquid.stream(
            drawn(np.random.default_rng(1), "step", "classification", 9, 8, True, 0.0)
        ).state = live.state


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("count", [-5.0, 0.5, np.nan, np.inf, 1e300])
def test_a_state_without_a_whole_number_of_samples_is_refused(way, count):
    model = drawn(np.random.default_rng(0), "step", "classification", 9, 8, True, 0.0)
    with backends.use(way):
        live = torchliquid.stream(model)
    *kept, memory = live.state
    memory[:, 0] = count
    with pytest.raises(torchliquid.InputError, match="state is invalid"):
        live.state = (*kept, memory)
