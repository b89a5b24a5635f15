"""All metrics: how they are computed, whether higher is better, their names and their meaning.

Intervals need a metric as a function of statistics that add up over samples: a study keeps sums for cells of the test
part, and leaves a cell out by subtraction. If such sums are only approximate, the metric also has an exact form over
all samples at once.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import scipy  # whose parts are loaded when they are used

from torchliquid.errors import InputError

LOGIT_BINS = np.linspace(-10, 10, 161)
"""Bins of a probability's logit, an eighth of a unit wide, for the sums of ranking metrics. Over thousands of samples
binning changes them by less than 0.003."""

SMALLEST = 1e-12
"""Probabilities are clipped to it, so that one wrong answer does not make the log loss infinite."""


@dataclass(frozen=True)
class Answers:
    """Predictions for N labelled samples (or series), and the truth.

    Attributes:
        outputs: (N, K) probabilities, or values in the target's unit.
        truth: (N,) class numbers, or (N, K) values.
        predicted: (N,) predicted classes; None: values, or the likeliest class.
        positive: the positive one of two classes.
        centre: (K,) subtracted from values before they are squared, so that no digits are lost; must be the same for
            all answers whose sums are added up.
        scale: (K,) each of several values is divided by it, so that none with large numbers dominates; empty: none is.
    """

    outputs: np.ndarray
    truth: np.ndarray
    predicted: np.ndarray | None = None
    positive: int = 1
    centre: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()

    def of_target(self, k: int) -> Answers:
        """The answers for one of several targets, in its own unit."""
        one = slice(k, k + 1)
        truth = self.truth.reshape(self.outputs.shape)
        return Answers(self.outputs[:, one], truth[:, one], centre=self.centre[one])

    @property
    def classes(self) -> np.ndarray:
        """(N,) predicted classes."""
        return self.outputs.argmax(1) if self.predicted is None else self.predicted

    @property
    def errors(self) -> np.ndarray:
        """(N, K) values minus the truth, scaled."""
        return (self.outputs - self.truth.reshape(self.outputs.shape)) / (np.asarray(self.scale) if self.scale else 1.0)

    @property
    def ranked(self) -> range | tuple[int]:
        """The classes that ranking metrics use: the positive one of two, or each of several."""
        k = self.outputs.shape[1]
        return (self.positive,) if k == 2 else range(k)


MARGIN_OF_ERRORS = 0.10
MARGIN_OF_RMSE = 0.05
SMALLEST_MARGIN = 0.002  # of a metric that ends at 1: two samples in a thousand


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: in options and files.
        kind: kind of task.
        label: name in a sentence.
        meaning: explanation for the glossary.
        unit: label of an axis.
        terms: gives statistics (N, n) of answers, which add up over samples.
        value: gives the metric (...) from their sums (..., n); NaN if it is not defined.
        exactly: computes the metric over all samples at once, if the sums are only approximate.
        best, worst: bounds of the metric; infinite if there is none.
        scaled: whether it is in the target's unit.
        share: whether it is shown in per cent.
        ranks: whether it depends only on the order of the probabilities.
        decides: whether it depends on the predicted classes, and so on a threshold.
        two_classes: whether it is defined only for two classes.
    """

    name: str
    kind: Literal["classification", "regression"]
    label: str
    meaning: str
    terms: Callable[[Answers], np.ndarray]
    value: Callable[[np.ndarray], np.ndarray]
    unit: str = "0 to 1"
    exactly: Callable[[Answers], float] | None = None
    best: float = 1.0
    worst: float = 0.0
    scaled: bool = False
    share: bool = False
    ranks: bool = False
    decides: bool = False
    two_classes: bool = False

    @property
    def higher_is_better(self) -> bool:
        return self.best > self.worst

    @property
    def bounds(self) -> tuple[float, float]:
        """The smallest and the largest possible value."""
        return min(self.best, self.worst), max(self.best, self.worst)

    def __call__(self, answers: Answers) -> float:
        """The metric of answers; NaN if it is not defined."""
        if self.exactly is not None:
            return float(self.exactly(answers))
        return float(self.value(self.terms(answers).sum(0)))

    def matters(self, figure: float) -> float:
        """The smallest difference from a figure that matters: a tenth of its errors, or a twentieth of an error in the
        target's unit."""
        if self.scaled:
            return MARGIN_OF_RMSE * figure
        errors = MARGIN_OF_ERRORS * abs(self.best - figure)
        return max(errors, SMALLEST_MARGIN) if self.higher_is_better else errors


