"""Gradient boosting on what each channel of a series was on the whole."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import Tensor

from torchliquid.models.tabular import tree_numbers
from torchliquid.reproduce.metrics import score
from torchliquid.reproduce.protocol import Parts, Protocol
from torchliquid.reproduce.summaries import summaries

ROUNDS = 300
"""At most; the validation part chooses."""


def fit(protocol: Protocol, parts: Parts, seed: int) -> tuple[Tensor, Tensor, int]:
    """Answers on validation and test, how strongly each series speaks for the second class; and what the trees hold.

    Histogram gradient boosting as :class:`torchliquid.models.tabular.Tabular` has it: rate 0.1, 15 leaves a tree.

    Args:
        seed: of scikit-learn.
    """
    trees = HistGradientBoostingClassifier(
        learning_rate=0.1, max_iter=ROUNDS, max_leaf_nodes=15, early_stopping=False, random_state=seed
    )
    trees.fit(summaries(parts.train), parts.train.targets.numpy())
    validation, test = (
        [torch.from_numpy(answers) for answers in trees.staged_decision_function(summaries(part))]
        for part in (parts.validation, parts.test)
    )
    rounds = int(np.argmax([score(protocol.metric, answers, parts.validation.targets) for answers in validation]))
    return validation[rounds], test[rounds], tree_numbers(trees._predictors[: rounds + 1])
