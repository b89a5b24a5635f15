"""Learn the usual course of all channels: one-step forecasts, and the usual distance of readings from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from torchliquid.data.preprocessing import Preprocessing, last_observed
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.models.tabular import Tabular
from torchliquid.runtime.watch import WATCH, score
from torchliquid.tasks import Task

LOOKBACKS = (1, 8, 32)
"""Numbers of past samples that are tried for the forecast. The one with the smallest error on the later part is used.
"""

FITTED = 0.7
"""Share of the good stretch for the fit. The rest measures the errors of the forecasts."""

FEWEST = 50
"""Minimum number of samples in a good stretch."""

FINEST = 1e-3
"""Smallest half width, as a share of a channel's standard deviation, or of its value if it was constant."""

NEXT = "next sample"


def learn(good: Recording, level: float, length: float, merge: float, words: str) -> tuple[Tabular, list[str]]:
    """Learn a model of one-step forecasts, with its limits in the metadata. Returns the model and notes.

    Args:
        good: the good stretch of each series.
        level: share of good samples whose readings all lie within their intervals.
        length, merge: duration and pause of an alarm, in the recording's unit of time.
        words: description of the good stretch, saved with the model.
    """
    series = [one for one in (_with_next(s) for s in good.series) if len(one) > 1]
    if sum(map(len, series)) < FEWEST:
        raise InputError(
            f"the good stretch has {sum(map(len, good.series))} samples; {FEWEST} or more are needed: give a longer one"
        )
    cuts = [int(FITTED * len(one)) for one in series]
    fitted = replace(good, target=NEXT, series=tuple(s.cut(0, n) for s, n in zip(series, cuts, strict=True)))
    later = replace(good, target=NEXT, series=tuple(s.cut(n, len(s)) for s, n in zip(series, cuts, strict=True)))
    for channel, seen in zip(
        good.channels, np.isfinite(np.concatenate([s.values for s in fitted.series])).T, strict=True
    ):
        if not seen.any():
            raise InputError(f"{channel!r} has no reading in the good stretch: leave the column out, or give another")
    scales = Preprocessing.fit(fitted)
    task = Task.infer(fitted, kind="regression", per="step").fit(fitted)
    tried = []
    for lookback in LOOKBACKS:
        if lookback == 1 or lookback * 4 <= min(map(len, fitted.series)):
            model = Tabular.fit("linear", task, scales, fitted, later, lookback=lookback)
            errors = _errors(model, later)
            tried.append((float(np.nanmean(np.square(errors / scales.std))), model, errors))
    _, model, errors = min(tried, key=lambda each: each[0])
    half, reached = joint(errors, scales, level)
    notes = []
    if reached < level:
        notes.append(
            f"the {len(errors)} good samples for measuring support a level of {reached:.1%} at most, not {level:.1%}: "
            "the intervals are as wide as the largest of their errors"
        )
    if scales.left_out:
        notes.append(f"constant in the good stretch: any change of {', '.join(scales.left_out[:5])} is unusual")
    model.metadata["interval"] = {"level": reached, "half": half.tolist(), "recent": []}
    if good.columns:
        model.metadata["columns"] = dict(good.columns)
    model.metadata[WATCH] = {"length": length, "merge": merge, "good": words}
    return model, notes


def joint(errors: np.ndarray, scales: Preprocessing, level: float) -> tuple[np.ndarray, float]:
    """Joint intervals by split conformal prediction of the largest error (Lei et al. 2018, arXiv 1604.04173).

    Args:
        errors: (N, C) absolute errors; NaN where there was no reading.
        scales: scales of the channels.
        level: probability that all readings of a sample lie within their intervals.

    Returns:
        (C,) half widths in the channels' units, and the level that N errors support.
    """
    n = len(errors)
    own = np.array([_conformal(column[np.isfinite(column)], level) for column in errors.T])
    still = np.isinf(scales.unit)
    own = np.maximum(own, FINEST * np.where(still, np.maximum(np.abs(scales.mean), FINEST), scales.std))
    return own * max(_conformal(score(errors / own), level), 1e-9), min(level, n / (n + 1))


def _conformal(errors: np.ndarray, level: float) -> float:
    n = len(errors)
    return float(np.sort(errors)[min(int(np.ceil((n + 1) * level)), n) - 1]) if n else 0.0


def _with_next(series: Series) -> Series:
    """The series with each sample's next readings as its target (the last known ones if missing), without the last
    sample."""
    rows = last_observed(np.isfinite(series.values))
    held = np.take_along_axis(np.concatenate([np.full((1, series.values.shape[1]), np.nan), series.values]), rows, 0)
    return Series(series.times[:-1], series.values[:-1], held[1:], series.name)


def _errors(model: Tabular, recording: Recording) -> np.ndarray:
    """(N, C) absolute errors of all forecasts; NaN where the next sample has no reading."""
    pairs = zip(model.outputs(recording), recording.series, strict=True)
    return np.concatenate([np.abs(output[:-1] - s.values[1:]) for output, s in pairs])
