"""Intervals around values: split conformal on the validation part, and adaptive along time for forecasts.

The half width is the error that a given share of the validation part does not exceed, with the correction for finite
samples (Lei et al. 2018, arXiv 1604.04173). On data like the validation part, the intervals cover that share.

The truth of a forecast becomes known later, and the half width follows it: a miss widens it, a hit narrows it, in steps
proportional to the largest recent error. So the intervals cover the requested share in the long run, whatever drifts
(adaptive conformal inference, Gibbs and Candès 2021, arXiv 2106.00170, in the form that tracks the quantile itself,
Angelopoulos et al. 2023, arXiv 2307.16895, with its step of a tenth of the largest error).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from torchliquid.data.preprocessing import Preprocessing, aligned
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.tasks import ACROSS, Task

RECENT = 100
"""Number of recent errors whose largest sets the size of a step."""

RATE = 0.1
"""Step for a miss at a level of 100 %, as a share of the largest recent error."""

FEWEST = 20
"""Minimum number of labelled samples, or series, in a validation part."""


@runtime_checkable
class Predicting(Protocol):
    """A model whose answers can have intervals."""

    task: Task
    preprocessing: Preprocessing
    metadata: dict[str, Any]

    def outputs(self, recording: Recording) -> list[np.ndarray]: ...


@dataclass(frozen=True)
class Interval:
    """An interval found on the validation part.

    Attributes:
        level: the share of values that should lie inside.
        half: for each value, how far the interval extends to each side.
        recent: for each value of a forecast, its last absolute errors on the validation part; empty if the truth never
            becomes known.
    """

    level: float
    half: tuple[float, ...]
    recent: tuple[tuple[float, ...], ...] = ()

    @property
    def adaptive(self) -> bool:
        return bool(self.recent)

    @classmethod
    def of(cls, model: Predicting) -> Interval | None:
        """The interval of a model; None if it has none.

        Raises:
            InputError: its metadata is invalid.
        """
        found = model.metadata.get("interval")
        if found is None:
            return None
        try:
            recent = found["recent"]
            rows = recent if not recent or isinstance(recent[0], list) else [recent]  # of one value as it is
            errors = tuple(tuple(map(float, row)) for row in rows)
            made = cls(float(found["level"]), tuple(map(float, found["half"])), errors)
        except (TypeError, ValueError, KeyError, OverflowError):
            made = cls(0.0, ())
        numbers = (*made.half, *(error for row in made.recent for error in row))
        fits = 0 < made.level < 1 and len(made.half) == model.task.n_outputs
        if made.recent:
            fits = fits and all(0 < len(row) <= RECENT for row in made.recent)
            fits = fits and len(made.half) == len(made.recent) == len(model.task.horizons)
        if not fits or not all(np.isfinite(v) and v >= 0 for v in numbers):
            raise InputError("the model's interval is invalid; save the model again")
        return made


def add_interval(model: Predicting, validation: Recording, level: float) -> None:
    """Set a model's interval from its errors on the validation part.

    Raises:
        InputError: the model predicts classes or a quantile, the level is not a share, or there are too few labelled
            samples for it.
    """
    task = model.task
    check_interval(task, level)
    labelled = task.with_targets(aligned(validation, model.preprocessing))
    outputs = model.outputs(labelled)
    pairs = [task.labelled(output, series)[:2] for output, series in zip(outputs, labelled.series, strict=True)]
    errors = np.concatenate([np.abs(answer - truth) for answer, truth in pairs])
    errors = errors[np.isfinite(errors).all(1)]
    _check_number(len(errors), level)
    half = np.sort(errors, axis=0)[int(np.ceil((len(errors) + 1) * level)) - 1]
    recent = errors[-RECENT:].T.tolist() if task.horizon is not None else []
    recent = recent[0] if len(recent) == 1 else recent
    model.metadata["interval"] = {"level": level, "half": half.tolist(), "recent": recent}


def check_interval(task: Task, level: float) -> None:
    """Check that a task's answers can have an interval.

    Raises:
        InputError: they cannot, or the level is not a share.
    """
    if not 0 < level < 1:
        raise InputError(f"the level of an interval must be a share between 0 and 1, such as 0.9, not {level:g}")
    if task.kind == "classification":
        raise InputError("only values can have an interval; classes have probabilities: leave the interval out")
    if task.quantile is not None:
        raise InputError("an interval and a quantile exclude each other: leave one of them out")


def check_enough(task: Task, validation: Recording, level: float) -> None:
    """Whether a validation part has the labels that an interval needs.

    Args:
        task: fitted.

    Raises:
        InputError: it has fewer.
    """
    labelled = task.with_targets(validation)
    _check_number(sum(int((np.atleast_1d(task.encode(s)[1]) > 0).sum()) for s in labelled.series), level)


def _check_number(n: int, level: float) -> None:
    """Of ``n`` errors the largest covers ``n / (n + 1)`` of new ones, and none covers more."""
    fewest = max(FEWEST, int(np.ceil(level / (1 - level) - 1e-9)))
    if n < fewest:
        raise InputError(
            f"an interval at {level:.4g} needs {fewest} labelled samples (or series) to validate on; there are {n}"
            + (f", enough for {np.floor(1000 * n / (n + 1)) / 1000:.3f}" if n >= FEWEST else "")
        )


class Tracker:
    """The half width of value ``k`` of a forecast over time.

    Attributes:
        half: the current half width.
    """

    def __init__(self, interval: Interval, k: int = 0) -> None:
        self.miss = 1 - interval.level
        self.half = interval.half[k]
        self.recent = deque(interval.recent[k], maxlen=RECENT)

    def learn(self, error: float, half: float) -> None:
        """Update with the absolute error of a forecast whose truth became known, and the half width that it had."""
        if np.isfinite(error):
            self.recent.append(error)
            self.half = max(self.half + RATE * max(self.recent) * ((error > half) - self.miss), 0.0)


def bounds(model: Predicting, recording: Recording, outputs: list[np.ndarray]) -> list[np.ndarray]:
    """(T, K, 2) lower and upper ends for the answers of each series, or (K, 2) with one answer per series.

    Args:
        model: with an interval.
        recording: the recording that was predicted. In a forecast, truths that are known at a sample move the ends from
            there on.
        outputs: the model's answers.
    """
    interval = Interval.of(model)
    assert interval is not None
    if not interval.adaptive:
        half = np.array(interval.half)
        return [np.stack([output - half, output + half], -1) for output in outputs]
    known = aligned(recording, model.preprocessing)
    return [_along(model.task, interval, series, output) for series, output in zip(known.series, outputs, strict=True)]


def _along(task: Task, interval: Interval, series: Series, output: np.ndarray) -> np.ndarray:
    truth = task.forecast(series).reshape(output.shape)
    halves = np.empty(output.shape)
    for k, horizon in enumerate(task.horizons):
        tracker, due = Tracker(interval, k), _known_at(task, horizon, series.times)
        order = np.argsort(due, kind="stable")
        place = 0
        for i in range(len(output)):
            while place < len(order) and due[order[place]] <= i:
                j = order[place]
                if j < i:
                    tracker.learn(float(np.abs(output[j, k] - truth[j, k])), halves[j, k])
                place += 1
            halves[i, k] = tracker.half
    return np.stack([output - halves, output + halves], -1)


def _known_at(task: Task, horizon: float, times: np.ndarray) -> np.ndarray:
    """(T,) the sample at which the truth of each forecast becomes known."""
    if task.horizon_unit == "samples":
        return np.arange(len(times)) + int(horizon)
    return np.searchsorted(times, times + horizon * (1 - 1e-6))


def coverage(model: Predicting, recording: Recording, outputs: list[np.ndarray]) -> tuple[float, float]:
    """The share of labelled samples whose truth lies inside the interval, and the mean width; as :func:`covered`."""
    inside, widths = covered(model, recording, outputs)
    return float(inside.mean()), float(widths.mean())


def covered(model: Predicting, recording: Recording, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Whether the truth lies inside the interval, and its width, for all values of all labelled samples.

    Args:
        recording: with targets, as :meth:`Task.with_targets` returns them.
    """
    inside, widths = [], []
    for series, ends in zip(recording.series, bounds(model, recording, outputs), strict=True):
        shape = (-1, *ends.shape[-2:])
        low, truth, _ = model.task.labelled(ends.reshape(shape)[..., 0], series)
        high, *_ = model.task.labelled(ends.reshape(shape)[..., 1], series)
        inside.append(((low <= truth) & (truth <= high)).ravel())
        widths.append((high - low).ravel())
    return np.concatenate(inside), np.concatenate(widths)


