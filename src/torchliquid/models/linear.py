"""Linear models as plain arrays: ridge regression for values, logistic regression for classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STRENGTHS = (1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 0.01)
"""Penalties, the strongest first."""

Score = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Linear:
    """Weights of standardised features. For two classes it returns only the second one's logit.

    Attributes:
        mean, scale: (F,) of the features.
        weight, bias: (K, F) and (K,) for standardised features.
    """

    mean: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """(N, K) values or logits for rows of features (N, F)."""
        return np.asarray(((table - self.mean) / self.scale) @ self.weight.T + self.bias)

    @property
    def numbers(self) -> int:
        """Number of coefficients, without those of columns that have none."""
        return int(self.weight.any(0).sum()) * len(self.weight) + self.bias.size

    @classmethod
    def of(cls, scaler: Any, model: Any, columns: np.ndarray | slice = slice(None)) -> Linear:
        """The arrays of a fitted ``StandardScaler`` and a linear model of scikit-learn that saw some of its columns."""
        found = np.atleast_2d(np.asarray(model.coef_, dtype=np.float64))
        weight = np.zeros((len(found), len(scaler.mean_)))
        weight[:, columns] = found
        bias = np.broadcast_to(np.asarray(model.intercept_, dtype=np.float64), len(weight))
        return cls(scaler.mean_.copy(), scaler.scale_.copy(), weight, bias.copy())


def fit_linear(
    table: np.ndarray,
    targets: np.ndarray,
    classes: bool,
    quantile: float | None,
    weight: str | None,
    strengths: Sequence[float],
    score: Callable[[Linear], Score],
    columns: np.ndarray | slice = slice(None),
) -> tuple[Linear, float]:
    """Reduce the penalty until the score has failed to improve twice; returns the best model and its penalty.

    Args:
        table, targets: (N, F) features, and (N,) or (N, K) encoded targets.
        classes: logistic regression, with classes weighted by ``weight``; otherwise ridge regression.
        quantile: the quantile of the residuals is added to the bias.
        strengths: the penalties to try, the strongest first.
        score: the score of a model; higher is better.
        columns: the columns of the table that have weights; the weights of the others are 0.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(table)
    scaled = scaler.transform(table)[:, columns]
    logistic = LogisticRegression(class_weight=weight, max_iter=1000, warm_start=True)
    best: tuple[Linear, float] | None = None
    best_score: Score = (-np.inf,)
    since = 0
    for strength in strengths:
        if classes:
            last = logistic.set_params(C=1 / strength).fit(scaled, targets)
        else:
            last = Ridge(alpha=strength).fit(scaled, targets)
            if quantile is not None:
                last.intercept_ = last.intercept_ + np.quantile(targets - last.predict(scaled), quantile, axis=0)
        found = Linear.of(scaler, last, columns)
        reached = score(found)
        if best is None or reached > best_score:
            best, best_score, since = (found, strength), reached, 0
        elif (since := since + 1) == 2:
            break
    assert best is not None
    return best
