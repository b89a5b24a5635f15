"""What comes on a live stream: messages by name, text, typed times, copies, and states that are no longer finite."""

from __future__ import annotations

import copy
import datetime as dt
import logging
import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from tests.helpers.small import small_model, small_recording

import torchliquid
from torchliquid.errors import InputError
from torchliquid.models import KINDS

MODEL = small_model("cfc")  # channels a, b, c; times in ms
MODEL.metadata["columns"] = {"time": "when"}
ROWS = small_recording(holes=0).series[0].values


def answers(stream, samples, **more):
    return np.stack([stream.step(sample, **more) for sample in samples])


@pytest.fixture
def expected():
    return answers(MODEL.live(), ROWS[:6], elapsed=2.0)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "way", ["dict", "swapped", "series", "frame", "polars", "list", "text", "masked", "float32", "tensor"]
)
def test_a_sample_in_every_form_gives_the_same_answer(way, compiled, expected):
    frame = pd.DataFrame(ROWS, columns=["a", "b", "c"])
    live = MODEL.live()
    if not compiled:
        live._core._stepper = None
    for i in range(6):
        sample = {
            "dict": lambda i=i: dict(zip("abc", ROWS[i], strict=True)),
            "swapped": lambda i=i: frame[["c", "a", "b"]].iloc[i],
            "series": lambda i=i: frame.iloc[i],
            "frame": lambda i=i: frame[["b", "a", "c"]].iloc[[i]],
            "polars": lambda i=i: pl.from_pandas(frame).row(i, named=True),
            "list": lambda i=i: ROWS[i].tolist(),
            "text": lambda i=i: [str(v) for v in ROWS[i]],
            "masked": lambda i=i: np.ma.MaskedArray(ROWS[i], False),
            "float32": lambda i=i: ROWS[i].astype(np.float32),
            "tensor": lambda i=i: torch.tensor(ROWS[i]),
        }[way]()
        said = live.step(sample, 2.0)
        assert said.shape[-1] == 2
        np.testing.assert_allclose(said.reshape(-1), expected[i], atol=1e-5)
    assert not live.faults


@pytest.mark.parametrize("gone", [None, pd.NA, np.nan, float("nan"), "unavailable", "unknown", "", np.ma.masked])
def test_what_is_no_reading_is_not_observed_and_text_is_counted(gone, caplog):
    live, other = MODEL.live(), MODEL.live()
    for row in ROWS[:3]:
        live.step(row, 2.0)
        other.step(row, 2.0)
    with caplog.at_level(logging.WARNING):
        said = live.step({"a": gone, "b": ROWS[3][1], "c": ROWS[3][2]}, 2.0)
        live.step({"a": gone, "b": ROWS[3][1], "c": ROWS[3][2]}, 2.0)
    np.testing.assert_allclose(said, other.step(np.array([np.nan, *ROWS[3][1:]]), 2.0))
    assert live.faults["unreadable"] == (2 if isinstance(gone, str) else 0)
    assert caplog.text.count("are not numbers") == (1 if isinstance(gone, str) else 0)


def test_int16_fills_under_a_mask_are_not_readings():
    live, other = MODEL.live(), MODEL.live()
    masked = np.ma.MaskedArray(np.array([1, -32767, 300], dtype=np.int16), [False, True, False])
    np.testing.assert_allclose(live.step(masked), other.step(np.array([1.0, np.nan, 300.0])))


def test_names_that_are_missing_or_more_are_said_once(caplog):
    live = MODEL.live()
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            live.step({"a": 1.0, "b": 2.0, "humidity": 3.0})
    assert caplog.text.count("'c'") == 1
    assert caplog.text.count("'humidity'") == 1
    with pytest.raises(InputError, match="none of the model's channels"):
        live.step({"x": 1.0})
    with pytest.raises(InputError, match="complex"):
        live.step(np.array([1j, 2, 3]))


