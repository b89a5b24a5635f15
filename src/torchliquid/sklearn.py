"""Liquid networks as estimators of scikit-learn, for pipelines, grid search and cross-validation.

``X`` holds one series per row. It can be

* an array (series, channels, time), as in aeon, or (series, time) with one channel;
* a list of arrays (channels, time) or (time,), which may differ in length;
* a pandas frame with a series in each cell and one column per channel; the index of each cell gives its times;
* a long pandas frame with the index (series, time) and one column per channel.

NaN means that a reading was not observed. ``times=`` of ``fit`` and ``predict`` are the times of the samples, one array
per series, or one for all. Without them samples are one apart. ``GridSearchCV`` and ``cross_val_score`` do not pass
``times`` to ``predict``: with irregular times, use a pandas frame there.

The estimators of whole series pass scikit-learn's ``check_estimator``, in which each row of the table is a series of
one channel. Only ``check_regressors_train`` is left out, because it fits a table whose columns are not in the order of
time. ``LiquidForecaster`` is not tested by it, because its ``predict`` needs the target's previous readings as ``y``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.devices import device_of
from torchliquid.errors import InputError
from torchliquid.models import Model, build
from torchliquid.random import seeded
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out
from torchliquid.training.loop import TrainingConfig, train

__all__ = ["LiquidClassifier", "LiquidForecaster", "LiquidRegressor"]


class LiquidNetwork(BaseEstimator):
    """A network with a budget of parameters, trained until a validation part no longer improves.

    Args:
        kind: kind of network, one of :data:`torchliquid.models.KINDS`.
        parameters: budget of live parameters.
        updates: maximum number of updates; None: 2,000, or ten passes over the data if these are more.
        epochs: maximum number of passes over the data instead.
        lr, batch_size, weight_decay, patience: see :class:`~torchliquid.training.TrainingConfig`.
        validation: share of the series that is held out to stop the training.
        settings: further settings of the kind, such as ``{"mode": "pure", "layers": 2}``.
        device: where it is trained, such as ``"cuda"``; ``"auto"``: a GPU if there is one. Predictions run on the CPU.
        random_state: seed of the weights, the shuffling and the validation part; None: a new seed in every fit.
    """

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
        validation: float = 0.2,
        settings: dict[str, Any] | None = None,
        device: str = "cpu",
        random_state: Any = None,
    ) -> None:
        super().__init__()  # of aeon's estimators
        self.kind = kind
        self.parameters = parameters
        self.updates = updates
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.patience = patience
        self.validation = validation
        self.settings = settings
        self.device = device
        self.random_state = random_state

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.three_d_array = True
        return tags

    def _train(self, task: Task, training: Recording, validation: Recording, seed: int) -> Model:
        place, task, scales = device_of(self.device), task.fit(training), Preprocessing.fit(training)
        if task.horizon is not None:
            task = task.from_last(training, validation, scales)
        options = ("lr", "updates", "epochs", "batch_size", "weight_decay", "patience")
        config = TrainingConfig(**{name: getattr(self, name) for name in options}, seed=seed)
        with seeded(seed):
            model = build(self.kind, task, scales, self.parameters, **(self.settings or {}))
        train(model.to(place), training, validation, config)
        return model.cpu().eval()


class _OfSeries(LiquidNetwork):
    """One answer per series."""

    def _fit(self, X: Any, y: np.ndarray, task: Task, times: Any, held_out: Callable[[int], np.ndarray]) -> None:
        if not 0 <= self.validation < 1:
            raise InputError(f"validation must be a share from 0 to below 1, not {self.validation!r}")
        values, when = _series(self, X, times, reset=True)
        check_consistent_length(values, y)
        self.n_channels_ = values[0].shape[1]
        if max(map(len, values)) < 2:
            raise InputError(
                "series of 1 sample, or 1 feature(s), do not change over time: give 2 samples per series or more"
            )
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        held = held_out(seed)
        whole = Recording.from_arrays(values, when, list(y), for_model=True, time_unit="units")
        kept = np.flatnonzero(~held)
        parts = (
            [whole.select(kept.tolist()), whole.select(np.flatnonzero(held).tolist())] if held.any() else [whole] * 2
        )
        self.model_ = self._train(task, parts[0], parts[1], seed)

    def _outputs(self, X: Any, times: Any) -> np.ndarray:
        check_is_fitted(self)
        values, when = _series(self, X, times, reset=False)
        if values[0].shape[1] != self.n_channels_:
            raise InputError(f"X has {values[0].shape[1]} channels, but the training data had {self.n_channels_}")
        given = Recording.from_arrays(values, when, channels=self.model_.preprocessing.channels, for_model=True)
        return np.stack(self.model_.outputs(given))


class LiquidClassifier(ClassifierMixin, _OfSeries):
    __doc__ = f"""One class per series, by a liquid network or another one. {LiquidNetwork.__doc__}
    Attributes:
        classes_: (K,) the classes.
        model_: the trained :class:`~torchliquid.Model`.
    """

    def fit(self, X: Any, y: Any, times: Any = None) -> Self:
        """Train on series ``X`` (see :mod:`torchliquid.sklearn`) with one class each (n,).

        Raises:
            InputError: a ValueError: X and y do not match, or there are fewer than two classes.
        """
        X, y = _checked(self, X, y)
        check_classification_targets(y)
        self.classes_, number = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise InputError(f"y has only one class, {str(self.classes_[0])!r}: two or more are needed")

        def held_out(seed: int) -> np.ndarray:
            rng, held = np.random.default_rng(seed), np.zeros(len(number), dtype=bool)
            for k in range(len(self.classes_)):
                of = np.flatnonzero(number == k)
                held[rng.permutation(of)[: int(self.validation * len(of))]] = True
            return held

        names = np.array([f"{k:06d}" for k in range(len(self.classes_))])
        self._fit(X, names[number], Task("classification", "series", "target"), times, held_out)
        return self

    def predict_proba(self, X: Any, times: Any = None) -> np.ndarray:
        """(n, K) probabilities of the classes, in the order of ``classes_``."""
        outputs = self._outputs(X, times)
        found = np.zeros((len(outputs), len(self.classes_)))
        found[:, [int(label) for label in self.model_.task.labels]] = outputs
        return found

    def predict(self, X: Any, times: Any = None) -> np.ndarray:
        """(n,) the most probable class of each series."""
        probabilities = self.predict_proba(X, times)
        return np.asarray(self.classes_[probabilities.argmax(1)])


class LiquidRegressor(RegressorMixin, _OfSeries):
    __doc__ = f"""One value per series, by a liquid network or another one. {LiquidNetwork.__doc__}
    Attributes:
        model_: the trained :class:`~torchliquid.Model`.
    """

    def fit(self, X: Any, y: Any, times: Any = None) -> Self:
        """Train on series ``X`` (see :mod:`torchliquid.sklearn`) with one value each (n,).

        Raises:
            InputError: a ValueError: X and y do not match, or all values are the same.
        """
        X, y = _checked(self, X, y, y_numeric=True)
        if len(y) < 2:
            raise InputError("there is 1 sample (a series), but two or more are needed")

        def held_out(seed: int) -> np.ndarray:
            held = np.zeros(len(y), dtype=bool)
            held[np.random.default_rng(seed).permutation(len(y))[: int(self.validation * len(y))]] = True
            return held

        self._fit(X, y, Task("regression", "series", "target"), times, held_out)
        return self

    def predict(self, X: Any, times: Any = None) -> np.ndarray:
        """(n,) the value of each series."""
        return self._outputs(X, times)[:, 0]


class LiquidForecaster(RegressorMixin, LiquidNetwork):
    """Forecasts the target some samples ahead, at every sample of a recording. The last fifth is held out to stop the
    training; if it is too short for the horizon, all samples are trained on and stop it.

    Args:
        horizon: number of samples ahead; several, such as ``[1, 2, 6]``, are forecast together, the nearest first.
        kind, parameters, updates, epochs, lr, batch_size, weight_decay, patience, settings, device, random_state: as
            of :class:`LiquidClassifier`.

    ``X`` is a table (samples, channels), one row per sample, in order, or None; ``y`` (samples,) are the target's
    readings at the same samples. Both are inputs: a forecast at a sample uses all readings up to this sample, and none
    after it.

    Attributes:
        model_: the trained :class:`~torchliquid.Model`.
    """

    def __init__(
        self,
        kind: str = "cfc",
        *,
        horizon: int | Sequence[int] = 1,
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
        super().__init__(
            kind, parameters=parameters, updates=updates, epochs=epochs, lr=lr, batch_size=batch_size,
            weight_decay=weight_decay, patience=patience, settings=settings, device=device, random_state=random_state,
        )  # fmt: skip
        self.horizon = horizon

    def fit(self, X: Any, y: Any, times: Any = None) -> Self:
        """Train on one recording.

        Args:
            X: (samples, channels) readings, NaN where not observed; None: there are none but the target's.
            y: (samples,) readings of the target.
            times: (samples,) times of the samples; None: samples are one apart.

        Raises:
            InputError: a ValueError: there are too few samples for the horizon.
        """
        given, target = self._recording(X, y, times)
        task = Task.infer(given, target, horizon=self.horizon)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        parts = given, given
        with suppress(InputError):  # too short to hold out a part
            training, validation = hold_out(given, task)
            task.fit(training).check(validation, "validation")
            parts = training, validation
        self.model_ = self._train(task, *parts, seed)
        return self

    def predict(self, X: Any, y: Any, times: Any = None) -> np.ndarray:
        """(samples,) at each sample, the forecast of the target ``horizon`` samples later; (samples, horizons) if there
        are several."""
        answers = self.model_.outputs(self._known(X, y, times))[0]
        return np.asarray(answers if np.ndim(self.horizon) else answers[:, 0])

    def score(self, X: Any, y: Any, times: Any = None) -> float:
        """R² of the forecasts whose truth is known."""
        return self.model_.score(self._known(X, y, times), "r2")

    def _known(self, X: Any, y: Any, times: Any) -> Recording:
        """Check that X has the channels of the training data."""
        check_is_fitted(self)
        given, _ = self._recording(X, y, times)
        wanted = self.model_.preprocessing.n_channels
        if len(given.channels) != wanted:
            raise InputError(f"X has {len(given.channels) - 1} channels, but the training data had {wanted - 1}")
        return given

    def _recording(self, X: Any, y: Any, times: Any) -> tuple[Recording, str]:
        if X is not None:
            X = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
        y = column_or_1d(check_array(y, ensure_2d=False, dtype=np.float64, ensure_all_finite="allow-nan"), warn=True)
        check_consistent_length(X, y)
        X = np.empty((len(y), 0)) if X is None else X
        names = [*(f"channel_{k + 1}" for k in range(X.shape[1])), "target"]
        return Recording.from_arrays(np.column_stack([X, y]), times, channels=names, for_model=True), "target"


def _checked(estimator: LiquidNetwork, X: Any, y: Any, y_numeric: bool = False) -> tuple[Any, np.ndarray]:
    if _is_table(X):
        X, y = validate_data(estimator, X, y, dtype=np.float64, ensure_all_finite="allow-nan", y_numeric=y_numeric)
    elif y is None:
        raise InputError(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    else:
        y = column_or_1d(y, warn=True)
    return X, np.asarray(y, dtype=np.float64) if y_numeric else np.asarray(y)


def _is_table(X: Any) -> bool:
    """Whether scikit-learn's own checks apply: rows of numbers."""
    if hasattr(X, "columns"):
        return not (_is_long(X) or _is_nested(X))
    if isinstance(X, list | tuple):
        return all(np.ndim(one) == 1 and not isinstance(one, np.ndarray) for one in X) or not X
    return np.asarray(X).ndim != 3


