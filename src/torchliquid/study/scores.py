"""From a model's outputs on the test part to sums in cells of it, from which figures and their intervals follow.

A cell is a whole series where the test part has many, else a piece of a recording between two times, so that
clean and shifted recordings, whose samples differ, fall into the same cells. A figure such as accuracy or RMSE
is a function of statistics summed over cells: leaving cells out is then a subtraction.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.metrics import LOGIT_BINS, Metric
from torchliquid.tasks import Task

MANY_SERIES = 20
"""From this many test series on, each is a cell of its own and independent of the others."""

MAX_CELLS = 512
MAX_RANKED = 2**17
"""Of sums of a metric that ranks, which keeps bins of each class in each cell."""


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
        times = [_times(s, task) for s in series]
        if sum(len(t) > 0 for t in times) >= MANY_SERIES:
            return cls(True, tuple(np.empty(0) for _ in series), len(series))
        total = sum(len(t) for t in times)
        most = MAX_RANKED // (task.n_outputs * len(LOGIT_BINS)) if task.metric.ranks else MAX_CELLS
        cuts = []
        for t in times:
            pieces = max(1, min(len(t), round(min(most, MAX_CELLS) * len(t) / max(total, 1))))
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
        metric, total, first = task.metric, None, 0
        series = [s for recording in tests for s in recording.series]
        said = [o for test in outputs for o in test]
        for one, output, cuts in zip(series, said, self.cuts, strict=True):
            rows, truth, times = task.labelled(output, one)
            if len(times):
                terms = metric.terms(task.answers(rows, truth))
                total = np.zeros((self.n, terms.shape[1])) if total is None else total
                np.add.at(total, first + np.searchsorted(cuts, times, side="right"), terms)
            first += len(cuts) + 1
        if total is None:
            raise InputError(f"no sample has a value of the target {task.target!r}; there is nothing to score")
        return total


def _times(series: Series, task: Task) -> np.ndarray:
    """Of the labelled samples; of a series' one label: its last."""
    _, weights = task.encode(series)
    times = series.times[-1:] if task.per == "series" else series.times
    return times[np.atleast_1d(weights) > 0]


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


def shift_mean(metric: Metric, scores: Scores) -> Callable[[np.ndarray], np.ndarray]:
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
