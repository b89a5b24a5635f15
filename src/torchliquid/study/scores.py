"""From a model's outputs on the test part to sums in cells of it, from which figures and their intervals follow.

A cell is a whole series where the test part has many, else a piece of a recording between two times, so that
clean and shifted recordings, whose samples differ, fall into the same cells. A figure such as accuracy or RMSE
is a function of statistics summed over cells: leaving cells out is then a subtraction.
"""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from scipy import special

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.tasks import Task

MANY_SERIES = 20
"""From this many test series on, each is a cell of its own and independent of the others."""

MAX_CELLS = 512
LOGIT_BINS = np.linspace(-10, 10, 161)
"""Bins of a probability's logit behind the metrics that rank: an eighth of a unit each. Over thousands of samples
that moves them by less than 0.003; the table of figures has the exact ones."""


@dataclass(frozen=True)
class SummedMetric:
    """A metric as a function of statistics that add up over samples.

    Args:
        terms: from outputs (N, K), probabilities or values in the target's unit, and truth, class numbers (N,) or
            values (N, K), to statistics (N, n).
        value: from their sums (..., n) to the metric (...).
    """

    terms: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]


def _ratio(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 1] / sums[..., 0])


def _counted(values: np.ndarray) -> np.ndarray:
    return np.stack([np.ones(len(values)), values], -1)


def _confusion(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    k = outputs.shape[1]
    return np.eye(k * k)[truth * k + outputs.argmax(1)]


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    k = math.isqrt(sums.shape[-1])
    table = sums.reshape(*sums.shape[:-1], k, k)
    hits = np.diagonal(table, axis1=-2, axis2=-1)
    seen = table.sum(-1) + table.sum(-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.nanmean(np.where(seen > 0, 2 * hits / seen, np.nan), -1))


def _score_counts(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Samples by class and bin of the second class's probability."""
    bins = np.digitize(special.logit(np.clip(outputs[:, 1], 1e-6, 1 - 1e-6)), LOGIT_BINS[1:-1])
    n = len(LOGIT_BINS) - 1
    return np.eye(2 * n)[truth * n + bins]


def _roc_auc(sums: np.ndarray) -> np.ndarray:
    negative, positive = np.split(sums, 2, axis=-1)
    below = negative.cumsum(-1) - negative / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * below).sum(-1) / (positive.sum(-1) * negative.sum(-1)))


def _average_precision(sums: np.ndarray) -> np.ndarray:
    negative, positive = (part[..., ::-1] for part in np.split(sums, 2, axis=-1))
    # Within a bin the order is unknown: its samples meet the precision of its middle.
    found, wrong = (part.cumsum(-1) - part / 2 for part in (positive, negative))
    precision = found / np.maximum(found + wrong, 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * precision).sum(-1) / positive.sum(-1))


