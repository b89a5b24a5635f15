"""A study's data as plain data for the report: parts, channels, gaps, and stretches to draw."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from torchliquid.data import Recording
from torchliquid.data.preprocessing import deviations
from torchliquid.data.summary import moment
from torchliquid.study.results import Channel, DataResult, Gaps, PartResult, Stretch
from torchliquid.tasks import Task

STRETCH = 600
"""Number of samples of a test recording that are shown at first."""

VALUES = 80_000
"""Maximum number of values drawn for all test recordings together: half a megabyte in the page."""

MOST_STRETCHES = 4
MOST_CHANNELS = 6
GAP_BINS = 24


def describe_data(source: str, task: Task, training: Recording, parts: Mapping[str, Recording]) -> DataResult:
    """The data of a study: all its parts by name, in the order of the report, and the channels of the training part."""
    missing = training.missing_share()
    figures = np.where(missing < 1, deviations(training), np.nan)
    channels = tuple(map(Channel, training.channels, missing.tolist(), *figures.tolist()))
    notes = tuple(dict.fromkeys(note for part in parts.values() for note in part.notes))
    gaps = describe_gaps(np.concatenate([p.gaps() for p in parts.values()]), training.time_unit)
    described = tuple(describe_part(name, part, task) for name, part in parts.items())
    return DataResult(source, channels, gaps, described, notes)


def describe_part(name: str, part: Recording, task: Task) -> PartResult:
    """One part: its size, its beginning and end, and the frequency of each class."""
    classes: Counter[str] = Counter(dict.fromkeys(task.labels, 0))
    labelled = 0
    for series in part.series:
        encoded, weights = task.encode(series)
        known = np.atleast_1d(weights) > 0
        labelled += int(known.sum())
        if task.labels:
            classes.update(task.labels[i] for i in np.atleast_1d(encoded)[known].tolist())
    span = ""
    if part.dated and part.n_samples:
        ends = (min(s.times[0] for s in part.series if len(s)), max(s.times[-1] for s in part.series if len(s)))
        span = " to ".join(moment(part, float(t))[:16] for t in ends)
    return PartResult(name, part.n_series, part.n_samples, labelled, span, dict(classes))


def describe_gaps(gaps: np.ndarray, unit: str) -> Gaps:
    """A histogram of the time between samples. If gaps differ by a factor of 100, bins are wider for longer gaps."""
    if not len(gaps):
        return Gaps((0.0, 1.0), (0,), 0.0, 0.0, unit)
    median, longest = float(np.median(gaps)), float(gaps.max())
    positive = gaps[gaps > 0]
    low = float(positive.min()) if len(positive) else 0.0
    if longest == float(gaps.min()):
        edges = np.array([0.5, 1.5]) * longest if longest > 0 else np.array([0.0, 1.0])
    elif low > 0 and longest > 100 * low:
        edges = np.geomspace(low, longest, GAP_BINS + 1)
        edges[[0, -1]] = low, longest
        if len(positive) < len(gaps):
            edges = np.concatenate([[0.0], edges])
    else:
        edges = np.linspace(float(gaps.min()), longest, GAP_BINS + 1)
    counts, _ = np.histogram(gaps, edges)
    return Gaps(tuple(edges.tolist()), tuple(counts.tolist()), median, longest, unit)


def stretches(
    task: Task, tests: Mapping[str, Recording], outputs: Mapping[str, Sequence[Sequence[np.ndarray]]]
) -> tuple[Stretch, ...]:
    """The stretches of the test recordings to draw: for each recording the series in which the truth changes the most
    (whole if it is short enough), and the inputs that are most related to the truth.

    The choice does not depend on the models. If most series have one scored answer, such as the remaining life at the
    end of each engine, the series are drawn side by side in the order of their truth, each at its last labelled sample.

    Args:
        tests: by name, with their targets.
        outputs: for each contender its decoded answers, for each test and series.
    """
    drawn = list(tests.items())[:MOST_STRETCHES]
    return tuple(
        _stretch_of(task, name, test, {c: of_tests[i] for c, of_tests in outputs.items()}, VALUES // len(drawn))
        for i, (name, test) in enumerate(drawn)
    )


def _stretch_of(
    task: Task, name: str, test: Recording, outputs: Mapping[str, Sequence[np.ndarray]], most: int
) -> Stretch:
    truths = [_truth(task, test, j) for j in range(test.n_series)]
    one_answer_each = np.median([np.isfinite(t).sum() for t in truths]) <= 1
    if task.per == "series" or (test.n_series > 1 and one_answer_each):
        asked = [(j, int(np.flatnonzero(np.isfinite(t))[-1])) for j, t in enumerate(truths) if np.isfinite(t).any()]
        asked.sort(key=lambda place: truths[place[0]][place[1]])
        truth = np.array([truths[j][k] for j, k in asked[:STRETCH]])
        rows = {c: np.array([_shown(task, out[j])[k] for j, k in asked[:STRETCH]]) for c, out in outputs.items()}
        return _stretch(task, name, "", np.arange(1.0, len(truth) + 1), "series", truth, rows)
    best = max(range(test.n_series), key=lambda j: _liveliest(truths[j], STRETCH)[1])
    series, columns = test.series[best], 2 + len(outputs) + min(len(test.channels), MOST_CHANNELS)
    start, _ = _liveliest(truths[best], room := max(STRETCH, most // columns))
    window = slice(start, start + room)
    times, truth, values = series.times[window], truths[best][window], series.values[window]
    rows = {c: _shown(task, out[best])[window] for c, out in outputs.items()}
    made = _stretch(task, name, series.name, times, test.time_unit, truth, rows)
    first, _ = _liveliest(truth, STRETCH)
    return replace(
        made,
        channels={test.channels[c]: tuple(_rounded(values[:, c])) for c in _telling(values, truth, bool(task.labels))},
        of_channels=len(test.channels),
        of_samples=len(series),
        view=(made.times[first], made.times[min(first + STRETCH, len(truth)) - 1]),
        begins=float(times[0]) + test.origin if test.dated else math.nan,
    )


def _stretch(
    task: Task, test: str, series: str, times: np.ndarray, unit: str, truth: np.ndarray, rows: Mapping[str, np.ndarray]
) -> Stretch:
    shown = task.labels[1] if len(task.labels) == 2 else ""
    outputs = {contender: tuple(_rounded(row)) for contender, row in rows.items()}
    times = times - times[0] if unit == "s" else times
    return Stretch(test, series, tuple(_rounded(times, 10)), unit, tuple(_rounded(truth)), outputs, shown)


def _telling(values: np.ndarray, truth: np.ndarray, classes: bool) -> list[int]:
    """The channels to draw, in their order: those that vary and are most related to the truth."""
    shares = [_explained(channel, truth, classes) for channel in values.T]
    varying = [c for c, share in enumerate(shares) if share >= 0]
    return sorted(sorted(varying, key=lambda c: -shares[c])[:MOST_CHANNELS])


def _explained(channel: np.ndarray, truth: np.ndarray, classes: bool) -> float:
    """The share of a channel's variance that the truth explains; -1 if it does not vary."""
    seen = np.isfinite(channel)
    if not seen.any() or channel[seen].min() == channel[seen].max():
        return -1.0
    seen &= np.isfinite(truth)
    x, y = channel[seen], truth[seen]
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return 0.0
    if not classes:
        return float(np.nan_to_num(np.corrcoef(x, y)[0, 1] ** 2))
    groups = np.unique(y, return_inverse=True)[1]
    means = np.bincount(groups, x) / np.bincount(groups)
    return float(np.nan_to_num(means[groups].var() / x.var()))


