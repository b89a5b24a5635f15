"""What a table measures, of networks and of models that are none."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from torchliquid import metrics


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
    if metric == "squared error":
        return float((given.double() - targets).square().mean())
    truth = targets.flatten().numpy()
    if metric == "AUC":
        likely = given.double().numpy()
        return metrics.find("roc_auc")(metrics.Answers(np.column_stack([1 - likely, likely]), truth))
    predicted = given.flatten().numpy()
    return 100 * metrics.find("accuracy")(metrics.Answers(np.zeros((len(truth), 2)), truth, predicted))
