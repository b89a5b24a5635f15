"""Find deviations from a recording's usual course: a score per sample, alarms, the sensor and the start of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from os import PathLike
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
"""Share of a recording, from its start, that counts as good by default."""

LEVEL = 0.99
SAMPLES, PAUSE = 3, 10
"""Defaults of an alarm: consecutive unusual samples that start it, and usual samples in between that do not end it."""


@dataclass(frozen=True)
class Finding:
    """One alarm.

    Attributes:
        series: name of the series.
        since, raised, until: times of the first unusual sample, of the start of the alarm and of the last unusual
            sample, in the recording's unit.
        sensor: the channel with the most unusual reading at the first sample.
        others: other channels that were unusual in more than half of the samples, the worst first.
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
    """The result of watching a recording.

    Attributes:
        model: the model of the usual course. Save it to watch live samples with :func:`torchliquid.stream`.
        recording: the recording with the model's channels.
        ratios: for each series, (T, C) the distance of each reading from its forecast, where 1 is the limit of what is
            usual.
        on: for each series, (T,) whether an alarm is on.
        findings: the alarms.
        good: for each series, (T,) whether a sample was used to learn; all False if the model was given.
        notes: notes for the user.
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
        """For each series, (T,) the largest ratio; above 1, some reading is unusual."""
        return [score(each) for each in self.ratios]

    def frame(self) -> pl.DataFrame:
        """One row per sample: ``series`` if there are several, ``time``, ``score``, ``sensor``, ``alarm``, ``good``."""
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
    model: Predictor | str | PathLike[str] | None = None,
    level: float = LEVEL,
    length: Any = None,
    merge: Any = None,
) -> Watched:
    """Find deviations from a recording's usual course, without labels.

    A ridge regression forecasts all channels of each sample from the previous samples. It learns from the first 70 % of
    a good stretch. The rest of the stretch gives the usual distance between readings and forecasts: by split conformal
    prediction, all readings of a sample lie within their intervals with probability ``level``. Other samples are
    unusual. An alarm starts if samples stay unusual.

    Args:
        recording: a recording, a Polars or pandas frame, or an array (T, C), as for :func:`torchliquid.read`.
        good: the good stretch: the share at the start of each series, or its first and last time as numbers in the
            recording's unit or as dates. None: 30 %, with a note.
        model: a model that was learnt before, or its file. Then nothing is learnt.
        level: share of good samples that count as usual.
        length: how long samples must be unusual before an alarm starts, in the recording's unit or as a ``timedelta``.
            None: three samples at the usual gap.
        merge: the longest pause that does not end an alarm. None: ten samples.

    Raises:
        InputError: the share or the level is invalid, the good stretch has too few samples, or the model was not
            learnt by this function.
    """
    if isinstance(recording, np.ndarray):
        recording = Recording.from_arrays(recording)
    read = recording if isinstance(recording, Recording) else Recording.from_frame(recording)
    read = replace(read, target=None, series=tuple(replace(s, targets=None) for s in read.series))
    notes: list[str] = []
    if model is not None:
        known = model if isinstance(model, Predictor) else Model.load(model)
        if good is not None or length is not None or merge is not None:
            raise InputError("a model that was learnt before has its good stretch and its alarms: leave these out")
        where = [np.zeros(len(s), dtype=bool) for s in read.series]
    else:
        if not 0 < level < 1:
            raise InputError(f"the level is a share of the good samples between 0 and 1, like 0.99, not {level:g}")
        where, words = _good(read, good)
        if good is None:
            notes.append(f"taken for good: {words}; if you say which stretch was good, the result is more reliable")
        lasts, pause = _time("length", length, SAMPLES - 1, read), _time("merge", merge, PAUSE, read)
        known, found = learn(_cut(read, where), level, lasts, pause, words)
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
        sensor = int(part[0].argmax())  # later, its readings also disturb the forecasts of other channels
        others = [channels[i] for i in np.argsort(-part.mean(0)) if i != sensor and (part[:, i] > 1).mean() > 0.5]
        last = start + int(np.flatnonzero(over[start:stop])[-1])
        since, raised, until = series.times[[first, start, last]].tolist()
        found.append(Finding(series.name, since, raised, until, channels[sensor], tuple(others), float(part.max())))
    return found


def _time(name: str, asked: Any, samples: int, recording: Recording) -> float:
    """A time in the recording's unit; None: that of this number of samples."""
    if asked is None:
        return samples * recording.median_gap()
    try:
        found = float(given.span(asked, recording.time_unit))
    except InputError:
        raise
    except (TypeError, ValueError):
        found = np.nan
    if not 0 <= found < np.inf:
        raise InputError(f"{name} is a time of 0 or more in {recording.time_unit}, or a timedelta, not {asked!r}")
    return found


def _good(recording: Recording, good: Any) -> tuple[list[np.ndarray], str]:
    """For each series, (T,) whether a sample is in the good stretch; and the stretch in words."""
    share = SHARE if good is None else good
    if isinstance(share, int | float):
        if not 0 < share <= 1:
            raise InputError(f"the good share is more than 0 and at most 1, not {share:g}; or give its START:END")
        words = f"the first {share:.0%} of {'each series' if recording.n_series > 1 else 'the recording'}"
        return [np.arange(len(s)) < round(share * len(s)) for s in recording.series], words
    if isinstance(share, str) or np.size(share) != 2:
        raise InputError(f"the good stretch is a share, or its first and last time, not {share!r}")
    start, end = (given.stamp(time, recording.time_unit, recording.columns).item() for time in share)
    if not start < end:
        raise InputError(f"the good stretch ends ({share[1]}) before it begins ({share[0]})")
    where = [(s.times >= start) & (s.times <= end) for s in recording.series]
    if not any(each.any() for each in where):
        raise InputError(f"the recording has no sample from {share[0]} to {share[1]}")
    return where, f"from {share[0]} to {share[1]}"


def _cut(recording: Recording, where: list[np.ndarray]) -> Recording:
    """The good stretch of each series. Times do not decrease, so it is contiguous."""
    good = zip(recording.series, map(np.flatnonzero, where), strict=True)
    return replace(recording, series=tuple(s.cut(int(rows[0]), int(rows[-1]) + 1) for s, rows in good if len(rows)))
