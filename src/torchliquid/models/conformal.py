"""Intervals around values: split conformal on the validation part, and adaptive along time for forecasts.

The half width is the error that a share of the validation part does not exceed, with the correction for its finite
size (Lei et al. 2018, arXiv 1604.04173). It covers as often where new data is like the validation part.

Of a forecast the truth comes to be known, and the half width follows it: a miss widens it, a hit narrows it, by steps
in proportion to the largest of the last errors. So it covers as often as asked in the long run, whatever drifts
(adaptive conformal inference, Gibbs and Candès 2021, arXiv 2106.00170, in the form that tracks the quantile itself,
Angelopoulos et al. 2023, arXiv 2307.16895, whose step of a tenth of the largest error is taken).
"""

from __future__ import annotations

from collections import deque
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.models.predictor import Predictor, aligned
from torchliquid.tasks import ACROSS, Task

RECENT = 100
"""Errors whose largest sets the size of a step."""

RATE = 0.1
"""Of the largest recent error, what a step would be for a miss at 100 %."""

FEWEST = 20
"""Labelled samples, or series, of a validation part."""


@dataclass(frozen=True)
class Interval:
    """What was found on the validation part.

    Attributes:
        level: the share that is to lie inside.
        half: of each value, how far the interval reaches to both sides.
        recent: of a forecast, its last absolute errors there; empty where the truth does not come to be known.
    """

    level: float
    half: tuple[float, ...]
    recent: tuple[float, ...] = ()

    @property
    def adaptive(self) -> bool:
        return bool(self.recent)

    @classmethod
    def of(cls, model: Predictor) -> Interval | None:
        """A model's; None where it has none.

        Raises:
            InputError: its metadata is broken.
        """
        found = model.metadata.get("interval")
        if found is None:
            return None
        try:
            made = cls(float(found["level"]), tuple(map(float, found["half"])), tuple(map(float, found["recent"])))
        except (TypeError, ValueError, KeyError, OverflowError):
            made = cls(0.0, ())
        numbers = (*made.half, *made.recent)
        fits = 0 < made.level < 1 and len(made.half) == model.task.n_outputs and len(made.recent) <= RECENT
        if made.recent:
            fits = fits and len(made.half) == 1 and model.task.horizon is not None
        if not fits or not all(np.isfinite(v) and v >= 0 for v in numbers):
            raise InputError("the model's interval is broken; save the model again")
        return made


def add_interval(model: Predictor, validation: Recording, level: float) -> None:
    """Give a model the interval that its errors on the validation part make.

    Raises:
        InputError: it answers classes or a quantile; the level is no share; there are too few labelled samples.
    """
    task = model.task
    check_interval(task, level)
    labelled = task.with_targets(aligned(validation, model.preprocessing))
    outputs = model.outputs(labelled)
    pairs = [task.labelled(output, series)[:2] for output, series in zip(outputs, labelled.series, strict=True)]
    errors = np.concatenate([np.abs(said - truth) for said, truth in pairs])
    errors = errors[np.isfinite(errors).all(1)]
    if len(errors) < FEWEST:
        raise InputError(
            f"an interval needs {FEWEST} labelled samples (or series) to validate on; there are {len(errors)}"
        )
    rank = min(int(np.ceil((len(errors) + 1) * level)), len(errors))
    half = np.sort(errors, axis=0)[rank - 1]
    recent = errors[-RECENT:, 0] if task.horizon is not None else np.empty(0)
    made = Interval(level, tuple(half.tolist()), tuple(recent.tolist()))
    model.metadata["interval"] = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(made).items()}


def check_interval(task: Task, level: float) -> None:
    """Whether a task's answers can have an interval.

    Raises:
        InputError: they cannot, or the level is no share.
    """
    if not 0 < level < 1:
        raise InputError(f"an interval covers a share between 0 and 1, like 0.9, not {level:g}")
    if task.kind == "classification":
        raise InputError("an interval is of values; classes have probabilities: leave it out")
    if task.quantile is not None:
        raise InputError("an interval is around the value; a quantile is a bound itself: leave one of them out")


class Tracker:
    """The half width of a forecast along time.

    Attributes:
        half: now.
    """

    def __init__(self, interval: Interval) -> None:
        self.miss = 1 - interval.level
        self.half = interval.half[0]
        self.recent = deque(interval.recent, maxlen=RECENT)

    def learn(self, error: float, half: float) -> None:
        """Of a forecast whose truth has come: its absolute error, and the half width that it had."""
        if np.isfinite(error):
            self.recent.append(error)
            self.half = max(self.half + RATE * max(self.recent) * ((error > half) - self.miss), 0.0)


