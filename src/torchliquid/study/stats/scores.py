"""Sums of a model's outputs in cells of the test part, from which scores and their intervals follow.

A cell is a whole series if the test part has many, else a piece of a series between two times. So clean and shifted
recordings, which have different samples, use the same cells. Each cell belongs to a unit, a series or a group of
series. Units are independent, cells of one unit are not. A score such as accuracy or RMSE is a function of statistics
summed over cells, so leaving out cells is a subtraction.
"""

from __future__ import annotations

import io
import tokenize
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.metrics import Metric, find
from torchliquid.tasks import Task

MANY_SERIES = 20
"""Minimum number of test series for which each is its own cell."""

MAX_CELLS, MIN_CELLS = 512, 64
MAX_SUMS = 2**15
"""Maximum number of statistics of all cells. A metric with many statistics has fewer cells, so that sums fit in
memory."""

PROPER: Mapping[str, Metric] = {
    "classification": find("log_loss"),
    "regression": replace(find("rmse"), name="squared_error", value=lambda sums: sums[..., 1] / sums[..., 0]),
}
"""The score that shows whether a model learnt anything: log loss or squared error."""


DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    NotImplementedError,
    SyntaxError,
    zlib.error,
    BadZipFile,
    tokenize.TokenError,
)
"""Errors that NumPy raises for an incomplete file of sums."""

ROWS = 8192
"""Number of samples whose statistics are in memory at a time."""