def find(name: str) -> Metric:
    """Get a metric by name.

    ``pinball@0.9`` is the pinball loss of the 90 % quantile. ``rmse[2]`` is the RMSE of the second target, in its unit.

    Raises:
        InputError: the name is unknown, or the quantile is invalid.
    """
    if match := re.fullmatch(r"([^\[\]]+)\[([1-9]\d*)\]", name):
        whole, k = find(match[1]), int(match[2]) - 1
        if whole.kind != "regression":
            raise InputError(f"there is no metric {name!r}: classification has one target; use {match[1]}")
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
    """The quantile in the name of a pinball loss; 0.5 without ``@``.

    Raises:
        InputError: it is not a number between 0 and 1.
    """
    _, at, level = name.partition("@")
    try:
        q = float(level) if at else 0.5
    except ValueError:
        q = math.nan
    if name.split("@")[0] != "pinball" or not 0 < q < 1:
        raise InputError(f"there is no metric {name!r}; write pinball@0.9, with a number between 0 and 1")
    return q


def names(kind: str) -> tuple[str, ...]:
    """Names of the metrics for a kind of task, in the order of tables."""
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
    """From a confusion matrix (..., K * K): for each class its hits, and how often it is true and predicted."""
    k = math.isqrt(sums.shape[-1])
    table = sums.reshape(*sums.shape[:-1], k, k)
    return np.diagonal(table, axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)


