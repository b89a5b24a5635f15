"""One input against one threshold: the least that a classifier can be."""

from __future__ import annotations

import torch
from sklearn.tree import DecisionTreeClassifier
from torch import Tensor

from torchliquid.reproduce.features import lagged
from torchliquid.reproduce.protocol import Parts, Protocol


def fit(protocol: Protocol, parts: Parts, seed: int) -> tuple[Tensor, Tensor, int]:
    """Answers on validation and test, and how many numbers they rest on: an input, its threshold and two answers.

    Args:
        parts: of classes, one a sample; the training part alone chooses.
        seed: makes no difference but between inputs that are as good.
    """
    tree = DecisionTreeClassifier(max_depth=1, random_state=seed)
    tree.fit(lagged(parts.train, 1), parts.train.targets.flatten().numpy())
    validation, test = (
        torch.from_numpy(tree.predict(lagged(part, 1))).view(part.targets.shape)
        for part in (parts.validation, parts.test)
    )
    return validation, test, 4
