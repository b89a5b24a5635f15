"""Gradient boosting, which most people would try before a network."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from torch import Tensor

from torchliquid.models.trees import tree_numbers
from torchliquid.reproduce.features import views
from torchliquid.reproduce.metrics import Fitted, best_of, score
from torchliquid.reproduce.protocol import Parts, Protocol

ROUNDS = 300
"""Maximum number of rounds; the validation part chooses."""

ROWS = 200_000
"""Maximum number of training sequences. If there are more, every second, third, ... is used, with another first one for
each seed."""

Staged = Callable[[np.ndarray], Iterator[np.ndarray]]


def fit(protocol: Protocol, parts: Parts, seed: int) -> Fitted:
    """Answers on validation and test, and the size of the trees.

    Histogram gradient boosting as in :class:`torchliquid.models.tabular.Tabular`: rate 0.1, 15 leaves per tree,
    separate trees for each of several values. The validation part chooses the number of rounds and the features, see
    :mod:`torchliquid.reproduce.features`.

    Args:
        seed: chooses the training sequences if there are too many.
    """
    every = max(-(-parts.train.inputs[..., 0].numel() // ROWS), 1) if parts.train.lengths is None else 1
    parts = replace(parts, train=parts.train.pick(torch.arange(seed % every, len(parts.train), every)))
    targets = [part.targets for part in parts.pieces]
    return best_of(protocol, parts, (_fit(protocol, rows, targets, seed) for rows in views(parts)))


def _fit(protocol: Protocol, rows: tuple[np.ndarray, ...], targets: list[Tensor], seed: int) -> Fitted:
    shared = {"learning_rate": 0.1, "max_iter": ROUNDS, "max_leaf_nodes": 15, "early_stopping": False}
    if not targets[0].is_floating_point():
        weights = protocol.settings["Boosting"].class_weights
        trees = HistGradientBoostingClassifier(**shared, random_state=seed, class_weight=weights)
        trees.fit(rows[0], targets[0].flatten().numpy())
        staged = trees.staged_decision_function if protocol.metric == "AUC" else trees.staged_predict
        validation, test, rounds = _stopped(protocol, staged, rows, targets)
        return validation, test, tree_numbers(trees._predictors[:rounds])
    found, size = [], 0
    for k in range(targets[0].shape[-1]):
        truths = [target[..., k] for target in targets]
        one = HistGradientBoostingRegressor(**shared, random_state=seed).fit(rows[0], truths[0].flatten().numpy())
        *answers, rounds = _stopped(protocol, one.staged_predict, rows, truths)
        found.append(answers)
        size += tree_numbers(one._predictors[:rounds])
    validation, test = (torch.stack(each, -1) for each in zip(*found, strict=True))
    return validation, test, size


def _stopped(protocol: Protocol, staged: Staged, rows: tuple[np.ndarray, ...], targets: list[Tensor]) -> Fitted:
    """Answers on validation and test after the best number of rounds on validation, and this number."""

    def shaped(found: np.ndarray, truth: Tensor) -> Tensor:
        return torch.from_numpy(found).view(truth.shape)

    _, validation, test = rows
    _, known, asked = targets
    rated = [protocol.sign * score(protocol.metric, shaped(x, known), known) for x in staged(validation)]
    rounds = 1 + int(np.argmax(rated))
    at_best = (next(islice(staged(x), rounds - 1, None)) for x in (validation, test))
    return shaped(next(at_best), known), shaped(next(at_best), asked), rounds
