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
            scaled = (value - preprocessing.mean[channel]) / preprocessing.std[channel]
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
    with pytest.raises(InputError, match="broken"):
        Preprocessing.from_dict(good | change)
    with pytest.raises(InputError, match="broken"):
        Preprocessing.from_dict({k: v for k, v in good.items() if k not in change})
