"""From probabilities to alarms, and their evaluation: events caught, false alarms, delays.

An event is a run of samples with the label of the positive class. An :class:`Alarm` begins when the probability has
stayed at or above the threshold for ``length``. It ends at the first sample more than ``merge`` after the last one
above the threshold. A device can apply this sample by sample.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from torchliquid.errors import InputError

NEVER = 1.0 + 2.0**-20
"""A threshold that no probability reaches, even in single precision."""

SLACK = 1e-4
"""Relative tolerance of a length or pause, so that rounded sums of times give the same samples as exact ones."""

CANDIDATES = 512
"""Number of thresholds that are tried for a limit of false alarms."""


@dataclass(frozen=True)
class Alarm:
    """How samples become alarms.

    Attributes:
        length: how long the probability must stay above the threshold before an alarm begins, in the recording's unit
            of time; 0: an alarm begins at once.
        merge: the longest pause below the threshold that does not end an alarm.
        limit: how many false alarms the threshold may give per unit of time without an event, or per series; None: the
            threshold with the best F1 is chosen.
        threshold: the smallest probability of the positive class for which it is predicted; None: not chosen yet.
    """

    length: float = 0.0
    merge: float = 0.0
    limit: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        for name in ("length", "merge", "limit"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise InputError(f"an alarm's {name} must be 0 or more, not {value:g}")
        if self.threshold is not None and not 0 <= self.threshold <= NEVER:
            raise InputError(f"an alarm's threshold must be a probability from 0 to 1, not {self.threshold:g}")

    @property
    def shortest(self) -> float:
        """``length`` with tolerance."""
        return self.length * (1 - SLACK)

    @property
    def longest(self) -> float:
        """``merge`` with tolerance."""
        return self.merge * (1 + SLACK)

    def raised(self, over: np.ndarray, times: np.ndarray) -> np.ndarray:
        """(T,) whether an alarm is on at each sample.

        Args:
            over: (T,) whether each sample is above the threshold.
            times: (T,) increasing.
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
    """Applies an :class:`Alarm` sample by sample; see :meth:`Alarm.raised`."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.reset()

    def reset(self) -> None:
        """Restart without an alarm."""
        self.on = False
        self._over_for = -1.0  # time above the threshold; negative: the last sample was not above it
        self._quiet_for = 0.0  # time since the last sample above it

    @property
    def state(self) -> tuple[float, float, float]:
        """Whether an alarm is on (1 or 0), the time above the threshold and the time since then; can be set."""
        return float(self.on), self._over_for, self._quiet_for

    @state.setter
    def state(self, parts: tuple[float, float, float]) -> None:
        on, self._over_for, self._quiet_for = map(float, parts)
        self.on = on > 0

    def step(self, over: bool, elapsed: float) -> bool:
        """Whether an alarm is on after a sample that came ``elapsed`` after the previous one."""
        if over:
            self._over_for = self._over_for + elapsed if self._over_for >= 0 else 0.0
            self._quiet_for = 0.0
            self.on = self.on or self._over_for >= self.alarm.shortest
        else:
            self._over_for = -1.0
            self._quiet_for += elapsed
            self.on = self.on and self._quiet_for <= self.alarm.longest
        return self.on


def runs(true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start and end (exclusive) of each run of True."""
    edges = np.diff(np.concatenate([[False], true, [False]]).astype(np.int8))
    return np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)


