"""Linear and logistic regression, without a network, random initialisation or epochs."""

from __future__ import annotations

from itertools import product

import numpy as np
import torch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from torchliquid.reproduce.features import tables
from torchliquid.reproduce.metrics import score
from torchliquid.reproduce.protocol import Parts, Protocol

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Penalties on the squared weights of standardised inputs; the validation part chooses."""


def fit(protocol: Protocol, parts: Parts, seed: int) -> tuple[Tensor, Tensor, int]:
    """Answers on validation and test, and the number of weights.

    The validation part chooses the penalty and the features, see :mod:`torchliquid.reproduce.features`.

    Args:
        seed: has no effect.
    """
    views = zip(*(tables(piece) for piece in (parts.train, parts.validation, parts.test)), strict=True)

    def tried(choice: tuple[tuple[np.ndarray, ...], float]) -> tuple[Tensor, Pipeline, np.ndarray]:
        (train, validation, test), penalty = choice
        model = _model(protocol, parts.train.targets, penalty).fit(train, _labels(parts.train.targets))
        return _answers(protocol, model, validation, parts.validation.targets), model, test

    validation, model, rows = max(
        map(tried, product(views, PENALTIES)),
        key=lambda one: protocol.sign * score(protocol.metric, one[0], parts.validation.targets),
    )
    test = _answers(protocol, model, rows, parts.test.targets)
    return validation, test, int(np.size(model[-1].coef_) + np.size(model[-1].intercept_))


def _model(protocol: Protocol, targets: Tensor, penalty: float) -> Pipeline:
    weights = protocol.settings["Linear"].class_weights
    last = (
        Ridge(penalty)
        if targets.is_floating_point()
        else LogisticRegression(C=1 / penalty, max_iter=1000, class_weight=weights)
    )
    return make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last)


def _labels(targets: Tensor) -> np.ndarray:
    labels: np.ndarray = (targets.flatten(0, 1) if targets.is_floating_point() else targets.flatten()).numpy()
    return labels


def _answers(protocol: Protocol, model: Pipeline, rows: np.ndarray, targets: Tensor) -> Tensor:
    ask = model.decision_function if protocol.metric == "AUC" else model.predict
    return torch.from_numpy(ask(rows)).view(targets.shape)