@dataclass(frozen=True)
class Cells:
    """How the test part is divided.

    Attributes:
        independent: whether each cell is a whole series.
        cuts: for each series of each test recording the times of its cuts.
        n: number of cells.
        units: (n,) the series, or the group of series, of each cell; None: from ``independent``.
        unit: what these are, ``"series"`` or ``"groups"``; for one recording ``"stretches"``.
    """

    independent: bool
    cuts: tuple[np.ndarray, ...]
    n: int
    units: np.ndarray | None = None
    unit: str = "series"

    @classmethod
    def cut(cls, tests: Sequence[Recording], task: Task, one_recording: bool = False) -> Cells:
        """Plan from the unchanged test recordings. Cells of a series have about the same number of labels.

        Args:
            one_recording: the tests are stretches of one recording, in the order of time.
        """
        series = [s for recording in tests for s in recording.series]
        times = [_times(s, task) for s in series]
        units, unit = (np.zeros(len(series), dtype=np.int64), "stretches") if one_recording else _units(tests)
        if not one_recording and sum(len(t) > 0 for t in times) >= MANY_SERIES:
            return cls(True, tuple(np.empty(0) for _ in series), len(series), units, unit)
        truth = np.zeros(1, dtype=np.int64) if task.kind == "classification" else np.zeros((1, task.n_outputs))
        k = task.metric.terms(task.answers(np.full((1, task.n_outputs), 0.5), truth)).shape[1]
        most = min(MAX_CELLS, max(MIN_CELLS, MAX_SUMS // k))
        total = sum(len(t) for t in times)
        cuts = []
        for t in times:
            pieces = max(1, min(len(t), round(most * len(t) / max(total, 1))))
            cuts.append(np.unique(t[np.arange(1, pieces) * len(t) // pieces]))
        sizes = [len(c) + 1 for c in cuts]
        return cls(False, tuple(cuts), sum(sizes), np.repeat(units, sizes), unit)

    def sums(
        self,
        task: Task,
        tests: Sequence[Recording],
        outputs: Sequence[Sequence[np.ndarray]],
        metric: Metric | None = None,
    ) -> np.ndarray:
        """(cells, n) sums of the terms of a metric, by default the task's primary one.

        Args:
            tests: the test recordings, clean or shifted; in forecasting with their targets (``task.with_targets``).
            outputs: for each test and series the model's decoded answers: (T, K), or (K,) for a whole series.

        Raises:
            InputError: nothing is labelled, or a label is unknown.
        """
        metric, total, first = metric or task.metric, None, 0
        series = [s for recording in tests for s in recording.series]
        every_output = [o for test in outputs for o in test]
        for one, output, cuts in zip(series, every_output, self.cuts, strict=True):
            rows, truth, times = task.labelled(output, one)
            for start in range(0, len(times), ROWS):
                part = slice(start, start + ROWS)
                terms = metric.terms(task.answers(rows[part], truth[part]))
                total = np.zeros((self.n, terms.shape[1])) if total is None else total
                np.add.at(total, first + np.searchsorted(cuts, times[part], side="right"), terms)
            first += len(cuts) + 1
        if total is None:
            raise InputError(f"no sample has a value of the target {task.target!r}; there is nothing to score")
        return total


def _times(series: Series, task: Task) -> np.ndarray:
    """The times of the labelled samples; for one label per series, the last time."""
    _, weights = task.encode(series)
    times = series.times[-1:] if task.per == "series" else series.times
    return times[np.atleast_1d(weights) > 0]


def _units(tests: Sequence[Recording]) -> tuple[np.ndarray, str]:
    """A number for each series, equal within a group; and what these units are.

    Test recordings with one dated series each that do not overlap in time are stretches of one recording.
    """
    series = [s for recording in tests for s in recording.series]
    if len(series) == 1 or (len(series) == len(tests) and _one_after_another(tests)):
        return np.zeros(len(series), dtype=np.int64), "stretches"
    if any(s.group is not None for s in series):
        names = [("group", s.group) if s.group is not None else ("series", str(i)) for i, s in enumerate(series)]
        return np.unique([" ".join(name) for name in names], return_inverse=True)[1], "groups"
    return np.arange(len(series)), "series"


def _one_after_another(tests: Sequence[Recording]) -> bool:
    spans = sorted((s.times[0], s.times[-1]) for test in tests for s in test.series if len(s))
    return all(test.dated for test in tests) and all(a[1] < b[0] for a, b in pairwise(spans))


def pack_scores(
    cells: Cells, clean: np.ndarray, shifts: Mapping[str, np.ndarray], proper: np.ndarray | None = None
) -> bytes:
    """One trial's sums as a file: ``clean`` (cells, n), for each shift (draws, severities, cells, n), and those of
    :data:`PROPER`, (cells, 2)."""
    arrays = {"independent": np.array(cells.independent), "clean": clean, "unit": np.array(cells.unit)}
    if cells.units is not None:
        arrays["units"] = cells.units
    if proper is not None:
        arrays["proper"] = proper
    arrays |= {f"shift/{name}": sums for name, sums in shifts.items()}
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


@dataclass(frozen=True)
class Scores:
    """A contender's sums over all its trials.

    Attributes:
        independent: whether the cells are whole series.
        clean: (seeds, cells, n).
        shifts: name of the shift to (seeds, draws, severities, cells, n); without the draws if there is one.
        units, unit: as in :class:`Cells`.
        proper: (seeds, cells, 2), of :data:`PROPER`.
    """

    independent: bool
    clean: np.ndarray
    shifts: dict[str, np.ndarray]
    units: np.ndarray | None = None
    unit: str = "series"
    proper: np.ndarray | None = None

    @classmethod
    def load(cls, paths: Sequence[Path]) -> Scores:
        """Read the trials' sums, one file per seed, written by :func:`pack_scores`.

        Raises:
            InputError: a file is missing or damaged.
        """
        trials = []
        for path in paths:
            try:
                with np.load(path, allow_pickle=False) as file:
                    trials.append({name: file[name] for name in file.files})
            except DAMAGED as error:
                raise InputError(f"the scores {path} cannot be read ({error}); run the study again") from None
        first = trials[0]
        names = [name for name in first if name.startswith("shift/")]
        return cls(
            bool(first["independent"]),
            np.stack([trial["clean"] for trial in trials]),
            {name.removeprefix("shift/"): np.stack([trial[name] for trial in trials]) for name in names},
            first.get("units"),
            str(first.get("unit", "series" if first["independent"] else "stretches")),
            np.stack([trial["proper"] for trial in trials]) if "proper" in first else None,
        )

    def under_shifts(self) -> np.ndarray:
        """(seeds, draws, cells, N): the sums under all shifts and severities side by side, for :func:`shift_mean`. A
        shift that is not random is the same in every draw. (seeds, cells, N) if none is random."""
        most = max((sums.shape[1] for sums in self.shifts.values() if sums.ndim == 5), default=0)
        parts = []
        for sums in self.shifts.values():
            drawn = sums if sums.ndim == 5 or not most else sums[:, None]
            part = np.moveaxis(drawn, -3, -2)
            part = part.reshape(*part.shape[:-2], -1)
            parts.append(np.broadcast_to(part, (len(part), most, *part.shape[2:])) if most else part)
        return np.concatenate(parts, -1)


def shift_mean(metric: Metric, scores: Scores) -> Callable[[np.ndarray], np.ndarray]:
    """The one value for stability, fixed beforehand: the metric averaged over the severities of each shift, then over
    the shifts, so that each shift has the same weight."""
    layout = [(sums.shape[-3], sums.shape[-1]) for sums in scores.shifts.values()]

    def figure(sums: np.ndarray) -> np.ndarray:
        means, start = [], 0
        for severities, n in layout:
            part = sums[..., start : start + severities * n]
            means.append(metric.value(part.reshape(*part.shape[:-1], severities, n)).mean(-1))
            start += severities * n
        return np.asarray(np.mean(means, axis=0))

    return figure
