"""Liquid networks as estimators of aeon, for its pipelines and benchmarks (``pip install 'torchliquid[aeon]'``).

Settings and training are those of :mod:`torchliquid.sklearn`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from torchliquid import sklearn
from torchliquid.errors import InputError

try:
    from aeon.classification.base import BaseClassifier
    from aeon.regression.base import BaseRegressor
except ImportError:
    raise InputError("this needs aeon: pip install 'torchliquid[aeon]'") from None

__all__ = ["LiquidClassifier", "LiquidRegressor"]

TAGS: dict[str, Any] = {
    "X_inner_type": ["np-list", "numpy3D"],
    "capability:multivariate": True,
    "capability:unequal_length": True,
    "capability:missing_values": True,
    "algorithm_type": "deeplearning",
}


class LiquidClassifier(sklearn.LiquidNetwork, BaseClassifier):
    __doc__ = f"""One class per series, as a classifier of aeon. {sklearn.LiquidNetwork.__doc__}"""
    _tags: ClassVar[dict[str, Any]] = TAGS

    def _fit(self, X: Any, y: np.ndarray) -> LiquidClassifier:
        self.fitted_ = sklearn.LiquidClassifier(**self.get_params()).fit(X, y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.fitted_.predict(X)

    def _predict_proba(self, X: Any) -> np.ndarray:
        return self.fitted_.predict_proba(X)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return {"parameters": 200, "updates": 10, "random_state": 0}


class LiquidRegressor(sklearn.LiquidNetwork, BaseRegressor):
    __doc__ = f"""One value per series, as a regressor of aeon. {sklearn.LiquidNetwork.__doc__}"""
    _tags: ClassVar[dict[str, Any]] = TAGS

    def _fit(self, X: Any, y: np.ndarray) -> LiquidRegressor:
        self.fitted_ = sklearn.LiquidRegressor(**self.get_params()).fit(X, y)
        return self

    def _predict(self, X: Any) -> np.ndarray:
        return self.fitted_.predict(X)

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        return {"parameters": 200, "updates": 10, "random_state": 0}