def test_several_samples_at_once_are_one_after_the_other(expected):
    np.testing.assert_allclose(MODEL.live().step(ROWS[:6], 2.0), expected, atol=1e-6)
    np.testing.assert_allclose(MODEL.live().step(ROWS[:6], np.full(6, 2.0)), expected, atol=1e-6)
    frame = pd.DataFrame(ROWS[:6], columns=["a", "b", "c"])
    np.testing.assert_allclose(MODEL.live().step(frame[["c", "b", "a"]], 2.0), expected, atol=1e-6)
    two = MODEL.live(2)
    np.testing.assert_allclose(two.step(np.stack([ROWS[:6]] * 2, 1), 2.0)[:, 1], expected, atol=1e-6)
    with pytest.raises(InputError, match="5 times were given for 6 samples"):
        MODEL.live().step(ROWS[:6], np.full(5, 2.0))


@pytest.mark.parametrize(
    "elapsed",
    [
        dt.timedelta(milliseconds=2),
        np.timedelta64(2, "ms"),
        np.timedelta64(2000, "us"),
        np.timedelta64(2_000_000, "ns"),
        pd.Timedelta(2, "ms"),
        np.float32(2),
        2,
    ],
)
@pytest.mark.parametrize("n", [1, 2])
def test_typed_times_count_as_what_they_are(elapsed, n, expected):
    live = MODEL.live(n)
    for i in range(6):
        said = live.step(ROWS[i] if n == 1 else np.stack([ROWS[i]] * 2), elapsed)
    np.testing.assert_allclose(said.reshape(n, -1)[-1], expected[5], atol=1e-6)


def test_a_typed_time_where_the_models_is_in_no_unit_is_refused():
    model = small_model("gru")
    object.__setattr__(model.preprocessing, "time_unit", "cycles")
    with pytest.raises(InputError, match="cycles"):
        model.live().step(ROWS[0], np.timedelta64(2, "ms"))
    with pytest.raises(InputError, match="own unit"):
        torchliquid.stream(torchliquid.CfC(3, 4)).step(np.ones(3), np.timedelta64(60, "s"))


@pytest.mark.parametrize("dated", [False, True])
def test_stamps_stand_in_place_of_gaps(dated, expected, caplog):
    start = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    stamps = [start + dt.timedelta(milliseconds=2 * i) if dated else 1000.0 + 2 * i for i in range(6)]
    live = MODEL.live()
    np.testing.assert_allclose([live.step(r, time=t) for r, t in zip(ROWS, stamps, strict=False)], expected, atol=2e-4)
    live = MODEL.live()
    for i in range(6):
        said = live.step({"when": stamps[i], **dict(zip("abc", ROWS[i], strict=True))})
    np.testing.assert_allclose(said, expected[5], atol=2e-4)
    before = live.state
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(live.step(ROWS[7], time=stamps[5]), said)
    for one, other in zip(live.state, before, strict=True):
        np.testing.assert_array_equal(one, other)
    assert live.faults["repeated"] == 1
    assert "same time" in caplog.text
    usual = copy.deepcopy(live)
    np.testing.assert_allclose(live.step(ROWS[8], time=stamps[2]), usual.step(ROWS[8], None))
    assert live.faults["backward"] == 1
    assert usual.faults["backward"] == 0


def test_of_several_streams_only_the_one_of_the_same_time_stands_still():
    live = MODEL.live(2)
    live.step(ROWS[:2], time=np.array([1.0, 1.0]))
    first = live.state
    answer = live.step(ROWS[2:4], time=np.array([1.0, 3.0]))
    for before, after in zip(first, live.state, strict=True):
        np.testing.assert_array_equal(before[0], after[0])
    assert np.abs(first[3][1] - live.state[3][1]).max() > 0
    alone = MODEL.live()
    alone.step(ROWS[1], time=1.0)
    np.testing.assert_allclose(answer[1], alone.step(ROWS[3], time=3.0), atol=1e-6)


