from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchliquid.data import Preprocessing, Recording, Series
from torchliquid.errors import InputError
from torchliquid.study.shifts import (
    DEFAULT_SHIFTS,
    FasterSampling,
    GainOffsetDrift,
    Gap,
    LostSamples,
    SensorNoise,
    SilentSensor,
    SlowerSampling,
    Usual,
    describe,
    draws,
    possible,
    shifted,
)
from torchliquid.tasks import Task

EVERY = [(shift, severity) for shift in DEFAULT_SHIFTS for severity in shift.severities]
NAMES = [f"{shift.name} {severity:g}" for shift, severity in EVERY]


def recording(rng: np.random.Generator, n_series: int, channels: int, labels: str) -> Recording:
    """Irregular series of 1 to 40 samples with holes and equal times; labels at some steps, at the end, or one each."""
    series = []
    for i in range(n_series):
        n = int(rng.integers(1, 41))
        times = np.cumsum(rng.choice([0.0, 0.5, 1.0, 7.0], n))
        values = np.where(rng.random((n, channels)) < 0.2, np.nan, 50 + 3 * rng.standard_normal((n, channels)))
        targets = np.where(rng.random(n) < 0.3, np.nan, rng.integers(0, 3, n).astype(float))
        if labels == "text":
            targets = np.array([None if np.isnan(t) else f"c{t:.0f}" for t in targets], dtype=object)
        elif labels == "last":
            targets = np.full(n, np.nan)
            targets[rng.integers(n)] = 1.0
        elif labels == "series":
            targets = np.array(float(rng.integers(2)))
        series.append(Series(times, values, targets, str(i)))
    return Recording(tuple(series), tuple(f"c{i}" for i in range(channels)), "y", "s")


@pytest.mark.parametrize(("shift", "severity"), EVERY, ids=NAMES)
@given(seed=st.integers(0, 2**32), labels=st.sampled_from(["steps", "text", "last", "series"]))
def test_inputs_change_and_nothing_else(shift, severity, seed, labels):
    rng = np.random.default_rng(seed)
    given_one = recording(rng, int(rng.integers(1, 6)), int(rng.integers(1, 4)), labels)
    before = [
        (s.times.copy(), s.values.copy(), None if s.targets is None else s.targets.copy()) for s in given_one.series
    ]
    reference = Preprocessing.fit(given_one)
    changed = shifted(given_one, shift, severity, reference, seed=3)
    again = shifted(given_one, shift, severity, reference, seed=3)
    for old, (times, values, targets), new, same in zip(
        given_one.series, before, changed.series, again.series, strict=True
    ):
        np.testing.assert_array_equal(old.times, times)
        np.testing.assert_array_equal(old.values, values)
        np.testing.assert_array_equal(old.targets, targets)
        np.testing.assert_array_equal(new.values, same.values)
        np.testing.assert_array_equal(new.times, same.times)
        assert len(new) >= 1
        assert (np.diff(new.times) >= 0).all()
        if labels == "last":  # what is asked at one sample only is still asked
            assert np.isfinite(new.targets).sum() == 1
            assert new.times[np.isfinite(new.targets)] == old.times[np.isfinite(old.targets)]
        if labels == "series":
            assert new.targets == old.targets


def one(values: np.ndarray, targets: np.ndarray | None = None) -> Recording:
    n = len(values)
    targets = np.arange(n, dtype=float) if targets is None else targets
    return Recording((Series(np.arange(n, dtype=float), values, targets),), tuple("abcd"[: values.shape[1]]), "y")


def test_each_shift_does_what_its_name_says():
    rng = np.random.default_rng(0)
    clean = one(rng.normal([10, -4], [1, 5], (20_000, 2)))
    reference = Preprocessing.fit(clean)
    values = clean.series[0].values

    noise = shifted(clean, SensorNoise(), 0.3, reference).series[0].values - values
    np.testing.assert_allclose(noise.std(0), [0.3, 1.5], rtol=0.03)

    assert abs(len(shifted(clean, LostSamples(), 0.6, reference).series[0]) / 20_000 - 0.4) < 0.02

    slow = shifted(clean, SlowerSampling(), 4, reference).series[0]
    assert set(np.diff(slow.times)) == {4.0}
    np.testing.assert_array_equal(slow.values, values[3::4])
    np.testing.assert_array_equal(slow.targets, clean.series[0].targets[3::4])

    fast = shifted(clean, FasterSampling(), 2, reference).series[0]
    assert set(np.diff(fast.times)) == {0.5}
    np.testing.assert_array_equal(fast.values[::2], values)
    np.testing.assert_allclose(fast.values[1::2], (values[1:] + values[:-1]) / 2)
    assert np.isnan(fast.targets[1::2]).all()
    np.testing.assert_array_equal(fast.targets[::2], clean.series[0].targets)

    silent = np.isnan(shifted(clean, SilentSensor(), 1, reference).series[0].values)
    assert (silent.sum(1) == 1).all()
    np.testing.assert_array_equal(silent.sum(0), [10_000, 10_000])  # each in its turn
    two = np.isnan(shifted(clean, SilentSensor(), 2, reference).series[0].values)
    assert (two.sum(1) == 1).all()  # never all of them while there is another

    assert [s.severities for s in possible((SilentSensor(), Gap()), clean)] == [(1.0,), Gap().severities]

    still = one(np.stack([values[:, 0], np.full(20_000, 518.67)], 1))
    for shift in (SensorNoise(), GainOffsetDrift()):
        changed = shifted(still, shift, 1.0, Usual.of(still)).series[0].values - still.series[0].values
        np.testing.assert_allclose(changed[:, 1], 0, atol=1e-9)  # a constant has no deviation
        assert np.abs(changed[:, 0]).max() > 1

    drift = shifted(clean, GainOffsetDrift(), 0.3, reference).series[0].values
    np.testing.assert_array_equal(drift[0], values[0])
    early, late = np.abs(drift - values)[:1000].mean(0), np.abs(drift - values)[-1000:].mean(0)
    assert (late > 10 * early).all()

    gap = shifted(clean, Gap(), 0.5, reference).series[0]
    assert len(gap) == pytest.approx(10_000, abs=2)
    assert np.diff(gap.times).max() == pytest.approx(10_000, abs=2)


