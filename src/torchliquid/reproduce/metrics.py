"""The metrics of a table, for networks and other models."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from torchliquid import metrics


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
