"""Run a model of the usual course on live samples: the distance of each reading from its forecast, and alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from torchliquid.alarms import Alarm, AlarmState
from torchliquid.data import given
from torchliquid.errors import InputError
from torchliquid.models.conformal import Interval
from torchliquid.runtime.stream import ModelStream

if TYPE_CHECKING:
    from torchliquid.models.predictor import Predictor

WATCH = "watch"
"""The key of a model's metadata for models that watch."""


@dataclass(frozen=True)
class Rule:
    """The limits of what is usual, and the rule for alarms.

    Attributes:
        half: (C,) the largest usual distance between a reading and its forecast.
        alarm: how long some reading must be beyond this distance.
        good: description of the good stretch.
    """

    half: np.ndarray
    alarm: Alarm
    good: str

    @classmethod
    def of(cls, model: Predictor) -> Rule:
        """The rule of a model.

        Raises:
            InputError: the model has no rule, or it is invalid.
        """
        found = model.metadata.get(WATCH)
        if found is None:
            raise InputError("the model watches nothing: it was trained for a target; learn one with torchliquid watch")
        interval = Interval.of(model)
        try:
            half = np.array(() if interval is None else interval.half)
            rule = cls(half, Alarm(float(found["length"]), float(found["merge"])), str(found["good"]))
        except (TypeError, ValueError, KeyError, OverflowError, InputError):
            raise InputError("what the model calls unusual is broken; save the model again") from None
        if half.shape != (model.preprocessing.n_channels,) or not (half > 0).all():
            raise InputError("what the model calls unusual is broken; save the model again")
        return rule

    def ratios(self, readings: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """(..., C) distances of readings from their forecasts, where 1 is the limit of the usual; NaN if missing."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.abs(readings - expected) / self.half)


def score(ratios: np.ndarray) -> np.ndarray:
    """(...,) the largest ratio of each sample; 0 if it has none."""
    return np.asarray(np.where(np.isnan(ratios), 0.0, ratios).max(-1))


class WatchStream(ModelStream):
    """A stream of readings. :meth:`step` returns (C,) the distance of each reading from its forecast, where 1 is the
    limit of what is usual; NaN for the first sample and without a reading.

    Attributes:
        rule: the rule of the model.
        score: the largest distance at the last sample.
        sensor: the channel of this distance; None if the score is 0.
        unusual_for: how long the score has been above 1, or how long since it first was if an alarm is on, in the
            recording's unit; None otherwise.
    """

    def __init__(self, model: Predictor, n: int = 1) -> None:
        if n != 1:
            raise InputError(f"a model that watches has one stream; make {n} streams")
        self.rule = Rule.of(model)
        self._watching = AlarmState(self.rule.alarm)
        self._forget()
        super().__init__(model, n)

    def _forget(self) -> None:
        self._expected: np.ndarray | None = None
        self._watching.reset()
        self.score, self.sensor, self.unusual_for = 0.0, None, None

    score: float
    sensor: str | None
    unusual_for: float | None

    @property
    def alarm(self) -> bool:
        """Whether an alarm is on after the last sample."""
        return self._watching.on

    def step(self, values: Any, elapsed: Any = None, time: Any = None) -> np.ndarray:
        """One sample, or several in turn; see :meth:`ModelStream.step` for the arguments."""
        return self._read(values, elapsed, time)

    def _one(self, sample: np.ndarray, elapsed: Any, time: Any) -> np.ndarray:
        expected, last = self._expected, float(self._last[0])
        self._expected = super()._one(sample, elapsed, time)
        scales = self.model.preprocessing
        if time is not None and (span := float(self._last[0]) - last) == 0:
            return np.full(scales.n_channels, np.nan)  # a second sample of the same time
        if time is None:
            span = float(given.span(elapsed, scales.time_unit)) if elapsed is not None else np.nan
        first = expected is None
        readings = np.where(scales.observed(np.reshape(sample, (1, -1)))[0], np.reshape(sample, -1), np.nan)
        found = np.full(scales.n_channels, np.nan) if expected is None else self.rule.ratios(readings, expected)
        self.score = float(score(found))
        self.sensor = scales.channels[int(np.nanargmax(found))] if self.score > 0 else None
        self._follow_alarm(0.0 if first else float(scales.spans(span)) * scales.time_scale)
        return found

    def _follow_alarm(self, span: float) -> None:
        over, before = self.score > 1, self.unusual_for
        on = self._watching.step(over, span)
        if before is not None and (over or on):
            self.unusual_for = before + span
        else:
            self.unusual_for = 0.0 if over else None

    def reset(self, which: Sequence[int] | np.ndarray | None = None) -> None:
        super().reset(which)
        self._forget()
