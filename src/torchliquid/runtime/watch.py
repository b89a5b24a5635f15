"""A model of the usual course on live samples: how far each reading lies from what was to be expected, and alarms."""

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
"""The part of a model's metadata that makes it one that watches."""


@dataclass(frozen=True)
class Rule:
    """What is unusual, and when that is an alarm.

    Attributes:
        half: (C,) how far a reading may lie from its forecast.
        alarm: how long some reading must lie farther.
        good: a sentence on what was learnt as usual.
    """

    half: np.ndarray
    alarm: Alarm
    good: str

    @classmethod
    def of(cls, model: Predictor) -> Rule:
        """A model's.

        Raises:
            InputError: it has none, or it is broken.
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
        """(..., C) how far readings lie from their forecasts, 1 being as far as is usual; NaN where there is none."""
        with np.errstate(invalid="ignore", over="ignore"):
            return np.asarray(np.abs(readings - expected) / self.half)


def score(ratios: np.ndarray) -> np.ndarray:
    """(...,) the largest of each sample's; 0 where there is none."""
    return np.asarray(np.where(np.isnan(ratios), 0.0, ratios).max(-1))


class WatchStream(ModelStream):
    """Readings in, how unusual they are out: :meth:`step` gives (C,) how far each lies from its forecast, 1 being as
    far as is usual; NaN of the first sample and where there is no reading.

    Attributes:
        rule: what is unusual.
        score: of the last sample, the largest of these.
        sensor: the channel that it is of; None where the score is 0.
        unusual_for: how long the score has been above 1, or was within the alarm that is on, in the recording's unit;
            None where it is not.
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
        """One sample, or several one after the other; as of :class:`ModelStream`, but for what it returns."""
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
