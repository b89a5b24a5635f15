"""Contenders of a study held against each other, each figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from torchliquid import metrics
from torchliquid.study.results import ContenderResult, Interval, StudyResults
from torchliquid.study.scores import Scores, shift_mean
from torchliquid.study.statistics import Figure, Term, compare, estimate

CLOSE = 3.0
"""Standard errors on validation within which a contender might owe its place to lucky seeds."""


@dataclass(frozen=True)
class Comparison:
    """The study's primary metric, clean or as the mean under all shifts, from each contender's scores by name."""

    results: StudyResults
    scores: Mapping[str, Scores]

    def has(self, contender: ContenderResult | None, shifted: bool = False) -> bool:
        """Whether its scores, or those under the shifts, are there."""
        if contender is None or contender.name not in self.scores:
            return False
        return not shifted or bool(self.scores[contender.name].shifts)

    def alone(self, contender: ContenderResult, shifted: bool = False) -> Interval | None:
        """One contender's figure; None where it has no scores."""
        if not self.has(contender, shifted):
            return None
        term = Term(self._sums(contender, shifted), deterministic=_deterministic(contender))
        return estimate([term], self._figure(contender, shifted), self.scores[contender.name].independent)

    def better(self, first: ContenderResult, second: ContenderResult, shifted: bool = False) -> Interval:
        """How much better the first is; positive where it is."""
        one, other = (
            Term(self._sums(c, shifted), deterministic=_deterministic(c), chosen_from=self._close_to(c))
            for c in (first, second)
        )
        higher = self.results.task.higher_is_better
        figure = self._figure(first, shifted)
        return compare(one, other, figure, higher, self.scores[first.name].independent)

    def _sums(self, contender: ContenderResult, shifted: bool) -> np.ndarray:
        scores = self.scores[contender.name]
        return scores.under_shifts() if shifted else scores.clean

    def _figure(self, contender: ContenderResult, shifted: bool) -> Figure:
        metric = metrics.find(self.results.task.primary)
        return shift_mean(metric, self.scores[contender.name]) if shifted else metric.value

    def _close_to(self, chosen: ContenderResult) -> int:
        """How many of its side, itself among them, might as well have been best on validation."""
        liquid = chosen.family == "liquid"
        side = [c for c in self.results.competing if (c.family == "liquid") == liquid]
        near = [
            c for c in side if abs(c.validation - chosen.validation) <= CLOSE * math.hypot(_error(c), _error(chosen))
        ]
        return max(1, len(near))


def _error(contender: ContenderResult) -> float:
    """Standard error of its mean on validation, over the seeds."""
    figures = [trial.validation for trial in contender.trials]
    return float(np.std(figures, ddof=1) / math.sqrt(len(figures))) if len(figures) > 1 else 0.0


def _deterministic(contender: ContenderResult) -> bool:
    """A classical model trained once is the same for any seed; a network trained once is luck of unknown size."""
    return len(contender.trials) == 1 and contender.family not in ("liquid", "neural")
