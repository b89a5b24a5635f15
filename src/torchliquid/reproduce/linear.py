"""Linear and logistic regression, without a network, random initialisation or epochs."""

from __future__ import annotations

from itertools import product, starmap

import numpy as np
import torch
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from torchliquid.reproduce.features import views
from torchliquid.reproduce.metrics import Fitted, best_of
from torchliquid.reproduce.protocol import Parts, Protocol

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
"""Penalties on the squared weights of standardised inputs; the validation part chooses."""


def fit(protocol: Protocol, parts: Parts, seed: int) -> Fitted:
    """Answers on validation and test, and the number of weights.

    The validation part chooses the penalty and the features, see :mod:`torchliquid.reproduce.features`.

    Args:
        seed: has no effect.
    """
    targets, weights = parts.train.targets, protocol.settings["Linear"].class_weights
    values = targets.is_floating_point()
    labels = (targets.flatten(0, 1) if values else targets.flatten()).numpy()

    def tried(rows: tuple[np.ndarray, ...], penalty: float) -> Fitted:
        last = Ridge(penalty) if values else LogisticRegression(C=1 / penalty, max_iter=1000, class_weight=weights)
        model = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler(), last).fit(rows[0], labels)
        ask = model.decision_function if protocol.metric == "AUC" else model.predict
        validation, test = (
            torch.from_numpy(ask(asked)).view(part.targets.shape)
            for asked, part in zip(rows[1:], (parts.validation, parts.test), strict=True)
        )
        return validation, test, int(np.size(last.coef_) + np.size(last.intercept_))

    return best_of(protocol, parts, starmap(tried, product(views(parts), PENALTIES)))
