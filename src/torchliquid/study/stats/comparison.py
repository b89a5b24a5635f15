"""Compares contenders of a study, each value with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from torchliquid.metrics import Metric, find
from torchliquid.study.results import ContenderResult, Interval, StudyResults
from torchliquid.study.stats.intervals import Figure, Term, compare, estimate
from torchliquid.study.stats.scores import PROPER, Scores, shift_mean

CLOSE = 3.0
"""Number of standard errors on validation within which a contender may owe its rank to its seeds."""


@dataclass(frozen=True)
class Comparison:
    """The study's primary metric, unchanged or as the mean under all shifts, from each contender's scores by name."""

    results: StudyResults
    scores: Mapping[str, Scores]

    def has(self, contender: ContenderResult | None, shifted: bool = False) -> bool:
        """Whether its scores, or those under the shifts, exist."""
        if contender is None or contender.name not in self.scores:
            return False
        return not shifted or bool(self.scores[contender.name].shifts)

    def alone(self, contender: ContenderResult, shifted: bool = False) -> Interval | None:
        """The value of a contender; None if it has no scores."""
        if not self.has(contender, shifted):
            return None
        scores = self.scores[contender.name]
        term = Term(self._sums(contender, shifted), deterministic=_deterministic(contender))
        found = estimate([term], self._figure(contender, shifted), _units(scores), self._metric.bounds)
        return replace(found, unit=scores.unit)

    def better(self, first: ContenderResult, second: ContenderResult, shifted: bool = False) -> Interval:
        """How much better the first is; positive if it is better."""
        sums = (self._sums(first, shifted), self._sums(second, shifted))
        return self._difference((first, second), sums, self._figure(first, shifted), self._metric)

    def learnt(self, first: ContenderResult, second: ContenderResult) -> Interval | None:
        """How much better the first is by a proper score, log loss or squared error; None if it was not stored."""
        sums = tuple(self.scores[c.name].proper for c in (first, second))
        if sums[0] is None or sums[1] is None:
            return None
        metric = PROPER[self.results.task.kind]
        return self._difference((first, second), (sums[0], sums[1]), metric.value, metric)

    def loss(self, contender: ContenderResult) -> float:
        """The mean proper score of a contender."""
        sums = self.scores[contender.name].proper
        return math.nan if sums is None else float(PROPER[self.results.task.kind].value(sums.sum(1)).mean())

    def _difference(
        self,
        pair: tuple[ContenderResult, ContenderResult],
        sums: tuple[np.ndarray, np.ndarray],
        figure: Figure,
        metric: Metric,
    ) -> Interval:
        one, other = (
            Term(s, deterministic=_deterministic(c), chosen_from=self._close_to(c))
            for c, s in zip(pair, sums, strict=True)
        )
        scores = self.scores[pair[0].name]
        higher = metric.higher_is_better
        return replace(compare(one, other, figure, higher, _units(scores), metric.bounds), unit=scores.unit)

    @property
    def _metric(self) -> Metric:
        return find(self.results.task.primary)

    def _sums(self, contender: ContenderResult, shifted: bool) -> np.ndarray:
        scores = self.scores[contender.name]
        return scores.under_shifts() if shifted else scores.clean

    def _figure(self, contender: ContenderResult, shifted: bool) -> Figure:
        return shift_mean(self._metric, self.scores[contender.name]) if shifted else self._metric.value

    def _close_to(self, chosen: ContenderResult) -> int:
        """Number of contenders of its side, with itself, that could as well have been best on validation."""
        liquid = chosen.family == "liquid"
        side = [c for c in self.results.competing if (c.family == "liquid") == liquid]
        near = [
            c for c in side if abs(c.validation - chosen.validation) <= CLOSE * math.hypot(_error(c), _error(chosen))
        ]
        return max(1, len(near))


def _units(scores: Scores) -> np.ndarray | bool:
    if scores.unit == "stretches":
        return False
    return scores.independent if scores.units is None else scores.units


def _error(contender: ContenderResult) -> float:
    """Standard error over the seeds of its mean on validation."""
    figures = [trial.validation for trial in contender.trials]
    return float(np.std(figures, ddof=1) / math.sqrt(len(figures))) if len(figures) > 1 else 0.0


def _deterministic(contender: ContenderResult) -> bool:
    """A classical model trained once is the same for any seed; the spread of a network trained once is unknown."""
    return len(contender.trials) == 1 and not contender.network