def _truth(task: Task, test: Recording, place: int) -> np.ndarray:
    """(T,) class indices or values, NaN if there is no label; the first of several values."""
    series = test.series[place]
    encoded, weights = task.encode(series)
    known = np.atleast_1d(weights) > 0
    raw = encoded if task.labels else task.truth(series)
    if raw is None:
        return np.full(len(known), np.nan)
    return np.where(known, np.asarray(raw, dtype=float).reshape(len(known), -1)[:, 0], np.nan)


def _shown(task: Task, output: np.ndarray) -> np.ndarray:
    """(T,) the probability of the second of two classes, the index of the class, or the (first) value."""
    rows = np.asarray(output, dtype=float).reshape(-1, task.n_outputs)
    if not task.labels:
        return np.asarray(rows[:, 0])
    return np.asarray(rows[:, 1] if len(task.labels) == 2 else rows.argmax(1).astype(float))


def _liveliest(truth: np.ndarray, length: int) -> tuple[int, float]:
    """The start of the stretch of this length in which the truth changes the most, and by how much. Labels count a
    little too."""
    known = np.isfinite(truth)
    held = np.where(known, truth, 0.0)
    change = np.zeros(len(truth))
    change[1:] = np.where(known[1:] & known[:-1], np.abs(np.diff(held)), 0.0)
    sums = np.concatenate([[0.0], np.cumsum(change + 1e-9 * known)])
    starts = np.arange(max(1, len(truth) - length + 1))
    totals = sums[np.minimum(starts + length, len(truth))] - sums[starts]
    return int(starts[totals.argmax()]), float(totals.max())


def _rounded(values: np.ndarray, digits: int = 6) -> list[float]:
    """Six significant digits: enough for drawing, and results half as large."""
    return [float(f"{v:.{digits}g}") for v in np.asarray(values, dtype=float)]
