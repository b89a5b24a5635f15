"""Every metric the package knows, once: how it is computed, which way is better, what it is called and what it means.

A metric stands here twice where it must: exactly, over all samples at once, and as a function of statistics that add up
over samples. The second is what intervals need: a study keeps sums in cells of the test part, and leaving cells out is
then a subtraction. Where the sums lose nothing they are the exact form as well.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy  # whose parts are loaded when they are used

from torchliquid.errors import InputError

LOGIT_BINS = np.linspace(-10, 10, 161)
"""Bins of a probability's logit behind the sums of metrics that rank: an eighth of a unit each. Over thousands of
samples that moves them by less than 0.003."""

SMALLEST = 1e-12
"""A probability below it counts as this one, so that one wrong answer can't make a log loss infinite."""


@dataclass(frozen=True)
class Answers:
    """What a model answered to N labelled samples (or series), and what was true.

    Attributes:
        outputs: (N, K) probabilities, or values in the target's unit.
        truth: (N,) class numbers, or (N, K) values.
        said: (N,) the class that was answered; None: values, or the likeliest class.
        positive: which of two classes is looked for.
        centre: (K,) near the values, so that their squares lose no digits; the same for all that is added up.
        scale: (K,) by which each of several values is measured, so that one of large numbers does not hide the others;
            empty: in its own unit.
    """

    outputs: np.ndarray
    truth: np.ndarray
    said: np.ndarray | None = None
    positive: int = 1
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def of_target(self, k: int) -> Answers:
        """The answers for one of several values, in its own unit."""
        one = slice(k, k + 1)
        truth = self.truth.reshape(self.outputs.shape)
        return Answers(self.outputs[:, one], truth[:, one], centre=self.centre[one])

    @property
    def classes(self) -> np.ndarray:
        """(N,) the class that was answered."""
        return self.outputs.argmax(1) if self.said is None else self.said

    @property
    def errors(self) -> np.ndarray:
        """(N, K) values less the truth."""
        return (self.outputs - self.truth.reshape(self.outputs.shape)) / (np.asarray(self.scale) if self.scale else 1.0)

    @property
    def ranked(self) -> range | tuple[int]:
        """The classes whose probabilities rank the samples: the one that is looked for, or each of several."""
        k = self.outputs.shape[1]
        return (self.positive,) if k == 2 else range(k)


MARGIN_OF_ERRORS = 0.10
MARGIN_OF_RMSE = 0.05
SMALLEST_MARGIN = 0.002  # of a metric that ends at 1: two samples in a thousand


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: as an option and in files.
        kind: of the task.
        label: in a sentence.
        meaning: for a glossary.
        unit: on an axis.
        higher_is_better: the direction.
        terms: from answers to statistics (N, n) that add up over samples.
        value: from their sums (..., n) to the metric (...); NaN where it is not defined.
        exactly: over all samples at once, where the sums are only near it.
        best, worst: its ends; infinite where it has none.
        scaled: in the target's own unit.
        share: told in per cent.
        ranks: depends on the order of the probabilities alone.
        decides: depends on the classes that are answered, and so on a threshold.
        two_classes: only defined for two classes.
    """

    name: str
    kind: Literal["classification", "regression"]
    label: str
    meaning: str
    terms: Callable[[Answers], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    unit: str = "0 to 1"
    higher_is_better: bool = True
    exactly: Callable[[Answers], float] | None = None
    best: float = 1.0
    worst: float = 0.0
    scaled: bool = False
    share: bool = False
    ranks: bool = False
    decides: bool = False
    two_classes: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest value that is possible."""
        return min(self.best, self.worst), max(self.best, self.worst)

    def __call__(self, answers: Answers) -> float:
        """The metric of answers; NaN where it is not defined."""
        if self.exactly is not None:
            return float(self.exactly(answers))
        return float(self.value(self.terms(answers).sum(0)))

    def matters(self, figure: float) -> float:
        """The smallest difference from a figure that matters: a tenth of its errors, a twentieth of an error in the
        target's unit."""
        if self.scaled:
            return MARGIN_OF_RMSE * figure
        errors = MARGIN_OF_ERRORS * abs(self.best - figure)
        return max(errors, SMALLEST_MARGIN) if self.higher_is_better else errors


def find(name: str) -> Metric:
    """A metric by its name; ``pinball@0.9`` is the pinball loss of the 90 % quantile, ``rmse[2]`` that of the second of
    several targets, in its own unit.

    Raises:
        InputError: there is none of that name, or its quantile is none.
    """
    if match := re.fullmatch(r"([^\[\]]+)\[([1-9]\d*)\]", name):
        whole, k = find(match[1]), int(match[2]) - 1
        if whole.kind != "regression":
            raise InputError(f"there is no metric {name!r}: classes are of one target; give {match[1]}")
        return replace(
            whole,
            name=name,
            label=f"{whole.label} of target {k + 1}",
            terms=lambda answers: whole.terms(answers.of_target(k)),
            exactly=None,
        )
    if name.startswith("pinball"):
        return pinball(quantile(name))
    try:
        return METRICS[name]
    except KeyError:
        known = ", ".join([*METRICS, "pinball@0.9"])
        raise InputError(f"there is no metric {name!r}; choose from {known}") from None