def _mean_where(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Mean over the classes with a positive count; NaN if there is none."""
    present = counts > 0
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(present, values, 0.0).sum(-1) / present.sum(-1))


def _balanced(sums: np.ndarray) -> np.ndarray:
    hits, true, _ = _table(sums)
    return _mean_where(hits / np.maximum(true, 1e-300), true)


def _macro_f1(sums: np.ndarray) -> np.ndarray:
    hits, true, predicted = _table(sums)
    return _mean_where(2 * hits / np.maximum(true + predicted, 1e-300), true + predicted)


def _positive_counts(answers: Answers) -> np.ndarray:
    predicted, true = answers.classes == answers.positive, answers.truth == answers.positive
    return np.stack([predicted & true, predicted | true, predicted, true], -1).astype(float)


def _f1(sums: np.ndarray) -> np.ndarray:
    """Of the positive class; 0 if it neither occurs nor is predicted, as in scikit-learn."""
    return np.asarray(2 * sums[..., 0] / np.maximum(sums[..., 2] + sums[..., 3], 1e-300))


def _bins(answers: Answers) -> np.ndarray:
    """For each ranked class: samples by whether they belong to it and by the bin of its probability."""
    n = len(LOGIT_BINS) - 1
    columns = []
    for k in answers.ranked:
        logits = scipy.special.logit(np.clip(answers.outputs[:, k], 1e-6, 1 - 1e-6))
        bins = np.digitize(logits, LOGIT_BINS[1:-1])
        columns.append(np.eye(2 * n)[(answers.truth == k) * n + bins])
    return np.concatenate(columns, -1)


def _by_class(sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(..., classes, bins) number of samples that do not and that do belong to each class."""
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
    # The order within a bin is unknown, so its samples get the precision of its middle.
    found, wrong = (part.cumsum(-1) - part / 2 for part in (positive, negative))
    precision = found / np.maximum(found + wrong, SMALLEST)
    both = positive.sum(-1) * negative.sum(-1)
    return _mean_where((positive * precision).sum(-1) / np.maximum(positive.sum(-1), 1e-300), both)


def _over_classes(score: str, answers: Answers) -> float:
    """Mean of a scikit-learn score over the ranked classes to which some, but not all, samples belong; NaN if there is
    none."""
    from sklearn import metrics as sk  # takes half a second; prediction alone does not need it

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
    """Squared distance from the truth; for two classes of one of them only, as usual."""
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
    """Mean over the targets; NaN if the truth does not vary by more than rounding."""
    n, k = sums[..., :1], sums.shape[-1] // 3
    error, square, y = sums[..., 1 : 1 + k], sums[..., 1 + k : 1 + 2 * k], sums[..., 1 + 2 * k :]
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = square - y**2 / n
        return np.asarray(np.where(spread > 1e-12 * square, 1 - error / spread, np.nan).mean(-1))


_OF_ERRORS: dict[str, Any] = {"unit": "in the target's own unit", "best": 0.0, "worst": math.inf, "scaled": True}


def pinball(q: float) -> Metric:
    """The pinball loss of the quantile q: q per unit of truth above the prediction, 1 - q per unit below."""

    def terms(answers: Answers) -> np.ndarray:
        above = -answers.errors
        return _counted(np.maximum(q * above, (q - 1) * above).mean(1))

    return Metric(
        f"pinball@{q:g}",
        "regression",
        f"pinball loss ({q:g})",
        f"Mean error that counts {q:g} for each unit by which the truth is above the prediction and {1 - q:g} for each "
        f"unit below; smallest for the {q:g} quantile.",
        terms,
        _ratio,
        **_OF_ERRORS,
    )


METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric(
            "accuracy",
            "classification",
            "accuracy",
            "Share of samples (or series) with the correct class.",
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
            "Share of each class's samples with the correct class, averaged over the classes with equal weight.",
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
            "F1 (balance of misses and false alarms) of each class, averaged over the classes with equal weight.",
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
            "Mean negative log probability of the true class; 0 is perfect.",
            _surprise,
            _ratio,
            "nats",
            best=0.0,
            worst=math.inf,
        ),
        Metric(
            "brier",
            "classification",
            "Brier score",
            "Mean squared distance of the predicted probabilities from the truth; 0 is perfect.",
            _brier,
            _ratio,
            "0 is perfect",
            best=0.0,
            worst=2.0,
        ),
        Metric(
            "roc_auc",
            "classification",
            "ROC AUC",
            "How often a sample of a class gets a higher probability for it than one of another class; 0.5 is chance.",
            _bins,
            _binned_auc,
            exactly=lambda answers: _over_classes("roc_auc_score", answers),
            ranks=True,
        ),
        Metric(
            "average_precision",
            "classification",
            "average precision",
            "Mean share of true alarms as the threshold is lowered; by chance it is the share of the class.",
            _bins,
            _binned_precision,
            exactly=lambda answers: _over_classes("average_precision_score", answers),
            ranks=True,
        ),
        Metric(
            "rmse",
            "regression",
            "RMSE",
            "Root of the mean squared error, in the target's unit; for several targets in their standard deviations.",
            _squares,
            _root,
            **_OF_ERRORS,
        ),
        Metric(
            "mae",
            "regression",
            "MAE",
            "Mean absolute error, in the target's unit; for several targets in their standard deviations.",
            lambda answers: _counted(np.abs(answers.errors).mean(1)),
            _ratio,
            **_OF_ERRORS,
        ),
        Metric(
            "r2",
            "regression",
            "R²",
            "Share of the target's variance that is explained; predicting the mean gives 0.",
            _spread,
            _r2,
            "1 is perfect",
            worst=-math.inf,
        ),
    )
}