def _is_long(X: Any) -> bool:
    return getattr(getattr(X, "index", None), "nlevels", 1) == 2


def _is_nested(X: Any) -> bool:
    return bool(len(X)) and all(hasattr(cell, "__len__") and not isinstance(cell, str | dict) for cell in X.iloc[0])


def _series(estimator: LiquidNetwork, X: Any, times: Any, reset: bool) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """(T, C) and (T,) of each series."""
    when: list[Any] = []
    if _is_table(X):
        checked = (
            X if reset else validate_data(estimator, X, dtype=np.float64, ensure_all_finite="allow-nan", reset=False)
        )
        values = [row[:, None] for row in checked]
    elif _is_long(X):
        groups = [frame.droplevel(0) for _, frame in X.groupby(level=0, sort=False)]
        values, when = [frame.to_numpy(np.float64) for frame in groups], [_clock(frame.index) for frame in groups]
    elif hasattr(X, "columns"):
        rows = [list(row) for _, row in X.iterrows()]
        values = [np.stack([np.asarray(cell, dtype=np.float64) for cell in row], 1) for row in rows]
        when = [_clock(getattr(row[0], "index", range(len(row[0])))) for row in rows]
    else:
        arrays = [np.asarray(one) for one in X]
        if any(array.dtype.kind == "c" for array in arrays):
            raise InputError("Complex data not supported: give real numbers")
        values = [np.atleast_2d(array.astype(np.float64)).T for array in arrays]
    if not values:
        raise InputError("X has 0 sample(s), which are series here; a minimum of 1 is required")
    if len({one.shape[1] for one in values}) > 1:
        raise InputError("the series of X must all have the same number of channels")
    if times is not None:
        shared = np.ndim(times[0]) == 0
        when = [
            np.asarray(times if shared else one, dtype=np.float64)
            for one in ([None] * len(values) if shared else times)
        ]
        check_consistent_length(values, when)
    elif not when:
        when = [np.arange(len(one), dtype=np.float64) for one in values]
    return values, when


def _clock(index: Any) -> np.ndarray:
    """Times of an index: numbers, or dates in seconds."""
    if hasattr(index, "to_timestamp"):  # periods
        index = index.to_timestamp()
    array = np.asarray(index, dtype="datetime64[ns]" if getattr(index, "tz", None) else None)
    if array.dtype.kind in "Mm":
        return (array - array[0]) / np.timedelta64(1, "s")
    return array.astype(np.float64)