def quantile(name: str) -> float:
    """The quantile that a pinball loss is of: 0.5 without ``@``.

    Raises:
        InputError: not a number between 0 and 1.
    """
    _, at, level = name.partition("@")
    try:
        q = float(level) if at else 0.5
    except ValueError:
        q = math.nan
    if name.split("@")[0] != "pinball" or not 0 < q < 1:
        raise InputError(f"there is no metric {name!r}; a pinball loss is written pinball@0.9, with 0 to 1 after the @")
    return q


def names(kind: str) -> tuple[str, ...]:
    """The metrics of a kind of task, in the order in which tables show them."""
    return tuple(m.name for m in METRICS.values() if m.kind == kind)


def _ratio(sums: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums[..., 1] / sums[..., 0])


def _counted(values: np.ndarray) -> np.ndarray:
    return np.stack([np.ones(len(values)), values], -1)


def _hit(answers: Answers) -> np.ndarray:
    return _counted((answers.classes == answers.truth).astype(float))


def _confusion(answers: Answers) -> np.ndarray:
    k = answers.outputs.shape[1]
    return np.eye(k * k)[answers.truth * k + answers.classes]


def _table(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """From a confusion matrix (..., K * K): hits of each class, how often it was true, how often it was said."""
    k = math.isqrt(sums.shape[-1])
    table = sums.reshape(*sums.shape[:-1], k, k)
    return np.diagonal(table, axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)


def _mean_where(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the classes that count; NaN where there is none."""
    there = counts > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(there, values, 0.0).sum(-1) / there.sum(-1))


def _balanced(sums: np.ndarray) -> np.ndarray:
    hits, true, _ = _table(sums)
    return _mean_where(hits / np.maximum(true, 1e-300), true)


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    hits, true, said = _table(sums)
    return _mean_where(2 * hits / np.maximum(true + said, 1e-300), true + said)


def _positive_counts(answers: Answers) -> np.ndarray:
    said, true = answers.classes == answers.positive, answers.truth == answers.positive
    return np.stack([said & true, said | true, said, true], -1).astype(float)


def _f1(sums: np.ndarray) -> np.ndarray:
    """Of the class that is looked for; 0 where it is neither there nor answered, as scikit-learn's."""
    return np.asarray(2 * sums[..., 0] / np.maximum(sums[..., 2] + sums[..., 3], 1e-300))


def _bins(answers: Answers) -> np.ndarray:
    """For each class that ranks, the samples by whether they are of it and by the bin of its probability."""
    n = len(LOGIT_BINS) - 1
    columns = []
    for k in answers.ranked:
        logits = scipy.special.logit(np.clip(answers.outputs[:, k], 1e-6, 1 - 1e-6))
        bins = np.digitize(logits, LOGIT_BINS[1:-1])
        columns.append(np.eye(2 * n)[(answers.truth == k) * n + bins])
    return np.concatenate(columns, -1)


def _by_class(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., classes, bins) how many samples are not of each class, and how many are."""
    n = len(LOGIT_BINS) - 1
    table = sums.reshape(*sums.shape[:-1], -1, 2, n)
    return table[..., 0, :], table[..., 1, :]


def _binned_auc(sums: np.ndarray) -> np.ndarray:
    negative, positive = _by_class(sums)
    below = negative.cumsum(-1) - negative / 2
    pairs = positive.sum(-1) * negative.sum(-1)
    return _mean_where((positive * below).sum(-1) / np.maximum(pairs, 1e-300), pairs)


def _binned_precision(sums: np.ndarray) -> np.ndarray:
    negative, positive = (part[..., ::-1] for part in _by_class(sums))
    # Within a bin the order is unknown: its samples meet the precision of its middle.
    found, wrong = (part.cumsum(-1) - part / 2 for part in (positive, negative))
    precision = found / np.maximum(found + wrong, SMALLEST)
    there = positive.sum(-1) * negative.sum(-1)
    return _mean_where((positive * precision).sum(-1) / np.maximum(positive.sum(-1), 1e-300), there)


def _over_classes(score: str, answers: Answers) -> float:
    """Mean of a score of scikit-learn's over the classes that rank and of which some samples are and some are not; NaN
    where there is none."""
    from sklearn import metrics as sk  # half a second, which a command that only predicts does not need

    found = []
    for k in answers.ranked:
        of_class = answers.truth == k
        if of_class.any() and not of_class.all():
            found.append(getattr(sk, score)(of_class, answers.outputs[:, k]))
    return float(np.mean(found)) if found else math.nan


def _surprise(answers: Answers) -> np.ndarray:
    clipped = np.clip(answers.outputs, SMALLEST, None)
    clipped = clipped / clipped.sum(1, keepdims=True)
    return _counted(-np.log(clipped[np.arange(len(clipped)), answers.truth]))


def _brier(answers: Answers) -> np.ndarray:
    """Squared distance from the truth; of two classes of one of them, as usual."""
    k = answers.outputs.shape[1]
    distance = np.square(answers.outputs - np.eye(k)[answers.truth]).sum(1)
    return _counted(distance / 2 if k == 2 else distance)


def _squares(answers: Answers) -> np.ndarray:
    return _counted(np.square(answers.errors).mean(1))


def _root(sums: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(_ratio(sums)))


def _spread(answers: Answers) -> np.ndarray:
    y = answers.truth.reshape(answers.outputs.shape)
    y = y - (np.asarray(answers.centre) if answers.centre else 0.0)
    y = y / (np.asarray(answers.scale) if answers.scale else 1.0)
    return np.column_stack([np.ones(len(y)), np.square(answers.errors), y**2, y])


def _r2(sums: np.ndarray) -> np.ndarray:
    """Mean over the targets; not defined where the truth does not vary by more than rounding."""
    n, k = sums[..., :1], sums.shape[-1] // 3
    error, square, y = sums[..., 1 : 1 + k], sums[..., 1 + k : 1 + 2 * k], sums[..., 1 + 2 * k :]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = square - y**2 / n
        return np.asarray(np.where(spread > 1e-12 * square, 1 - error / spread, np.nan).mean(-1))


def pinball(q: float) -> Metric:
    """The pinball loss of a quantile: q for each unit that the truth lies above the answer, 1 - q below it."""

    def terms(answers: Answers) -> np.ndarray:
        above = -answers.errors
        return _counted(np.maximum(q * above, (q - 1) * above).mean(1))

    return Metric(
        f"pinball@{q:g}",
        "regression",
        f"pinball loss ({q:g})",
        f"Mean distance from the truth, {q:g} for each unit above the answer and {1 - q:g} below: smallest for the "
        f"{q:g} quantile.",
        terms,
        _ratio,
        "in the target's own unit",
        higher_is_better=False,
        best=0.0,
        worst=math.inf,
        scaled=True,
    )


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric(
            "accuracy",
            "classification",
            "accuracy",
            "Share of samples (or series) given the right class.",
            _hit,
            _ratio,
            "%",
            share=True,
            decides=True,
        ),
        Metric(
            "balanced_accuracy",
            "classification",
            "balanced accuracy",
            "Share of each class's samples given the right class, averaged over the classes, rare ones as much.",
            _confusion,
            _balanced,
            "%",
            share=True,
            decides=True,
        ),
        Metric(
            "macro_f1",
            "classification",
            "macro F1",
            "For each class the balance of misses and false alarms, averaged over the classes, rare ones as much.",
            _confusion,
            _macro_f1,
            decides=True,
        ),
        Metric(
            "f1",
            "classification",
            "F1",
            "The balance of misses and false alarms of the rarer class.",
            _positive_counts,
            _f1,
            decides=True,
            two_classes=True,
        ),
        Metric(
            "log_loss",
            "classification",
            "log loss",
            "How surprised the stated probabilities are by the truth; 0 is perfect.",
            _surprise,
            _ratio,
            "nats",
            higher_is_better=False,
            best=0.0,
            worst=math.inf,
        ),
        Metric(
            "brier",
            "classification",
            "Brier score",
            "Squared distance of the stated probabilities from the truth; 0 is perfect.",
            _brier,
            _ratio,
            "0 is perfect",
            higher_is_better=False,
            best=0.0,
            worst=2.0,
        ),
        Metric(
            "roc_auc",
            "classification",
            "ROC AUC",
            "How often a sample of a class gets a higher probability of it than one that is not; 0.5 is chance.",
            _bins,
            _binned_auc,
            exactly=lambda answers: _over_classes("roc_auc_score", answers),
            ranks=True,
        ),
        Metric(
            "average_precision",
            "classification",
            "average precision",
            "Mean share of true alarms as the alarm threshold is lowered; chance gives the share of the class.",
            _bins,
            _binned_precision,
            exactly=lambda answers: _over_classes("average_precision_score", answers),
            ranks=True,
        ),
        Metric(
            "rmse",
            "regression",
            "RMSE",
            "Root of the mean squared error, in the target's unit; of several targets each in its own deviations.",
            _squares,
            _root,
            "in the target's own unit",
            higher_is_better=False,
            best=0.0,
            worst=math.inf,
            scaled=True,
        ),
        Metric(
            "mae",
            "regression",
            "MAE",
            "Mean absolute error, in the target's unit; of several targets each in its own deviations.",
            lambda answers: _counted(np.abs(answers.errors).mean(1)),
            _ratio,
            "in the target's own unit",
            higher_is_better=False,
            best=0.0,
            worst=math.inf,
            scaled=True,
        ),
        Metric(
            "r2",
            "regression",
            "R²",
            "Share of the target's variance that is explained; 0 is no better than its mean.",
            _spread,
            _r2,
            "1 is perfect",
            worst=-math.inf,
        ),
    )
}
