"""What a network is fed: the same for a whole series and for one live sample at a time."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from torchliquid.data import Preprocessing, Recording, Series
from torchliquid.errors import InputError

readings = st.one_of(
    st.floats(-1e4, 1e4, width=32), st.just(float("nan")), st.sampled_from([0.0, 1e30, -np.inf, np.inf, 1e300])
)


@st.composite
def fitted_and_series(draw):
    channels = draw(st.integers(1, 4))
    usual = st.floats(-100, 100, width=16)
    training = draw(hnp.arrays(np.float64, (draw(st.integers(2, 8)), channels), elements=usual))
    values = draw(hnp.arrays(np.float64, (draw(st.integers(1, 12)), channels), elements=readings))
    gaps = draw(hnp.arrays(np.float64, len(values), elements=st.floats(0, 1e3, width=32)))
    assume(np.isfinite(training).all())
    recording = Recording.from_arrays(training, np.cumsum(np.arange(len(training)) % 3 + 0.5))
    return Preprocessing.fit(recording, with_mask=draw(st.booleans())), Series(np.cumsum(gaps), values)


@given(fitted_and_series())
def test_live_samples_and_whole_series_are_one_rule_bit_for_bit(drawn):
    preprocessing, series = drawn
    inputs, spans = preprocessing(series)
    assert np.isfinite(inputs).all()
    hold = preprocessing.start()
    for t in range(len(series)):
        elapsed = None if t == 0 else series.times[t] - series.times[t - 1]
        live, span = preprocessing.step(hold, series.values[t], elapsed)
        np.testing.assert_array_equal(live, inputs[t])
        assert span == spans[t]
        assert live.dtype == np.float32


@given(fitted_and_series())
def test_against_the_rule_written_out(drawn):
    preprocessing, series = drawn
    inputs, spans = preprocessing(series)
    c = preprocessing.n_channels
    for channel in range(c):
        last = 0.0  # the training mean
        for t, value in enumerate(series.values[:, channel]):
            with np.errstate(invalid="ignore"):
                scaled = (value - preprocessing.mean[channel]) / preprocessing.unit[channel]
            observed = abs(scaled) <= 1e6
            last = scaled if observed else last
            assert inputs[t, channel] == np.float32(last)
            assert preprocessing.observed(series.values)[t, channel] == observed
            if preprocessing.with_mask:
                assert inputs[t, c + channel] == observed
    assert spans[0] == 1
    np.testing.assert_allclose(spans[1:], np.diff(series.times) / preprocessing.time_scale, rtol=1e-6, atol=1e-30)
    assert inputs.shape == (len(series), preprocessing.n_inputs)


def test_scales_come_from_what_was_observed():
    values = np.array([[1.0, 5.0, np.nan], [3.0, 5.0, 7.0], [np.nan, 5.0, 7.0], [5.0, 5.0, 7.0]])
    preprocessing = Preprocessing.fit(Recording.from_arrays(values, [0.0, 10, 10, 40]))
    np.testing.assert_allclose(preprocessing.mean, [3, 5, 7])
    np.testing.assert_allclose(preprocessing.std, [np.std([1, 3, 5]), 1, 1])  # constant channels keep their unit
    assert preprocessing.with_mask
    assert preprocessing.time_scale == 20  # of distinct times
    assert not Preprocessing.fit(Recording.from_arrays(values[:, 1:2])).with_mask


def test_a_channel_that_is_constant_but_for_rounding_counts_as_constant():
    values = np.full((1000, 1), 0.1) * 3
    assert Preprocessing.fit(Recording.from_arrays(values)).std[0] == 1


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "still"),
    [
        (np.full(300, 101325.0), True),
        (20 + 1e-10 * RNG.uniform(-1, 1, 300), True),
        (np.float32(20) + np.spacing(np.float32(20)) * RNG.integers(0, 2, 300), True),
        (RNG.choice([101325.0, 101326.0], 300), True),  # one count of the last place
        (RNG.choice([1013.2, 1013.3], 300), True),
        (RNG.choice(np.array([1013.2, 1013.3], dtype=np.float32), 300), True),
        (np.where(RNG.random(300) < 0.5, np.nan, 7.0), True),
        (RNG.integers(0, 2, 300), False),
        (RNG.choice([100.0, 101.0], 300), False),
        (RNG.choice([101325.0, 101335.0], 300), False),
        (RNG.choice([20.1, 20.2], 300), False),
        (RNG.choice([1013.2, 1013.3, 1013.4], 300), False),
        (1e9 + RNG.normal(size=300), False),
        (1e-12 * RNG.normal(size=300), False),
        (1e9 + RNG.integers(0, 2, 300) * 10.0, False),
    ],
)
def test_constant_allows_for_rounding_and_for_one_count_in_the_last_place(values, still):
    beside = np.column_stack([values, RNG.normal(size=300)])
    rule = Preprocessing.fit(Recording.from_arrays(beside, channels=["x", "moves"]))
    assert rule.left_out == (("x",) if still else ())
    moved = np.array([[1e5, 0.5], [np.nan, 0.5], [np.inf, 0.5]])
    scaled = rule.scaled(moved)[:, 0]
    assert np.isnan(scaled[1:]).all()
    assert (scaled[0] == 0) == still
    again = Preprocessing.from_dict(json.loads(json.dumps(rule.to_dict())))
    assert again.left_out == rule.left_out


def test_descriptions_saved_before_constant_channels_were_ignored_answer_as_then():
    rule = Preprocessing.fit(Recording.from_arrays(np.full((9, 1), 5.0)))
    old = {name: value for name, value in rule.to_dict().items() if name != "ignored"}
    assert Preprocessing.from_dict(old).scaled(np.array([[7.0]]))[0, 0] == 2


@pytest.mark.parametrize("elapsed", [None, np.nan, -1.0, np.inf])
def test_an_unusable_span_counts_as_the_median_gap(elapsed):
    preprocessing = Preprocessing.fit(Recording.from_arrays(np.arange(5.0), np.arange(5) * 20.0))
    hold = preprocessing.start()
    assert preprocessing.step(hold, [1.0], 1000.0)[1] == 1  # nothing before the first
    assert preprocessing.step(hold, [1.0], elapsed)[1] == 1
    assert preprocessing.step(hold, [1.0], 0.0)[1] == 0
    assert preprocessing.step(hold, [1.0], 30.0)[1] == 1.5
    with pytest.raises(InputError, match="1 values"):
        preprocessing.step(hold, [1.0, 2.0], 1.0)


@given(fitted_and_series())
def test_json_keeps_every_bit(drawn):
    preprocessing, series = drawn
    again = Preprocessing.from_dict(json.loads(json.dumps(preprocessing.to_dict())))
    for a, b in zip(preprocessing(series), again(series), strict=True):
        np.testing.assert_array_equal(a, b)
    assert (again.channels, again.time_unit) == (preprocessing.channels, preprocessing.time_unit)


@pytest.mark.parametrize("change", [{"mean": [0.0, 0.0]}, {"std": None}, {"time_scale": 0}, {"channels": 3}])
def test_broken_descriptions_are_refused(change):
    good = Preprocessing.fit(Recording.from_arrays(np.arange(5.0))).to_dict()
    with pytest.raises(InputError, match="is invalid"):
        Preprocessing.from_dict(good | change)
    with pytest.raises(InputError, match="is invalid"):
        Preprocessing.from_dict({k: v for k, v in good.items() if k not in change})
