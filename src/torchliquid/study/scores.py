"""From a model's outputs on the test part to sums in cells of it, from which figures and their intervals follow.

A cell is a whole series where the test part has many, else a piece of a recording between two times, so that
clean and shifted recordings, whose samples differ, fall into the same cells. A figure such as accuracy or RMSE
is a function of statistics summed over cells: leaving cells out is then a subtraction.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from scipy import special

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.files import write_atomically
from torchliquid.study.shifts import labelled

MANY_SERIES = 20
"""From this many test series on, each is a cell of its own and independent of the others."""

MAX_CELLS = 512
LOGIT_BINS = np.linspace(-10, 10, 161)
"""Bins of a probability's logit behind ROC AUC: an eighth of a unit each, which moves it by less than 0.002."""


@dataclass(frozen=True)
class SummedMetric:
    """A metric as a function of statistics that add up over samples.

    Args:
        terms: from outputs (N, K), probabilities or values in the target's unit, and truth, class numbers (N,) or
            values (N, K), to statistics (N, n).
        value: from their sums (..., n) to the metric (...).
        higher_is_better: whether a larger metric is better.
    """

    terms: Callable[[np.ndarray, np.ndarray], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    higher_is_better: bool


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
    found = positive.cumsum(-1)
    precision = found / np.maximum(found + negative.cumsum(-1), 1e-12)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((positive * precision).sum(-1) / positive.sum(-1))


def _errors(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return outputs - truth.reshape(outputs.shape)


def _spread(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    y = truth.reshape(outputs.shape)
    return np.stack([np.ones(len(y)), (_errors(outputs, truth) ** 2).mean(1), y.mean(1), (y**2).mean(1)], -1)


def _r2(sums: np.ndarray) -> np.ndarray:
    n, error, y, square = np.moveaxis(sums, -1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - error / (square - y**2 / n))


def _hit(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return _counted((outputs.argmax(1) == truth).astype(float))


def _surprise(outputs: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return _counted(-np.log(np.clip(outputs[np.arange(len(truth)), truth], 1e-12, 1)))


METRICS: Mapping[str, SummedMetric] = {
    "accuracy": SummedMetric(_hit, _ratio, True),
    "macro_f1": SummedMetric(_confusion, _macro_f1, True),
    "log_loss": SummedMetric(_surprise, _ratio, False),
    "roc_auc": SummedMetric(_score_counts, _roc_auc, True),
    "average_precision": SummedMetric(_score_counts, _average_precision, True),
    "rmse": SummedMetric(
        lambda o, y: _counted((_errors(o, y) ** 2).mean(1)), lambda sums: np.asarray(np.sqrt(_ratio(sums))), False
    ),
    "mae": SummedMetric(lambda o, y: _counted(np.abs(_errors(o, y)).mean(1)), _ratio, False),
    "r2": SummedMetric(_spread, _r2, True),
}


@dataclass(frozen=True)
class Cells:
    """How the test part is cut: for each series of each test recording its first cell and the times of its cuts."""

    independent: bool
    cuts: tuple[np.ndarray, ...]
    n: int

    @classmethod
    def cut(cls, tests: Sequence[Recording]) -> Cells:
        """Plan from the clean test recordings, with their targets; cells hold about the same number of labels."""
        series = [s for recording in tests for s in recording.series]
        if len(series) >= MANY_SERIES:
            return cls(True, tuple(np.empty(0) for _ in series), len(series))
        times = [_labelled_times(s) for s in series]
        total = sum(len(t) for t in times)
        cuts, n = [], 0
        for t in times:
            pieces = max(1, min(len(t), round(MAX_CELLS * len(t) / max(total, 1))))
            starts = np.arange(1, pieces) * len(t) // pieces
            cuts.append(np.unique(t[starts]))
            n += len(cuts[-1]) + 1
        return cls(False, tuple(cuts), n)

    def sums(
        self,
        metric: SummedMetric,
        tests: Sequence[Recording],
        outputs: Sequence[Sequence[np.ndarray]],
        classes: Sequence[str],
    ) -> np.ndarray:
        """(cells, n) sums of the metric's terms.

        Args:
            metric: one of :data:`METRICS`.
            tests: the test recordings, clean or shifted, with their targets.
            outputs: for each test and series what the model said, decoded: (T, K), or (K,) for a whole series.
            classes: the labels in the outputs' order; empty in regression.
        """
        total: np.ndarray | None = None
        first = 0
        series = [s for recording in tests for s in recording.series]
        said = [o for test in outputs for o in test]
        for one, output, cuts in zip(series, said, self.cuts, strict=True):
            cells, rows, truth = _scored(one, output, classes, first, cuts)
            if len(rows):
                terms = metric.terms(rows.astype(np.float64), truth)
                if total is None:
                    total = np.zeros((self.n, terms.shape[1]))
                np.add.at(total, cells, terms)
            first += len(cuts) + 1
        if total is None:
            raise InputError("no sample of the test part has a label: there is nothing to score")
        return total


def _labelled_times(series: Series) -> np.ndarray:
    if series.targets is None or not series.targets.ndim:
        return series.times[-1:]
    return series.times[labelled(series.targets)]


def _scored(
    series: Series, output: np.ndarray, classes: Sequence[str], first: int, cuts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The cell, output and truth of each labelled sample."""
    if series.targets is None:
        raise InputError(f"series {series.name!r} has no targets to be scored against")
    known = np.atleast_1d(labelled(series.targets))
    truth: np.ndarray = np.atleast_1d(series.targets)[known]
    rows = np.atleast_2d(output)
    rows = rows.reshape(len(known), -1)[known]
    times = series.times[known] if series.targets.ndim else series.times[-1:][known]
    if classes:
        place = {label: i for i, label in enumerate(classes)}
        truth = np.array([place[_label(t)] for t in truth.tolist()], dtype=np.int64)
    return first + np.searchsorted(cuts, times, side="right"), rows, truth


def _label(target: Any) -> str:
    return target if isinstance(target, str) else f"{target:g}"


def save_scores(path: Path, cells: Cells, clean: np.ndarray, shifts: Mapping[str, np.ndarray]) -> None:
    """Write one trial's sums: ``clean`` (cells, n), and for each shift (severities, cells, n)."""
    arrays = {"independent": np.array(cells.independent), "clean": clean}
    arrays |= {f"shift/{name}": sums for name, sums in shifts.items()}

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.savez_compressed(file, **arrays)  # type: ignore[arg-type]

    write_atomically(path, write)


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
        """Read the trials' sums, one file a seed, as :func:`save_scores` wrote them.

        Raises:
            InputError: a file is missing or damaged.
        """
        trials = []
        for path in paths:
            try:
                with np.load(path, allow_pickle=False) as file:
                    trials.append({name: file[name] for name in file.files})
            except (OSError, ValueError, EOFError, BadZipFile) as error:
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
