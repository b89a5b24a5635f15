"""The metrics of a table, for networks and other models, and the choice by them on the validation part."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from torchliquid import metrics
from torchliquid.reproduce.protocol import Parts, Protocol

Fitted = tuple[Tensor, Tensor, int]
"""Answers of a model on the validation and the test part, and its size in numbers."""


def answers(metric: str, outputs: Tensor) -> Tensor:
    """The answers that the metric uses, from a network's outputs (..., K): the score of the second class, the most
    probable class, or the values."""
    if metric == "AUC":
        return outputs.softmax(-1)[..., 1]
    return outputs if metric == "squared error" else outputs.argmax(-1)


def score(metric: str, given: Tensor, targets: Tensor) -> float:
    """The metric of answers in the shape of the targets; NaN if they are not finite."""
    if not torch.isfinite(given).all():
        return math.nan
    if metric == "squared error":
        return float((given.double() - targets).square().mean())
    truth = targets.flatten().numpy()
    if metric == "AUC":
        likely = given.double().numpy()
        return metrics.find("roc_auc")(metrics.Answers(np.column_stack([1 - likely, likely]), truth))
    predicted = given.flatten().numpy()
    return 100 * metrics.find("accuracy")(metrics.Answers(np.zeros((len(truth), 2)), truth, predicted))


def best_of(protocol: Protocol, parts: Parts, found: Iterable[Fitted]) -> Fitted:
    """The model that is best on validation."""
    return max(found, key=lambda one: protocol.sign * score(protocol.metric, one[0], parts.validation.targets))