@dataclass(frozen=True)
class Counts:
    """Events, delays and false alarms over some recordings.

    Attributes:
        events: number of events.
        delays: for each event that was caught, the time from its first sample to the first with an alarm.
        false_alarms: number of alarms without an event.
        quiet: the time without an event, in the recordings' unit; with one label per series, the number of series
            without an event.
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
    """Count alarms in one series: whether an alarm is on (T,), the event (T,), which is 1, 0 or NaN if unknown, and
    increasing times (T,)."""
    known = ~np.isnan(event)
    on, event, times = on[known], event[known] > 0, times[known]
    events = list(zip(*runs(event), strict=True))
    caught = [(start, start + on[start:stop].argmax()) for start, stop in events if on[start:stop].any()]
    delays = tuple(float(times[first] - times[start]) for start, first in caught)
    wrong = sum(not event[start:stop].any() for start, stop in zip(*runs(on), strict=True))
    spans = np.diff(times, prepend=times[:1])
    return Counts(len(events), delays, int(wrong), float(spans[~event].sum()))


def best_f1(probability: np.ndarray, event: np.ndarray) -> float | None:
    """The threshold with the best F1, half way to the next lower probability, for probabilities (N,) and whether there
    is an event (N,); None if only one class occurs."""
    if not event.any() or event.all():
        return None
    order = np.argsort(-probability, kind="stable")
    sorted_probability, hits = probability[order], event[order].cumsum()
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + event.sum())
    last_of_its_value = np.append(sorted_probability[1:] < sorted_probability[:-1], True)
    best = int(np.argmax(np.where(last_of_its_value, f1, -1.0)))
    return _between(sorted_probability, best)


def within_limit(
    alarm: Alarm, series: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], per_series: bool = False
) -> float | None:
    """The lowest threshold that, like all higher ones, gives no more false alarms than ``alarm.limit``.

    Args:
        alarm: with its limit.
        series: probability (T,), event (T,) (NaN: unknown) and times (T,) of each series; T is 1 with one label per
            series.
        per_series: whether the limit is per series without an event or per unit of time without one.

    Returns:
        The threshold; None if no sample is without an event.
    """
    assert alarm.limit is not None
    quiet = np.concatenate([p[event == 0] for p, event, _ in series]) if series else np.empty(0)
    if not len(quiet):
        return None
    levels = np.unique(quiet)[::-1]
    if len(levels) > CANDIDATES:  # all of the highest, where the limit is reached; some of the rest
        levels = np.concatenate([levels[: CANDIDATES // 2], np.quantile(levels, np.linspace(1, 0, CANDIDATES // 2))])
        levels = np.unique(levels)[::-1]
    every = np.unique(np.concatenate([p for p, _, _ in series]))[::-1]
    passed = np.inf  # the lowest level within the limit
    for level in levels:
        if per_series:
            total = Counts(0, (), int((quiet >= level).sum()), float(len(quiet)))
        else:
            total = sum((count(alarm.raised(p >= level, t), event, t) for p, event, t in series), NOTHING)
        if total.false_alarms > alarm.limit * total.quiet:
            break
        passed = level
    # Just below the lowest level within the limit, and above the next one.
    if np.isfinite(passed):
        return _between(every, int(np.flatnonzero(every == passed)[0]))
    above = every[every > levels[0]]
    return _between(np.array([above[-1], levels[0]]), 0) if len(above) else NEVER


def _between(falling: np.ndarray, i: int) -> float:
    """Half way to the next lower probability, so that rounding on another machine does not move a sample over it."""
    below = falling[i + 1 :][falling[i + 1 :] < falling[i]]
    return float((falling[i] + (below[0] if len(below) else 0.0)) / 2)


@dataclass(frozen=True)
class Summary:
    """Events, false alarms and delays over several trainings.

    Attributes:
        events, caught: number of events, and the mean number of those that were caught.
        false_alarms: per unit of time without an event; NaN if there is no such time.
        median, late: median and 90 % quantile of the delays; NaN if no event was caught.
    """

    events: int
    caught: float
    false_alarms: float
    median: float
    late: float


def summary(counts: Sequence[Counts]) -> Summary:
    """Summarise the counts of several trainings on the same recordings."""
    quiet, delays = sum(one.quiet for one in counts), [d for one in counts for d in one.delays]
    return Summary(
        counts[0].events,
        sum(one.caught for one in counts) / len(counts),
        sum(one.false_alarms for one in counts) / quiet if quiet else np.nan,
        float(np.median(delays)) if delays else np.nan,
        float(np.quantile(delays, 0.9)) if delays else np.nan,
    )
