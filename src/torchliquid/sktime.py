"""Liquid networks as a forecaster of sktime, for its pipelines and backtests (``pip install 'torchliquid[sktime]'``).

Settings and training are those of :class:`torchliquid.sklearn.LiquidForecaster`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pandas as pd

from torchliquid import sklearn
from torchliquid.errors import InputError

try:
    from sktime.forecasting.base import BaseForecaster
except ImportError:
    raise InputError("this needs sktime: pip install 'torchliquid[sktime]'") from None

__all__ = ["LiquidForecaster"]


class LiquidForecaster(BaseForecaster):
    """Forecasts all steps of a horizon together, from the readings up to the cutoff.

    The series counts as evenly sampled. ``X`` gives further channels, of which only readings up to the cutoff are used.
    The horizon must be known in ``fit``, and all its steps must lie ahead. After ``update(update_params=False)`` the
    same network answers from the new readings, as many steps ahead as in ``fit``.

    Args:
        kind, parameters, updates, epochs, lr, batch_size, weight_decay, patience, settings, device, random_state: as
            of :class:`torchliquid.sklearn.LiquidForecaster`.

    Attributes:
        fitted_: the trained :class:`torchliquid.sklearn.LiquidForecaster`.

    Example:
        >>> from sktime.datasets import load_airline
        >>> from torchliquid.sktime import LiquidForecaster
        >>> y = load_airline()
        >>> forecaster = LiquidForecaster(parameters=300, updates=50, random_state=0)
        >>> forecaster.fit(y, fh=[1, 2, 3]).predict().shape
        (3,)
    """

    _tags: ClassVar[dict[str, Any]] = {
        "y_inner_mtype": "pd.Series",
        "X_inner_mtype": "pd.DataFrame",
        "capability:exogenous": True,
        "capability:insample": False,
        "capability:missing_values": True,
        "capability:update": True,
        "capability:random_state": True,
        "property:randomness": "derandomized",
        "requires-fh-in-fit": True,
    }

    def __init__(
        self,
        kind: str = "cfc",
        *,
        parameters: int = 2500,
        updates: int | None = None,
        epochs: int | None = None,
        lr: float = 0.01,
        batch_size: int = 16,
        weight_decay: float = 0.1,
        patience: int = 10,
        settings: dict[str, Any] | None = None,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        self.kind = kind
        self.parameters = parameters
        self.updates = updates
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.patience = patience
        self.settings = settings
        self.device = device
        self.random_state = random_state
        super().__init__()

    def _fit(self, y: pd.Series, X: pd.DataFrame | None, fh: Any) -> LiquidForecaster:
        self.fitted_ = sklearn.LiquidForecaster(horizon=self._steps(fh), **self.get_params(deep=False)).fit(X, y)
        self._seen = X, y
        return self

    def _update(self, y: pd.Series, X: pd.DataFrame | None = None, update_params: bool = True) -> LiquidForecaster:
        before, readings = self._seen
        readings = y.combine_first(readings)
        X = before if X is None or before is None else X.combine_first(before).loc[readings.index]
        if update_params:
            return self._fit(readings, X, self.fh)
        self._seen = X, readings
        return self

    def _steps(self, fh: Any) -> list[int]:
        return [int(step) for step in fh.to_relative(self.cutoff)]

    def _predict(self, fh: Any, X: pd.DataFrame | None) -> pd.Series:
        if (steps := self._steps(fh)) != self.fitted_.horizon:
            raise InputError(
                f"trained for the steps {self.fitted_.horizon} after the cutoff, and asked for {steps}: give relative "
                "steps in fit, or update with update_params=True"
            )
        channels, readings = self._seen
        answers = self.fitted_.predict(channels, readings)[-1]
        return pd.Series(answers, index=fh.to_absolute_index(self.cutoff), name=readings.name)

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Settings for sktime's own checks."""
        small = {"parameters": 200, "updates": 5, "random_state": 0}
        return [small, {**small, "kind": "ltc"}]