@pytest.mark.parametrize("kind", ["cfc", "ltc_ncp", "transformer", "ctrnn"])
@pytest.mark.parametrize("how", [copy.deepcopy, lambda s: pickle.loads(pickle.dumps(s))])
def test_a_copy_goes_on_by_itself(kind, how):
    model = small_model(kind)
    live = model.live()
    answers(live, ROWS[:4], elapsed=2.0)
    other = how(live)
    np.testing.assert_allclose(other.step(ROWS[4], 2.0), live.step(ROWS[4], 2.0), atol=1e-6)
    live.reset()
    np.testing.assert_array_equal(other.state[1], [True])
    layer = torchliquid.stream(torchliquid.CfC(3, 4))
    layer.step(ROWS[0])
    np.testing.assert_allclose(how(layer).step(ROWS[1]), layer.step(ROWS[1]))


def test_a_state_goes_on_in_another_process(tmp_path):
    MODEL.save(tmp_path / "m.safetensors")
    live = MODEL.live()
    answers(live, ROWS[:4], elapsed=2.0)
    np.savez(tmp_path / "state.npz", *live.state)
    np.save(tmp_path / "row.npy", ROWS[4])
    code = (
        "import numpy as np, torchliquid as tl; live = tl.Model.load('m.safetensors').live();"
        "f = np.load('state.npz'); live.state = [f[k] for k in f.files]; print(*live.step(np.load('row.npy'), 2.0))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    np.testing.assert_allclose([float(v) for v in done.stdout.split()], live.step(ROWS[4], 2.0), atol=1e-6)


def test_a_state_of_another_model_is_refused():
    foreign = small_model("cfc", seed=1).live()
    foreign.step(ROWS[0])
    with pytest.raises(InputError, match="another model"):
        MODEL.live().state = foreign.state
    held, started, _, *parts = MODEL.live().state
    MODEL.live().state = (held, started, *parts)  # as it was saved before states named their model


@pytest.mark.parametrize(
    ("kind", "hyper", "gap"),
    [("ltc_ncp", {"solver": "rk4"}, 1e5), ("ctrnn", {"solver": "euler"}, 1e7), ("ode_lstm", {"solver": "rk4"}, 1e5)],
)
@pytest.mark.parametrize("n", [1, 3])
def test_a_stream_whose_state_is_no_longer_finite_begins_anew_and_says_so(kind, hyper, gap, n, caplog):
    model = small_model(kind, **hyper)
    live, fresh = model.live(n), model.live()
    rows = ROWS[:3]
    elapsed = 1e-3 if n == 1 else np.full(3, 1e-3)
    for _ in range(3):
        live.step(rows[0] if n == 1 else rows, elapsed)
    with caplog.at_level(logging.WARNING):
        long = gap if n == 1 else np.array([gap, 1e-3, 1e-3])
        for _ in range(4):
            said = live.step(rows[0] if n == 1 else rows, long)
            if live.faults["restarts"]:
                break
    assert np.isfinite(said).all()
    assert live.faults["restarts"] == 1
    assert caplog.text.count("the stream restarts") == 1
    np.testing.assert_allclose(said.reshape(n, -1)[0], fresh.step(rows[0]), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_takes_messages_by_name(kind):
    model = small_model(kind)
    live, other = model.live(), model.live()
    for row in ROWS[:3]:
        said = live.step({"c": row[2], "a": row[0], "b": row[1]}, 2.0)
        np.testing.assert_allclose(said, other.step(row, 2.0), atol=1e-6)


def test_a_state_holds_the_time_of_the_last_sample_and_every_stream_begins_anew():
    model, recording = small_model("cfc"), small_recording(lengths=(12,))
    (series,) = recording.series
    first, second = torchliquid.stream(model), torchliquid.stream(model)
    for values, time in zip(series.values[:6], series.times[:6], strict=True):
        first.step(values, time=time)
    second.state = first.state
    for values, time in zip(series.values[6:], series.times[6:], strict=True):
        np.testing.assert_array_equal(first.step(values, time=time), second.step(values, time=time))
    several = torchliquid.stream(model, 2)
    both = np.stack([series.values[0]] * 2)
    several.step(both, 1.0)
    parts = list(several.state)
    parts[4][1] = np.nan  # the network's part of the second stream
    several.state = tuple(parts)
    assert np.isfinite(several.step(both, 1.0)).all()
    assert several.faults["restarts"] == 1