def bounds(model: Predictor, recording: Recording, outputs: list[np.ndarray]) -> list[np.ndarray]:
    """(T, K, 2) lower and upper ends for each series' answers, or (K, 2) of one a series.

    Args:
        model: with an interval.
        recording: what was answered; of a forecast, what of it had come at a sample moves the ends from there on.
        outputs: of the model.
    """
    interval = Interval.of(model)
    assert interval is not None
    if not interval.adaptive:
        half = np.array(interval.half)
        return [np.stack([output - half, output + half], -1) for output in outputs]
    known = aligned(recording, model.preprocessing)
    return [_along(model.task, interval, series, output) for series, output in zip(known.series, outputs, strict=True)]


def _along(task: Task, interval: Interval, series: Series, output: np.ndarray) -> np.ndarray:
    truth, tracker = task.forecast(series), Tracker(interval)
    due = _known_at(task, series.times)
    halves = np.empty(len(output))
    order = np.argsort(due, kind="stable")
    place = 0
    for i in range(len(output)):
        while place < len(order) and due[order[place]] <= i:
            j = order[place]
            if j < i:
                tracker.learn(float(np.abs(output[j, 0] - truth[j])), halves[j])
            place += 1
        halves[i] = tracker.half
    return np.stack([output - halves[:, None], output + halves[:, None]], -1)


def _known_at(task: Task, times: np.ndarray) -> np.ndarray:
    """(T,) the sample with which the truth of each forecast is known."""
    assert task.horizon is not None
    if task.horizon_unit == "samples":
        return np.arange(len(times)) + int(task.horizon)
    return np.searchsorted(times, times + task.horizon * (1 - 1e-6))


def coverage(model: Predictor, recording: Recording, outputs: list[np.ndarray]) -> tuple[float, float]:
    """The share of labelled samples whose truth lies inside, and the mean width.

    Args:
        recording: with targets, as :meth:`Task.with_targets` gives them.
    """
    inside, widths = [], []
    for series, ends in zip(recording.series, bounds(model, recording, outputs), strict=True):
        shape = (-1, *ends.shape[-2:])
        low, truth, _ = model.task.labelled(ends.reshape(shape)[..., 0], series)
        high, *_ = model.task.labelled(ends.reshape(shape)[..., 1], series)
        inside.append(((low <= truth) & (truth <= high)).ravel())
        widths.append((high - low).ravel())
    return float(np.concatenate(inside).mean()), float(np.concatenate(widths).mean())


def columns(ends: list[np.ndarray]) -> dict[str, Any]:
    """The columns ``lower`` and ``upper`` of :meth:`Predictor.predict`, numbered where there are several values."""
    k = ends[0].shape[-2]
    rows = np.concatenate([each.reshape(-1, k, 2) for each in ends])
    names = [""] if k == 1 else [f"_{i + 1}" for i in range(k)]
    return {f"{end}{name}": rows[:, i, e] for i, name in enumerate(names) for e, end in enumerate(("lower", "upper"))}


class Band:
    """The interval of one live stream.

    Attributes:
        ends: (K, 2) around the last answer; None before the first.
    """

    def __init__(self, task: Task, interval: Interval, usual: float) -> None:
        """``usual``: the usual gap between samples, in the recording's unit."""
        self.task, self.interval, self.usual = task, interval, usual
        self.reset()

    def reset(self) -> None:
        self.ends: np.ndarray | None = None
        self._tracker = Tracker(self.interval) if self.interval.adaptive else None
        self._waiting: deque[tuple[float, float, float, float]] = deque()  # when due, when made, the answer, its half
        self._now, self._last, self._at = 0.0, np.nan, -np.inf
        self._gaps: deque[float] = deque(maxlen=int(self.task.horizon or 1))  # before each of the samples ahead

    def step(self, reading: float, span: float, answer: np.ndarray) -> None:
        """One sample.

        Args:
            reading: of the channel that is forecast, NaN where not observed.
            span: time since the sample before, 0 of the first.
            answer: (K,) to it.
        """
        half = np.array(self.interval.half)
        if self._tracker is not None and self.task.horizon is not None:
            samples = self.task.horizon_unit == "samples"
            self._now += 1.0 if samples else span
            self._gaps.append(span)
            self._resolve(reading, 0.0 if samples else 1e-6 * self.task.horizon)
            half = np.array([self._tracker.half])
            self._waiting.append((self._now + self.task.horizon, self._now, float(answer[0]), self._tracker.half))
        self.ends = np.stack([answer - half, answer + half], -1)

    def _resolve(self, reading: float, slack: float) -> None:
        assert self._tracker is not None
        assert self.task.horizon is not None
        while self._waiting and self._waiting[0][0] <= self._now + slack:
            due, made, said, half = self._waiting.popleft()
            truth = reading if self._now <= due + slack else np.nan
            if self.task.horizon_unit == "samples" and sum(self._gaps) > ACROSS * self.task.horizon * self.usual:
                truth = np.nan  # across a gap, as in Task.forecast
            if np.isnan(truth) and self.task.horizon_unit != "samples" and self._at > made + self.task.horizon / 2:
                truth = self._last
            self._tracker.learn(abs(said - truth), half)
        if np.isfinite(reading):
            self._last, self._at = reading, self._now