def test_a_forecast_from_noisy_readings_is_held_against_the_clean_ones():
    clean = replace(one(np.random.default_rng(0).normal(size=(50, 1))), target=None)
    clean = replace(clean, series=(replace(clean.series[0], targets=None),))
    task = Task.infer(clean, target="a", horizon=2)
    noisy = shifted(task.with_targets(clean), SensorNoise(), 1.0, Preprocessing.fit(clean))
    np.testing.assert_array_equal(task.truth(noisy.series[0])[:-2], clean.series[0].values[2:, 0])


class Stuck:
    """The first sensor repeats its first reading.

    More about it.
    """

    name = "stuck sensor"
    severities = (1.0,)
    unit = "sensors stuck"

    def describe(self, severity):
        return "stuck from the start"

    def apply(self, recording, severity, rng, reference):
        def stick(series):
            values = series.values.copy()
            values[:, 0] = values[0, 0]
            return replace(series, values=values)

        return replace(recording, series=tuple(stick(s) for s in recording.series))


def test_a_users_shift_joins_the_others_and_may_not_touch_the_truth():
    clean = one(np.random.default_rng(0).normal(size=(30, 2)))
    assert describe(Stuck()).summary == "The first sensor repeats its first reading."
    assert np.ptp(shifted(clean, Stuck(), 1.0, Preprocessing.fit(clean)).series[0].values[:, 0]) == 0

    class Cheat(Stuck):
        def apply(self, recording, severity, rng, reference):
            return replace(recording, series=tuple(replace(s, targets=s.targets * 0) for s in recording.series))

    with pytest.raises(InputError, match="must only change inputs"):
        shifted(clean, Cheat(), 1.0, Preprocessing.fit(clean))


def test_shifts_of_one_name_or_without_severities_are_refused():
    clean = one(np.random.default_rng(0).normal(size=(30, 2)))
    with pytest.raises(InputError, match="two shifts are named 'gap'; give each a name of its own"):
        possible((Gap(severities=(0.1,)), Gap()), clean)
    for none in (SilentSensor(severities=(2.0, 3.0)), SensorNoise(severities=())):
        with pytest.raises(InputError, match=f"the shift '{none.name}' has no severity that is possible here"):
            possible((Gap(), none), clean)


@pytest.mark.parametrize("shift", DEFAULT_SHIFTS, ids=[shift.name for shift in DEFAULT_SHIFTS])
@given(seed=st.integers(0, 2**32), labels=st.sampled_from(["steps", "text", "last", "series"]))
def test_the_same_samples_are_asked_at_every_severity(shift, seed, labels):
    rng = np.random.default_rng(seed)
    test = recording(rng, int(rng.integers(1, 4)), 2, labels)
    for clean, changed in draws({"later": test}, shift, Usual.of(test)):
        assert len(changed) == len(shift.severities)
        for before, *after in zip(*(version["later"].series for version in (clean, *changed)), strict=True):
            asked = [_labels(series) for series in (before, *after)]
            assert all(one == asked[0] for one in asked)


def _labels(series: Series) -> list[tuple[float, str]]:
    if not series.targets.ndim:
        return [(0.0, str(series.targets))]
    known = [(t, str(v)) for t, v in zip(series.times.tolist(), series.targets.tolist(), strict=True)]
    return sorted((t, v) for t, v in known if v not in ("nan", "None"))


def test_what_is_random_is_drawn_several_times_and_each_series_for_itself():
    rng = np.random.default_rng(0)
    long = one(rng.normal(size=(400, 2)))
    times = {shift.name: len(list(draws({"later": long}, shift, Usual.of(long)))) for shift in DEFAULT_SHIFTS}
    assert times == {shift.name: 1 if "sampling" in shift.name else 5 for shift in DEFAULT_SHIFTS}
    drifts = [changed[-1] for _, changed in draws({"later": long}, GainOffsetDrift(), Usual.of(long))]
    drifted = [version["later"].series[0].values for version in drifts]
    assert len({tuple(np.sign((values - long.series[0].values)[-1])) for values in drifted}) > 1
    many = replace(long, series=long.series * 30)
    (first, *_), *rest = [changed for _, changed in draws({"later": many}, GainOffsetDrift(), Usual.of(many))]
    assert len(rest) == 1
    ends = np.sign([(s.values - long.series[0].values)[-1] for s in first["later"].series])
    assert (np.abs(ends.mean(0)) < 0.8).all()
