"""What of a recording departs from its usual course: a score a sample, alarms, which sensor and since when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from torchliquid.alarms import runs
from torchliquid.data import given
from torchliquid.data.preprocessing import aligned
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.models.model import Model
from torchliquid.models.predictor import Predictor
from torchliquid.runtime.watch import Rule, score
from torchliquid.watching.learn import learn

SHARE = 0.3
"""Of a recording, from its beginning, that is taken for good where nobody says otherwise."""

LEVEL = 0.99
SAMPLES, PAUSE = 3, 10
"""Of an alarm: samples in a row that are unusual, and those that may be usual again without ending it."""


@dataclass(frozen=True)
class Finding:
    """One alarm.

    Attributes:
        series: the name of the series.
        since: the time of its first unusual sample; ``raised`` when the alarm began, ``until`` its last sample, in the
            recording's unit.
        sensor: whose reading was the most unusual at first.
        others: other channels that were unusual in more than half of its samples, the worst first.
        peak: the largest score.
    """

    series: str
    since: float
    raised: float
    until: float
    sensor: str
    others: tuple[str, ...]
    peak: float


@dataclass(frozen=True, eq=False)
class Watched:
    """A recording, watched.

    Attributes:
        model: of the usual course; save it, and :func:`torchliquid.stream` watches live samples with it.
        recording: the model's channels.
        ratios: (T, C) of each series: how far each reading lies from its forecast, 1 being as far as is usual.
        on: (T,) of each series, whether an alarm is on.
        findings: the alarms.
        good: (T,) of each series, what was learnt from; nothing where the model was given.
        notes: what a user should know.
    """

    model: Predictor
    recording: Recording
    ratios: list[np.ndarray]
    on: list[np.ndarray]
    findings: list[Finding]
    good: list[np.ndarray]
    notes: tuple[str, ...]

    @property
    def scores(self) -> list[np.ndarray]:
        """(T,) of each series, the largest ratio; beyond 1 some reading is unusual."""
        return [score(each) for each in self.ratios]

    def frame(self) -> pl.DataFrame:
        """A row a sample: ``series`` where there are several, ``time``, ``score``, ``sensor``, ``alarm``, ``good``."""
        found = self.model.predict(self.recording).select(pl.col("^series|time$"))
        names = np.array([*self.recording.channels, None], dtype=object)
        ratios = np.nan_to_num(np.concatenate(self.ratios))
        worst = np.where(ratios.max(1) > 0, ratios.argmax(1), -1)
        return found.with_columns(
            score=np.concatenate(self.scores),
            sensor=pl.Series(names[worst].tolist(), dtype=pl.String),
            alarm=np.concatenate(self.on),
            good=np.concatenate(self.good),
        )


def watch(
    recording: Recording | Any,
    good: float | tuple[Any, Any] | None = None,
    model: Predictor | str | None = None,
    level: float = LEVEL,
    length: Any = None,
    merge: Any = None,
) -> Watched:
    """Find what departs from a recording's usual course, without labels.

    Each sample is forecast from those before it, all channels at once, by ridge regression that learnt the first 70 %
    of a stretch in which all was well. The rest of that stretch tells how far readings lie from their forecasts: by
    split conformal prediction, all readings of a sample lie within their intervals as often as ``level`` says. Beyond,
    a sample is unusual; an alarm begins where that stays so.

    Args:
        recording: a recording; a Polars or pandas frame, or an array (T, C), as :func:`torchliquid.read` takes them.
        good: the share at the beginning of each series that was good, or its first and last time, as numbers in the
            recording's unit or dates. None: 30 %, which is noted.
        model: watch with one that was learnt before, or its file; then nothing is learnt.
        level: of good samples, the share that is to be usual.
        length: how long samples must be unusual before an alarm begins, in the recording's unit or as a ``timedelta``.
            None: three samples at the usual gap.
        merge: the longest pause that does not end it. None: ten samples.

    Raises:
        InputError: a share or level that is none, a stretch without samples or with too few, a model that watches
            nothing.
    """
    read = Recording.from_frame(recording) if not isinstance(recording, Recording | np.ndarray) else recording
    read = Recording.from_arrays(read) if isinstance(read, np.ndarray) else read
    read = replace(read, target=None, series=tuple(replace(s, targets=None) for s in read.series))
    notes: list[str] = []
    if model is not None:
        known = Model.load(model) if isinstance(model, str) else model
        if good is not None or length is not None or merge is not None:
            raise InputError("a model that was learnt before has its good stretch and its alarms: leave these out")
        where = [np.zeros(len(s), dtype=bool) for s in read.series]
    else:
        if not 0 < level < 1:
            raise InputError(f"the level is a share of the good samples between 0 and 1, like 0.99, not {level:g}")
        where, words = _good(read, good)
        if good is None:
            notes.append(f"taken for good: {words}; say which stretch was, and it is more to be relied on")
        gap = read.median_gap()
        times = [
            default * gap if asked is None else float(given.span(asked, read.time_unit))
            for asked, default in ((length, SAMPLES - 1), (merge, PAUSE))
        ]
        known, found = learn(_cut(read, where), level, times[0], times[1], words)
        notes += found
    return _look(known, read, where, tuple(notes))


def _look(model: Predictor, recording: Recording, good: list[np.ndarray], notes: tuple[str, ...]) -> Watched:
    rule = Rule.of(model)
    recording = aligned(recording, model.preprocessing)
    ratios, on, findings = [], [], []
    for series, output in zip(recording.series, model.outputs(recording), strict=True):
        expected = np.concatenate([np.full((1, output.shape[1]), np.nan), output[:-1]])
        readings = np.where(model.preprocessing.observed(series.values), series.values, np.nan)
        ratios.append(rule.ratios(readings, expected))
        over = score(ratios[-1]) > 1
        on.append(rule.alarm.raised(over, series.times))
        findings += _findings(series, ratios[-1], over, on[-1], recording.channels)
    return Watched(model, recording, ratios, on, findings, good, notes)


def _findings(
    series: Series, ratios: np.ndarray, over: np.ndarray, on: np.ndarray, channels: Sequence[str]
) -> list[Finding]:
    found = []
    for start, stop in zip(*runs(on), strict=True):
        first = start
        while first and over[first - 1]:
            first -= 1
        part = np.nan_to_num(ratios[first:stop])[over[first:stop]]
        sensor = int(part[0].argmax())  # later on its readings have led the forecasts of others astray
        others = [channels[i] for i in np.argsort(-part.mean(0)) if i != sensor and (part[:, i] > 1).mean() > 0.5]
        last = start + int(np.flatnonzero(over[start:stop])[-1])
        found.append(
            Finding(
                series.name,
                float(series.times[first]),
                float(series.times[start]),
                float(series.times[last]),
                channels[sensor],
                tuple(others),
                float(part.max()),
            )
        )
    return found


def _good(recording: Recording, good: Any) -> tuple[list[np.ndarray], str]:
    """(T,) of each series where it is good, and that in words."""
    share = SHARE if good is None else good
    if isinstance(share, int | float):
        if not 0 < share <= 1:
            raise InputError(f"the good share is more than 0 and at most 1, not {share:g}; or give its START:END")
        words = f"the first {share:.0%} of {'each series' if recording.n_series > 1 else 'the recording'}"
        return [np.arange(len(s)) < round(share * len(s)) for s in recording.series], words
    start, end = (given.stamp(time, recording.time_unit, recording.columns).item() for time in share)
    if not start < end:
        raise InputError(f"the good stretch ends ({share[1]}) before it begins ({share[0]})")
    where = [(s.times >= start) & (s.times <= end) for s in recording.series]
    if not any(each.any() for each in where):
        raise InputError(f"the recording has no sample from {share[0]} to {share[1]}")
    return where, f"from {share[0]} to {share[1]}"


def _cut(recording: Recording, where: list[np.ndarray]) -> Recording:
    """The good part; times do not decrease, so it is one stretch of each series."""
    found = []
    for series, good in zip(recording.series, where, strict=True):
        rows = np.flatnonzero(good)
        if len(rows):
            found.append(series.cut(int(rows[0]), int(rows[-1]) + 1))
    return replace(recording, series=tuple(found))
