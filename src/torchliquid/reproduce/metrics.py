"""What a table measures, of networks and of models that are none."""

from __future__ import annotations

import math

import torch
from sklearn.metrics import f1_score, roc_auc_score
from torch import Tensor


def answers(metric: str, outputs: Tensor) -> Tensor:
    """What the metric reads, of a network's outputs (..., K): the likelihood of the second class, the likeliest class,
    or the values themselves."""
    if metric == "AUC":
        return outputs.softmax(-1)[..., 1]
    return outputs if metric == "squared error" else outputs.argmax(-1)


def score(metric: str, given: Tensor, targets: Tensor) -> float:
    """The metric of answers, of the shape of the targets; NaN where they are not finite."""
    if not torch.isfinite(given).all():
        return math.nan
    if metric == "AUC":
        return float(roc_auc_score(targets.numpy(), given.numpy()))
    if metric == "F1":
        return float(f1_score(targets.flatten().numpy(), given.flatten().numpy(), zero_division=0.0))
    if metric == "accuracy %":
        return 100 * float((given == targets).float().mean())
    return float((given.double() - targets).square().mean())