def columns(task: Task, ends: list[np.ndarray]) -> dict[str, Any]:
    """The columns ``lower`` and ``upper`` of :meth:`Predictor.predict`, named where there are several values."""
    rows = np.concatenate([each.reshape(-1, task.n_outputs, 2) for each in ends])
    names = [name and f"_{name}" for name in task.value_names]
    return {f"{end}{name}": rows[:, i, e] for i, name in enumerate(names) for e, end in enumerate(("lower", "upper"))}


class Band:
    """The interval of a live stream.

    Attributes:
        ends: (K, 2) around the last answer; None before the first.
    """

    def __init__(self, task: Task, interval: Interval, usual: float) -> None:
        """``usual``: the usual gap between samples, in the recording's unit of time."""
        self.task, self.interval, self.usual = task, interval, usual
        self.reset()

    def reset(self) -> None:
        self.ends: np.ndarray | None = None
        samples, trackers = self.task.horizon_unit == "samples", []
        if self.interval.adaptive:
            trackers = [Tracker(self.interval, k) for k in range(len(self.task.horizons))]
        self._followed = [
            _Followed(tracker, horizon, samples, self.usual)
            for tracker, horizon in zip(trackers, self.task.horizons, strict=False)
        ]

    def step(self, reading: float, span: float, answer: np.ndarray) -> None:
        """Add a sample.

        Args:
            reading: of the forecast channel; NaN if not observed.
            span: time since the previous sample; 0 for the first.
            answer: (K,) the answer to this sample.
        """
        half = np.array(self.interval.half)
        for k, followed in enumerate(self._followed):
            half[k] = followed.step(reading, span, float(answer[k]))
        self.ends = np.stack([answer - half, answer + half], -1)


