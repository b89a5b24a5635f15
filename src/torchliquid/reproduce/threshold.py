"""One input against one threshold: the least that a classifier can be."""

from __future__ import annotations

import torch
from sklearn.tree import DecisionTreeClassifier

from torchliquid.reproduce.features import lagged
from torchliquid.reproduce.metrics import Fitted
from torchliquid.reproduce.protocol import Parts, Protocol


def fit(protocol: Protocol, parts: Parts, seed: int) -> Fitted:
    """Answers on validation and test, and the number of parameters: an input, its threshold and two answers.

    Args:
        parts: with one class per sample; the training part alone chooses.
        seed: only decides between inputs that are equally good.
    """
    tree = DecisionTreeClassifier(max_depth=1, random_state=seed)
    tree.fit(lagged(parts.train, 1), parts.train.targets.flatten().numpy())
    validation, test = (
        torch.from_numpy(tree.predict(lagged(part, 1))).view(part.targets.shape)
        for part in (parts.validation, parts.test)
    )
    return validation, test, 4
