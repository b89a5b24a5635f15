"""Alarms against a plain reading of their rule, sample by sample; thresholds against trying them all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from torchliquid.alarms import Alarm, AlarmState, best_f1, count, within_limit
from torchliquid.errors import InputError

TIMES = st.lists(st.sampled_from([0.5, 1.0, 1.0, 2.0, 7.0]), min_size=1, max_size=60).map(np.cumsum)


@given(times=TIMES, data=st.data(), length=st.sampled_from([0.0, 1.0, 3.0]), merge=st.sampled_from([0.0, 1.0, 5.0]))
def test_alarms_on_a_whole_series_are_those_of_its_samples_as_they_come(times, data, length, merge):
    over = np.array(data.draw(st.lists(st.booleans(), min_size=len(times), max_size=len(times))))
    rule = Alarm(length, merge)
    live = AlarmState(rule)
    spans = np.diff(times, prepend=times[0])
    expected = [live.step(bool(o), float(s)) for o, s in zip(over, spans, strict=True)]
    assert rule.raised(over, times).tolist() == expected


def test_what_an_operator_counts():
    times = np.arange(20.0)
    event = np.zeros(20)
    event[5:9] = 1  # caught two samples late
    event[12:14] = 1  # missed
    event[19] = np.nan
    over = np.zeros(20, dtype=bool)
    over[[1, 7, 8, 9, 16, 17]] = True
    counts = count(Alarm().raised(over, times), event, times)
    assert (counts.events, counts.delays, counts.false_alarms) == (2, (2.0,), 2)
    assert counts.quiet == pytest.approx(12.0)  # the first of 13 quiet samples has no time before it
    merged = count(Alarm(length=1.0, merge=8.0).raised(over, times), event, times)
    assert (merged.events, merged.delays, merged.false_alarms) == (2, (3.0, 0.0), 0)


@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_no_threshold_has_a_better_f1(seed, ties):
    rng = np.random.default_rng(seed)
    event = rng.random(80) < 0.2
    probability = np.clip(rng.normal(0.3 + 0.3 * event, 0.2), 0, 1)
    probability = probability.round(1) if ties else probability
    chosen = best_f1(probability, event)
    if not event.any():
        assert chosen is None
        return
    best = max(f1_score(event, probability >= level) for level in np.unique(probability))
    assert f1_score(event, probability >= chosen) == pytest.approx(best)


@given(seed=st.integers(0, 2**32 - 1), limit=st.sampled_from([0.0, 0.02, 0.1]), merge=st.sampled_from([0.0, 3.0]))
def test_false_alarms_stay_within_the_limit_and_no_lower_threshold_does(seed, limit, merge):
    rng = np.random.default_rng(seed)
    times = np.arange(200.0)
    event = (np.sin(times / 9) > 0.9).astype(float)
    probability = np.clip(rng.normal(0.2 + 0.5 * event, 0.2), 0, 1)
    rule = Alarm(merge=merge, limit=limit)

    def rate(threshold):
        counts = count(rule.raised(probability >= threshold, times), event, times)
        return counts.false_alarms / counts.quiet

    chosen = within_limit(rule, [(probability, event, times)])
    assert chosen is not None
    assert rate(chosen) <= limit
    lower = np.unique(probability[(event == 0) & (probability < chosen)])
    assert not len(lower) or rate(lower[-1]) > limit


def test_a_limit_for_series_counts_series():
    series = [(np.array([p]), np.array([e]), np.zeros(1)) for p, e in ((0.9, 1.0), (0.8, 0.0), (0.6, 1.0), (0.3, 0.0))]
    assert 0.8 < within_limit(Alarm(limit=0.0), series, per_series=True) < 0.9
    assert 0.3 < within_limit(Alarm(limit=0.5), series, per_series=True) <= 0.8


@pytest.mark.parametrize("options", [{"length": -1.0}, {"merge": float("nan")}, {"limit": -0.1}, {"threshold": 2.0}])
def test_a_rule_that_makes_no_sense_is_refused(options):
    with pytest.raises(InputError, match="an alarm's"):
        Alarm(**options)