class _Followed:
    """One value of a forecast, whose truth comes with later readings."""

    def __init__(self, tracker: Tracker, horizon: float, samples: bool, usual: float) -> None:
        self.tracker, self.horizon, self.samples, self.usual = tracker, horizon, samples, usual
        self.slack = 0.0 if samples else 1e-6 * horizon
        self.waiting: deque[tuple[float, float, float, float]] = deque()  # time due, time made, answer, half width
        self.now, self.last, self.at = 0.0, np.nan, -np.inf
        self.gaps: deque[float] = deque(maxlen=int(horizon) if samples else 1)  # gaps before the latest samples

    def step(self, reading: float, span: float, answer: float) -> float:
        """The half width around the answer to a sample."""
        self.now += 1.0 if self.samples else span
        self.gaps.append(span)
        while self.waiting and self.waiting[0][0] <= self.now + self.slack:
            due, made, before, half = self.waiting.popleft()
            truth = reading if self.now <= due + self.slack else np.nan
            if self.samples and sum(self.gaps) > ACROSS * self.horizon * self.usual:
                truth = np.nan  # across a gap, as in Task.forecast
            if np.isnan(truth) and not self.samples and self.at > made + self.horizon / 2:
                truth = self.last
            self.tracker.learn(abs(before - truth), half)
        if np.isfinite(reading):
            self.last, self.at = reading, self.now
        self.waiting.append((self.now + self.horizon, self.now, answer, self.tracker.half))
        return self.tracker.half
