"""Gradient boosting on what each channel was on the whole: no order in time but the first and the last value."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from torchliquid.models.tabular import tree_numbers
from torchliquid.reproduce.protocol import Part, Parts

ROUNDS = 300
"""At most; the validation part chooses."""


def summaries(
    inputs: Float[np.ndarray, "N T C"], timespans: Float[np.ndarray, "N T"], lengths: Int[np.ndarray, " N"]
) -> Float[np.ndarray, "N F"]:
    """Of the observed values of each channel the first, last, mean, least and greatest and their number; and the number
    of samples and the time from the first to the last.

    Args:
        inputs: values, and behind them their mask.
        timespans: time since the sample before.
        lengths: samples of each series.

    Returns:
        One row a series; NaN for a channel that was never observed.
    """
    rows = []
    for series, spans, n in zip(inputs, timespans, lengths, strict=True):
        values, observed = np.split(series[:n], 2, axis=1)
        x = np.where(observed > 0, values, np.nan)
        count = (observed > 0).sum(0)
        ever = count > 0
        row = np.full((5, x.shape[1]), np.nan)
        first, last = (observed > 0).argmax(0)[ever], n - 1 - (observed[::-1] > 0).argmax(0)[ever]
        x = x[:, ever]
        across = np.arange(x.shape[1])
        row[:, ever] = x[first, across], x[last, across], np.nanmean(x, 0), np.nanmin(x, 0), np.nanmax(x, 0)
        rows.append(np.concatenate([row.ravel(), count, [n, spans[1:n].sum()]]))
    return np.stack(rows)


def scores(parts: Parts, seed: int) -> tuple[np.ndarray, np.ndarray, int]:
    """How strongly each series of validation and test speaks for label 1, and the numbers that the trees hold.

    Histogram gradient boosting as :class:`torchliquid.models.tabular.Tabular` has it: rate 0.1, 15 leaves a tree.

    Args:
        seed: of scikit-learn.
    """

    def table(part: Part) -> np.ndarray:
        assert part.lengths is not None
        return summaries(part.inputs.numpy(), part.timespans.numpy(), part.lengths.numpy())

    trees = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=ROUNDS, max_leaf_nodes=15, early_stopping=False, random_state=seed
    )
    trees.fit(table(parts.train), parts.train.targets.numpy())
    staged = [list(trees.staged_decision_function(table(part))) for part in (parts.validation, parts.test)]
    areas = [roc_auc_score(parts.validation.targets.numpy(), found) for found in staged[0]]
    rounds = int(np.argmax(areas))
    return staged[0][rounds], staged[1][rounds], tree_numbers(trees._predictors[: rounds + 1])
