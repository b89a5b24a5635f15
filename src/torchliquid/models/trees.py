"""Boosted trees as plain arrays, grown by scikit-learn's histogram gradient boosting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_ROUNDS = 300
STEP = 20
BINS = 255
GRID = 2.0**-16
"""Features are rounded to this before training, and thresholds lie between the rounded values. So a live stream or a
device, which rounds differently, takes the same path."""
AT_ONCE = 2**18
"""Number of paths through trees that are followed at once."""

Score = tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Trees:
    """Boosted trees. For two classes they return only the second one's logit. The nodes of all trees follow each other,
    each parent before its children.

    Attributes:
        baseline: (K,) values before any tree.
        roots: (R, K) the first node of each round's trees.
        feature: (N,) int32, the feature that a node tests; -1: a leaf.
        threshold: (N,) a row goes left if its feature is at most this.
        left, right: (N,) int32, the next node.
        value: (N,) what a leaf adds.
        count: (N,) uint32, number of training rows that reached the node.
    """

    baseline: np.ndarray
    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    left: np.ndarray
    right: np.ndarray
    value: np.ndarray
    count: np.ndarray

    def __call__(self, table: np.ndarray) -> np.ndarray:
        """(N, K) values or logits for rows of features (N, F)."""
        found = np.repeat(self.baseline[None], len(table), 0)
        trees = self.roots.size
        many = max(AT_ONCE // max(trees, 1), 1)
        for start in range(0, len(table), many):
            rows = table[start : start + many]
            node = np.tile(self.roots.ravel(), len(rows))
            still = np.arange(len(node))
            while len(still := still[self.feature[node[still]] >= 0]):
                at = node[still]
                goes_left = rows[still // trees, self.feature[at]] <= self.threshold[at]
                node[still] = np.where(goes_left, self.left[at], self.right[at])
            found[start : start + many] += self.value[node].reshape(len(rows), *self.roots.shape).sum(1)
        return found

    @property
    def splits(self) -> int:
        """Number of nodes that are not leaves."""
        return int((self.feature >= 0).sum())

    @property
    def leaves(self) -> int:
        return int(len(self.feature) - self.splits)

    @property
    def numbers(self) -> int:
        """A feature and a threshold per split, and a value per leaf."""
        return 2 * self.splits + self.leaves

    def comparisons(self) -> float:
        """Mean number of splits that a row of the training table passed, in all trees."""
        came = self.count.astype(np.float64)
        return float(came[self.feature >= 0].sum() / max(came[self.roots[0, 0]], 1)) if self.roots.size else 0.0

    @classmethod
    def of(cls, estimators: list[Any]) -> Trees:
        """From the arrays of fitted estimators, one in all or one per value, trained on rounded features."""
        baseline = [np.ravel(e._baseline_prediction) for e in estimators]
        rounds = [[t for one in each for t in one] for each in zip(*(e._predictors for e in estimators), strict=True)]
        nodes = [tree.nodes for trees in rounds for tree in trees]
        starts = np.cumsum([0, *map(len, nodes)])
        every = np.concatenate(nodes)
        leaf = every["is_leaf"].astype(bool)
        first = np.repeat(starts[:-1], np.diff(starts))
        return cls(
            np.concatenate(baseline).astype(np.float64),
            starts[:-1].reshape(len(rounds), -1).astype(np.int32),
            np.where(leaf, -1, every["feature_idx"]).astype(np.int32),
            np.where(leaf, 0.0, (np.floor(every["num_threshold"] / GRID) + 0.5) * GRID),
            np.where(leaf, 0, every["left"] + first).astype(np.int32),
            np.where(leaf, 0, every["right"] + first).astype(np.int32),
            np.where(leaf, every["value"], 0.0),
            every["count"].astype(np.uint32),
        )


def tree_numbers(stages: Sequence[Sequence[Any]]) -> int:
    """Number of values in scikit-learn's trees: a feature and a threshold per split, and a value per leaf."""
    splits = [len(tree.nodes) // 2 for stage in stages for tree in stage]
    return sum(3 * n + 1 for n in splits)


def boost(
    table: np.ndarray,
    targets: np.ndarray,
    classes: bool,
    quantile: float | None,
    weight: str | None,
    settings: dict[str, Any],
    start: Score | None,
    score: Callable[[Trees], Score],
) -> tuple[Trees | None, int]:
    """Boost until the score has not improved for five checks; returns the best trees and their rounds.

    Args:
        table, targets: (N, F) features, and (N,) or (N, K) encoded targets.
        classes: boost classes, weighted by ``weight``; otherwise values.
        quantile: for values, the quantile of the loss; None: squared errors.
        settings: settings of scikit-learn's estimator.
        start: the score without trees; None if there is no such model.
        score: the score with these trees; higher is better.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    settings = {"early_stopping": False, "warm_start": True, **settings}
    columns = [targets] if targets.ndim == 1 else list(targets.T)
    make = HistGradientBoostingRegressor
    if quantile is not None:
        settings |= {"loss": "quantile", "quantile": quantile}
    if classes:
        make, settings = HistGradientBoostingClassifier, settings | {"class_weight": weight}
    table = np.round((_levels(table) if weight else table) / GRID) * GRID
    best: tuple[Trees | None, int] = (None, 0)
    best_score, since = start, 0
    estimators = [make(**settings) for _ in columns]
    for rounds in range(STEP, MAX_ROUNDS + 1, STEP):
        for estimator, column in zip(estimators, columns, strict=True):
            estimator.set_params(max_iter=rounds).fit(table, column)
        found = Trees.of(estimators)
        reached = score(found)
        if best_score is None or reached > best_score:
            best, best_score, since = (found, rounds), reached, 0
        elif (since := since + 1) == 5:
            break
    return best


def _levels(table: np.ndarray) -> np.ndarray:
    """A table with at most as many distinct values per column as boosting has bins: the means of equally filled bins.

    With weights, scikit-learn 1.9 sums over the whole column for each bin edge, in every round, which is slow.
    """
    rounded = table.copy()
    for i, column in enumerate(table.T):
        if len(np.unique(column)) > BINS:
            edges = np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])
            where = np.searchsorted(edges, column)
            sizes = np.maximum(np.bincount(where, minlength=BINS), 1)
            rounded[:, i] = (np.bincount(where, column, BINS) / sizes)[where]
    return rounded
