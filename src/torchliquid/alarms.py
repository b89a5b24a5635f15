"""From probabilities to alarms, and what an operator counts of them: events caught, false alarms, delays.

An event is a run of labelled samples of the class that is looked for. Samples whose probability reaches the threshold
become an alarm by a rule that a device can follow as they come: an :class:`Alarm` begins once they have lasted
``length`` and ends when a sample comes that lies more than ``merge`` after the last of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchliquid.errors import InputError

NEVER = 1.0 + 2.0**-20
"""A threshold that no probability reaches, in single precision either."""

SLACK = 1e-4
"""Of a length or a pause, so that sums of times in single precision end on the same sample as exact ones."""

CANDIDATES = 512
"""Thresholds that are tried for a limit of false alarms."""


@dataclass(frozen=True)
class Alarm:
    """How samples become alarms.

    Attributes:
        length: how long samples must have been over the threshold before an alarm begins, in the recording's unit of
            time; 0: the first one begins it.
        merge: the longest pause, from the last sample over the threshold, that does not end an alarm.
        limit: false alarms for a unit of time without an event, or for a series, that the threshold may give; None: it
            is the one with the best F1.
        threshold: from this probability of the class that is looked for on, it is answered; None: not chosen yet.
    """

    length: float = 0.0
    merge: float = 0.0
    limit: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("length", "merge", "limit"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(f"an alarm's {name} is 0 or more, not {value:g}")
        if self.threshold is not None and not 0 <= self.threshold <= NEVER:
            raise InputError(f"an alarm's threshold is a probability, 0 to 1, not {self.threshold:g}")

    @property
    def shortest(self) -> float:
        """From how long on samples make an alarm, in the recording's unit."""
        return self.length * (1 - SLACK)

    @property
    def longest(self) -> float:
        """Up to how long a pause does not end one."""
        return self.merge * (1 + SLACK)

    def raised(self, over: np.ndarray, times: np.ndarray) -> np.ndarray:
        """(T,) whether an alarm is on at each sample.

        Args:
            over: (T,) whether each sample is over the threshold.
            times: (T,) when each was taken, rising.
        """
        on = np.zeros(len(over), dtype=bool)
        starts, stops = runs(over)
        is_on = False
        ends = [*starts[1:], len(over)][: len(starts)]
        for start, stop, following in zip(starts, stops, ends, strict=True):
            if not is_on:
                long_enough = np.flatnonzero(times[start:stop] - times[start] >= self.shortest)
                start = start + long_enough[0] if len(long_enough) else stop
            is_on = start < stop
            if is_on:
                quiet = np.flatnonzero(times[stop:following] - times[stop - 1] > self.longest)
                on[start : stop + quiet[0] if len(quiet) else following] = True
                is_on = not len(quiet)
        return on


class AlarmState:
    """An :class:`Alarm` on samples as they come; see :meth:`Alarm.raised`."""

    def __init__(self, rule: Alarm) -> None:
        self.rule = rule
        self.reset()

    def reset(self) -> None:
        """Begin anew: no alarm is on."""
        self.on = False
        self._over_for = -1.0  # since the first of the samples over the threshold; below 0: the last one was not
        self._quiet_for = 0.0  # since the last of them

    @property
    def state(self) -> tuple[float, float, float]:
        """Whether an alarm is on, 1 or 0, and for how long samples have been over the threshold and not; can be set."""
        return float(self.on), self._over_for, self._quiet_for

    @state.setter
    def state(self, parts: tuple[float, float, float]) -> None:
        on, self._over_for, self._quiet_for = map(float, parts)
        self.on = on > 0

    def step(self, over: bool, elapsed: float) -> bool:
        """Whether an alarm is on after a sample that came ``elapsed`` after the one before."""
        if over:
            self._over_for = self._over_for + elapsed if self._over_for >= 0 else 0.0
            self._quiet_for = 0.0
            self.on = self.on or self._over_for >= self.rule.shortest
        else:
            self._over_for = -1.0
            self._quiet_for += elapsed
            self.on = self.on and self._quiet_for <= self.rule.longest
        return self.on