def _errors(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return outputs - truth.reshape(outputs.shape)


def _spread(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    y = truth.reshape(outputs.shape)
    return np.column_stack([np.ones(len(y)), (_errors(outputs, truth) ** 2).mean(1), (y**2).mean(1), y])


def _r2(sums: np.ndarray) -> np.ndarray:
    n, error, square, y = sums[..., 0], sums[..., 1], sums[..., 2], sums[..., 3:]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - error / (square - (y**2).mean(-1) / n))


def _hit(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return _counted((outputs.argmax(1) == truth).astype(float))


def _surprise(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return _counted(-np.log(np.clip(outputs[np.arange(len(truth)), truth], 1e-12, 1)))


METRICS: Mapping[str, SummedMetric] = {
    "accuracy": SummedMetric(_hit, _ratio),
    "macro_f1": SummedMetric(_confusion, _macro_f1),
    "log_loss": SummedMetric(_surprise, _ratio),
    "roc_auc": SummedMetric(_score_counts, _roc_auc),
    "average_precision": SummedMetric(_score_counts, _average_precision),
    "rmse": SummedMetric(
        lambda o, y: _counted((_errors(o, y) ** 2).mean(1)), lambda sums: np.asarray(np.sqrt(_ratio(sums)))
    ),
    "mae": SummedMetric(lambda o, y: _counted(np.abs(_errors(o, y)).mean(1)), _ratio),
    "r2": SummedMetric(_spread, _r2),
}


@dataclass(frozen=True)
class Cells:
    """How the test part is cut: for each series of each test recording its first cell and the times of its cuts."""

    independent: bool
    cuts: tuple[np.ndarray, ...]
    n: int

    @classmethod
    def cut(cls, tests: Sequence[Recording], task: Task) -> Cells:
        """Plan from the clean test recordings; cells of a recording hold about the same number of labels each."""
        series = [s for recording in tests for s in recording.series]
        times = [_labelled(s, task)[0] for s in series]
        if sum(len(t) > 0 for t in times) >= MANY_SERIES:
            return cls(True, tuple(np.empty(0) for _ in series), len(series))
        total = sum(len(t) for t in times)
        cuts = []
        for t in times:
            pieces = max(1, min(len(t), round(MAX_CELLS * len(t) / max(total, 1))))
            cuts.append(np.unique(t[np.arange(1, pieces) * len(t) // pieces]))
        return cls(False, tuple(cuts), sum(len(c) + 1 for c in cuts))

    def sums(self, task: Task, tests: Sequence[Recording], outputs: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
        """(cells, n) sums of the terms of the task's primary metric.

        Args:
            task: fitted.
            tests: the test recordings, clean or shifted; in forecasting with their targets (``task.with_targets``).
            outputs: for each test and series what the model said, decoded: (T, K), or (K,) for a whole series.

        Raises:
            InputError: nothing is labelled, or a label is not known.
        """
        metric, total, first = METRICS[task.primary], None, 0
        series = [s for recording in tests for s in recording.series]
        said = [o for test in outputs for o in test]
        for one, output, cuts in zip(series, said, self.cuts, strict=True):
            times, known, truth = _labelled(one, task)
            if len(times):
                rows = np.asarray(output, dtype=np.float64).reshape(len(known), -1)[known]
                terms = metric.terms(rows, truth)
                total = np.zeros((self.n, terms.shape[1])) if total is None else total
                np.add.at(total, first + np.searchsorted(cuts, times, side="right"), terms)
            first += len(cuts) + 1
        if total is None:
            raise InputError(f"no sample has a value of the target {task.target!r}; there is nothing to score")
        return total


def _labelled(series: Series, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times of the labelled samples (of a series' one label: its last), which samples they are, and their truth."""
    encoded, weights = task.encode(series)
    known = np.atleast_1d(weights) > 0
    truth = encoded if task.kind == "classification" else task.truth(series)
    times = series.times[-1:] if task.per == "series" else series.times
    rows = np.empty(0) if truth is None else np.asarray(truth).reshape(len(known), -1)[known]
    return times[known], known, rows[:, 0] if task.kind == "classification" and rows.ndim > 1 else rows


def pack_scores(cells: Cells, clean: np.ndarray, shifts: Mapping[str, np.ndarray]) -> bytes:
    """One trial's sums as a file: ``clean`` (cells, n), and for each shift (severities, cells, n)."""
    arrays = {"independent": np.array(cells.independent), "clean": clean}
    arrays |= {f"shift/{name}": sums for name, sums in shifts.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@dataclass(frozen=True)
class Scores:
    """One contender's sums over all its trials.

    Attributes:
        independent: the cells are whole series.
        clean: (seeds, cells, n).
        shifts: name of the shift to (seeds, severities, cells, n).
    """

    independent: bool
    clean: np.ndarray
    shifts: dict[str, np.ndarray]

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Scores:
        """Read the trials' sums, one file a seed, as :func:`pack_scores` made them.

        Raises:
            InputError: a file is missing or damaged.
        """
        trials = []
        for path in paths:
            try:
                with np.load(path, allow_pickle=False) as file:
                    trials.append({name: file[name] for name in file.files})
            except (OSError, ValueError, EOFError, KeyError, NotImplementedError, zlib.error, BadZipFile) as error:
                raise InputError(f"the scores {path} can't be read ({error}); run the study again") from None
        names = [name for name in trials[0] if name.startswith("shift/")]
        return cls(
            bool(trials[0]["independent"]),
            np.stack([trial["clean"] for trial in trials]),
            {name.removeprefix("shift/"): np.stack([trial[name] for trial in trials]) for name in names},
        )

    def under_shifts(self) -> np.ndarray:
        """(seeds, cells, N): the sums under every shift and severity side by side, for :func:`shift_mean`."""
        parts = [np.moveaxis(sums, 1, 2) for sums in self.shifts.values()]
        return np.concatenate([part.reshape(*part.shape[:2], -1) for part in parts], -1)


def shift_mean(metric: SummedMetric, scores: Scores) -> Callable[[np.ndarray], np.ndarray]:
    """The one figure for stability, fixed before any is seen: the metric averaged over the severities of each
    shift, then over the shifts, so that each shift counts the same."""
    layout = [(sums.shape[1], sums.shape[3]) for sums in scores.shifts.values()]

    def figure(sums: np.ndarray) -> np.ndarray:
        means, start = [], 0
        for severities, n in layout:
            part = sums[..., start : start + severities * n]
            means.append(metric.value(part.reshape(*part.shape[:-1], severities, n)).mean(-1))
            start += severities * n
        return np.asarray(np.mean(means, axis=0))

    return figure