def runs(true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of true samples begins, and where it ends (one past its last)."""
    edges = np.diff(np.concatenate([[False], true, [False]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


@dataclass(frozen=True)
class Counts:
    """What an operator counts over some recordings.

    Attributes:
        events: how many there were.
        delays: of those that were caught, from an event's first sample to the first at which an alarm was on.
        false_alarms: alarms during which no event was.
        quiet: the time without an event, in the recordings' unit; of one label a series, series without an event.
    """

    events: int
    delays: tuple[float, ...]
    false_alarms: int
    quiet: float

    @property
    def caught(self) -> int:
        return len(self.delays)

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.events + other.events,
            self.delays + other.delays,
            self.false_alarms + other.false_alarms,
            self.quiet + other.quiet,
        )


NOTHING = Counts(0, (), 0, 0.0)


def count(on: np.ndarray, event: np.ndarray, times: np.ndarray) -> Counts:
    """Count alarms in one series.

    Args:
        on: (T,) whether an alarm was on.
        event: (T,) 1 in an event, 0 out of one, NaN where it is not known.
        times: (T,) rising.
    """
    known = ~np.isnan(event)
    on, event, times = on[known], event[known] > 0, times[known]
    starts, stops = runs(event)
    delays = []
    for start, stop in zip(starts, stops, strict=True):
        first = np.flatnonzero(on[start:stop])
        if len(first):
            delays.append(float(times[start + first[0]] - times[start]))
    wrong = sum(not event[start:stop].any() for start, stop in zip(*runs(on), strict=True))
    spans = np.diff(times, prepend=times[:1])
    return Counts(len(starts), tuple(delays), int(wrong), float(spans[~event].sum()))


def best_f1(probability: np.ndarray, event: np.ndarray) -> float | None:
    """The threshold with the best F1, half way to the next probability below; None where no event is, or nothing else.

    Args:
        probability: (N,) of an event.
        event: (N,) true in one.
    """
    if not event.any() or event.all():
        return None
    order = np.argsort(-probability, kind="stable")
    sorted_probability, hits = probability[order], event[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + event.sum())
    last_of_its_value = np.append(sorted_probability[1:] < sorted_probability[:-1], True)
    best = int(np.argmax(np.where(last_of_its_value, f1, -1.0)))
    return _between(sorted_probability, best)


def within_limit(
    rule: Alarm, series: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], per_series: bool = False
) -> float | None:
    """The lowest threshold from which on no more false alarms are given than the rule's limit allows.

    Args:
        rule: with its limit.
        series: of each series probability (T,), event (T,) (NaN: not known) and times (T,); of one label a series T is
            1.
        per_series: the limit is for a series without an event, else for a unit of time without one.

    Returns:
        The threshold; None where nothing is without an event.
    """
    assert rule.limit is not None
    quiet = np.concatenate([p[event == 0] for p, event, _ in series]) if series else np.empty(0)
    if not len(quiet):
        return None
    levels = np.unique(quiet)[::-1]
    if len(levels) > CANDIDATES:  # the highest one by one, where limits are decided; the rest thinned
        levels = np.concatenate([levels[: CANDIDATES // 2], np.quantile(levels, np.linspace(1, 0, CANDIDATES // 2))])
        levels = np.unique(levels)[::-1]
    every = np.unique(np.concatenate([p for p, _, _ in series]))[::-1]
    passed = np.inf  # the lowest level that holds
    for level in levels:
        if per_series:
            total = Counts(0, (), int((quiet >= level).sum()), float(len(quiet)))
        else:
            total = sum((count(rule.raised(p >= level, t), event, t) for p, event, t in series), NOTHING)
        if total.false_alarms > rule.limit * total.quiet:
            break
        passed = level
    # Just below what holds, and above what was not tried or does not.
    if np.isfinite(passed):
        return _between(every, int(np.flatnonzero(every == passed)[0]))
    above = every[every > levels[0]]
    return _between(np.array([above[-1], levels[0]]), 0) if len(above) else NEVER


def _between(falling: np.ndarray, i: int) -> float:
    """Half way from one probability to the next lower one: rounding elsewhere must not move a sample over it."""
    below = falling[i + 1 :][falling[i + 1 :] < falling[i]]
    return float((falling[i] + (below[0] if len(below) else 0.0)) / 2)


@dataclass(frozen=True)
class Summary:
    """What an operator counts, over several trainings.

    Attributes:
        events, caught: how many there were, and the mean of how many were caught.
        false_alarms: in a unit of time without an event; NaN where there is none.
        median, late: of the delays, the median and what nine in ten stay within; NaN where nothing was caught.
    """

    events: int
    caught: float
    false_alarms: float
    median: float
    late: float


def summary(counts: Sequence[Counts]) -> Summary:
    """Of the counts of several trainings on the same recordings."""
    quiet, delays = sum(one.quiet for one in counts), [d for one in counts for d in one.delays]
    return Summary(
        counts[0].events,
        sum(one.caught for one in counts) / len(counts),
        sum(one.false_alarms for one in counts) / quiet if quiet else np.nan,
        float(np.median(delays)) if delays else np.nan,
        float(np.quantile(delays, 0.9)) if delays else np.nan,
    )
