"""Linear models and gradient boosting (scikit-learn) on the last samples, their ages and window statistics."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.calibration import Calibration, calibrate
from torchliquid.models.features import aligned_values, features
from torchliquid.models.predictor import Predictor, Progress, aligned
from torchliquid.tasks import Task

MAX_ROUNDS = 300
STEP = 20
BINS = 255
LOOKBACK = 64

STRENGTHS = (1e4, 1e3, 1e2, 10.0, 1.0, 0.1, 0.01)
"""Penalties of the linear model, strongest first."""

MOST_VALUES = 1024
"""Maximum number of raw values as features; with more channels, they cover fewer samples."""

MOST_NUMBERS = 30_000_000
"""Maximum number of values in the training table; of more rows, every n-th is used."""

UNEVEN = 0.05
"""Sampling is uneven if more than this share of spans differ from the usual one by more than this share."""

LAST = slice(-1, None)

ROWS = 4096
"""Rows per call, which bounds memory and does not change results."""


class Tabular(Predictor):
    """A scikit-learn model; it cannot be saved to disk.

    Attributes:
        kind: ``"linear"`` or ``"boosting"``.
        config: its settings.
        task, preprocessing: fitted on the training part.
        estimators: one, or one per output for boosting of several values.
        start: for boosting of values, the linear model whose errors the trees learn; else None.
    """

    def __init__(
        self,
        kind: str,
        config: dict[str, Any],
        task: Task,
        preprocessing: Preprocessing,
        estimators: list[Any],
        start: Any = None,
    ) -> None:
        self.kind = kind
        self.config = config
        self.task = task
        self.preprocessing = preprocessing
        self.estimators = estimators
        self.start = start
        self.metadata = {}
        self.calibration = Calibration()

    @classmethod
    def fit(
        cls,
        kind: str,
        task: Task,
        preprocessing: Preprocessing,
        training: Recording,
        validation: Recording,
        class_weights: bool = False,
        threads: int = 1,
        seed: int = 0,
        **hyper: Any,
    ) -> Tabular:
        """Fit on the labelled samples (or series) of a training part.

        Args:
            kind: ``"linear"`` for logistic or ridge regression on standardised features, or ``"boosting"`` for
                histogram gradient boosting. Boosting of values starts from a linear model. With one answer per step,
                the features are the last ``lookback`` samples, their ages if sampling is uneven, and their statistics.
                With one answer per series, they are statistics, and the values if all series have the same length.
            task, preprocessing: fitted on the training part.
            training, validation: the validation part selects the strength, and the number of boosting rounds (at most
                300), by the task's primary metric.
            class_weights: whether rare classes have a larger weight.
            threads: number of threads for boosting.
            seed: for boosting.
            hyper: settings: ``lookback`` (default 64; 1: only the current sample); for ``"linear"`` the ``strength`` of
                the penalty (default: selected); for ``"boosting"`` ``learning_rate`` (0.1), ``leaves`` per tree (15)
                and ``min_leaf``, the samples per leaf (a fiftieth of all samples, but 1 to 20).

        Raises:
            InputError: the kind or a setting is unknown.
        """
        if kind not in ("linear", "boosting"):
            raise InputError(f"there is no tabular model {kind!r}; {nearest(kind, ('linear', 'boosting'))}")
        defaults: dict[str, Any] = {"lookback": LOOKBACK, "strength": None}
        if kind == "boosting":
            defaults = {"lookback": LOOKBACK, "learning_rate": 0.1, "leaves": 15, "min_leaf": None}
        unknown = [name for name in hyper if name not in defaults]
        if unknown:
            raise InputError(f"{kind} has no setting {unknown[0]!r}; {nearest(unknown[0], defaults)}")
        seen = _seen(task, preprocessing, training, hyper.get("lookback", LOOKBACK))
        model = cls(kind, defaults | hyper | seen, task, preprocessing, [])
        table, targets = model._table(training)
        if kind == "boosting" and model.config["min_leaf"] is None:
            model.config["min_leaf"] = int(np.clip(len(table) // 50, 1, 20))
        weight = "balanced" if class_weights and task.kind == "classification" else None
        validation = task.with_targets(validation)
        with threadpool_limits(threads):
            if kind == "boosting":
                fitted = _boost(model, table, targets, validation, weight, seed)
            else:
                fitted = _linear(model, table, targets, validation, weight)
            if task.kind == "classification":
                calibrate(fitted, validation)
            return fitted

    def outputs(
        self, recording: Recording, windows: Windows | None = None, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """Decoded answers for each series, as :meth:`Predictor.outputs`; ``windows`` has no effect."""
        recording = aligned(recording, self.preprocessing)
        found, done = [], 0
        for series in recording.series:
            prepared, done = self.preprocessing(series), done + len(series)
            if self.task.per == "series":
                found.append(self.answer(self._features(*prepared, LAST))[0])
            else:
                found.append(self._answers(*prepared))
            if progress is not None:
                progress(done)
        return found

    def _answers(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        first = self.task.first_known(inputs)
        if 0 < first < len(inputs):  # features that look back start there
            return np.concatenate(
                [self._answers(inputs[:first], spans[:first]), self._answers(inputs[first:], spans[first:])]
            )
        blocks = [slice(start, start + ROWS) for start in range(0, len(spans), ROWS)]
        return np.concatenate([self.answer(self._features(inputs, spans, rows)) for rows in blocks])

    def _features(self, inputs: np.ndarray, spans: np.ndarray, rows: slice) -> np.ndarray:
        """Features of the samples ``rows``, or of the whole series."""
        n, config = self.preprocessing.n_channels, self.config
        if self.task.per == "series":
            table = features(inputs, spans, n, (len(spans),), LAST, uneven=config["uneven"])
            if not config["aligned"]:
                return table
            values = aligned_values(inputs, n, config["aligned"], max(MOST_VALUES // n, 1))
            return np.concatenate([table, values], 1)
        lookback = config["lookback"]
        windows = [w for w in (lookback // 8, lookback) if w > 1]
        return features(inputs, spans, n, windows, rows, config["lags"], config["uneven"])

    def _table(self, training: Recording) -> tuple[np.ndarray, np.ndarray]:
        """Features and encoded targets of all labelled samples, or of every n-th if they are too many."""
        prepared = []
        for series in training.series:
            encoded, weights = self.task.encode(series)
            inputs, spans = self.preprocessing(series)
            if first := self.task.first_known(inputs):
                inputs, spans, encoded, weights = inputs[first:], spans[first:], encoded[first:], weights[first:]
            if not len(inputs):
                continue
            prepared.append((inputs, spans, encoded, np.flatnonzero(np.atleast_1d(weights) > 0)))
        labelled = sum(len(known) for *_, known in prepared)
        if not labelled:
            raise InputError(f"no sample has a value of the target {self.task.target!r}; there is nothing to train on")
        width = self._features(*prepared[0][:2], LAST).shape[1]
        every = -(-labelled * width // MOST_NUMBERS)
        tables, targets = [], []
        for inputs, spans, encoded, known in prepared:
            if self.task.per == "series":
                if len(known):
                    tables.append(self._features(inputs, spans, LAST))
                    targets.append(encoded[None])
                continue
            chosen = known[::every]
            for start in range(0, len(spans), ROWS):
                block = chosen[(chosen >= start) & (chosen < start + ROWS)]
                if len(block):
                    tables.append(self._features(inputs, spans, slice(start, start + ROWS))[block - start])
            targets.append(encoded[chosen])
        table, target = np.concatenate(tables), np.concatenate(targets)
        if self.task.change:  # the first columns of a table are the inputs
            target = target - self.task.with_last(np.zeros((len(table), 1)), table)[:, 0]
        return table, target

    def answer(self, table: np.ndarray) -> np.ndarray:
        """Decoded answers (N, K) for rows of features."""
        if self.task.kind == "classification":
            return self.calibration(np.asarray(self.estimators[0].predict_proba(table)), self.task.positive)
        answers = [np.asarray(e.predict(table)).reshape(len(table), -1) for e in self.estimators]
        scaled = np.concatenate(answers, 1) if answers else np.zeros((len(table), self.task.n_outputs))
        if self.start is not None:
            scaled = scaled + np.asarray(self.start.predict(table)).reshape(scaled.shape)
        scaled = self.task.with_last(scaled, table) if self.task.change else scaled
        return scaled * self.task.std + self.task.mean

    def recalibrate(self, calibration: Calibration) -> None:
        """Use this calibration for all further answers."""
        self.calibration = calibration

    def steps(self, n: int) -> TabularSteps:
        return TabularSteps(self, n)

    def numbers(self) -> Iterator[np.ndarray]:
        for scaler, linear in self.linear_models:
            yield from (np.asarray(each) for each in (scaler.mean_, scaler.scale_, linear.coef_, linear.intercept_))
        for boosted in self.boosted:
            yield from (tree.nodes for stage in boosted._predictors for tree in stage)

    def live_parameters(self) -> int:
        """Number of coefficients, and for trees of a feature and a threshold per split and a value per leaf."""
        return sum(int(np.size(model[-1].coef_) + np.size(model[-1].intercept_)) for model in self.linear_models) + sum(
            tree_numbers(e._predictors) for e in self.boosted
        )

    def n_bytes(self) -> int:
        """Bytes of the numbers that an answer needs, as scikit-learn stores them."""
        linear = sum(
            8 * (np.size(model[-1].coef_) + np.size(model[-1].intercept_) + 2 * len(model[0].mean_))
            for model in self.linear_models
        )
        trees = [tree for e in self.boosted for stage in e._predictors for tree in stage]
        return int(linear) + sum(tree.nodes.nbytes for tree in trees)

    @property
    def linear_models(self) -> list[Any]:
        """The linear models, each with its scaler."""
        return self.estimators if self.kind == "linear" else [] if self.start is None else [self.start]

    @property
    def boosted(self) -> list[Any]:
        """The estimators with trees."""
        return self.estimators if self.kind == "boosting" else []


def tree_numbers(stages: Sequence[Sequence[Any]]) -> int:
    """Number of values in trees: a feature and a threshold per split, and a value per leaf."""
    splits = [len(tree.nodes) // 2 for stage in stages for tree in stage]
    return sum(3 * n + 1 for n in splits)


class TabularSteps:
    """A tabular model on live samples; it remembers the samples that its features look back on.

    The state: inputs (n, T, n_inputs) and timespans (n, T) of the last samples, how many of these each stream has had
    (n,), and whether a last value was known yet (n,). T is the lookback, or for a task per series the longest series.
    """

    def __init__(self, model: Tabular, n: int) -> None:
        self.model = model
        self.back = max(model.config["lookback"], 1) if model.task.per == "step" else sys.maxsize
        self.inputs = np.zeros((n, 0, model.preprocessing.n_inputs), dtype=np.float32)
        self.spans = np.zeros((n, 0), dtype=np.float32)
        self.had, self.begun = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        return tuple(part.copy() for part in (self.inputs, self.spans, self.had, self.begun))

    @state.setter
    def state(self, parts: tuple[np.ndarray, ...]) -> None:
        given = [np.shape(part) for part in parts]
        n, _, width = self.inputs.shape
        time = given[1][1] if len(given) == 4 and len(given[1]) == 2 else 0
        want = [(n, time, width), (n, time), (n,), (n,)]
        if given != want:
            raise InputError(f"the state has parts of shapes {given}; {want} are needed")
        self.inputs, self.spans, self.had, self.begun = (
            np.array(new, dtype=old.dtype) for new, old in zip(parts, self.state, strict=True)
        )

    def reset(self, rows: Any) -> None:
        self.had[rows], self.begun[rows] = 0, False

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        self.inputs = np.concatenate([self.inputs, inputs[:, None]], 1)[:, -self.back :]
        self.spans = np.concatenate([self.spans, spans[:, None]], 1)[:, -self.back :]
        self.had = np.minimum(self.had + 1, self.inputs.shape[1])
        rows = []
        for i, fed in enumerate(inputs):
            if not self.begun[i] and self.model.task.first_known(fed[None]) == 0:
                self.had[i], self.begun[i] = 1, True  # features that look back start here
            seen = slice(self.inputs.shape[1] - self.had[i], None)
            rows.append(self.model._features(self.inputs[i, seen], self.spans[i, seen], LAST))
        return self.model.answer(np.concatenate(rows))


def _seen(task: Task, preprocessing: Preprocessing, training: Recording, lookback: int) -> dict[str, Any]:
    """Settings of the features: whether sampling is uneven; the number of lags; for whole series the length, 0 if it
    differs."""
    lengths = {len(series) for series in training.series}
    spans = np.concatenate([preprocessing(series)[1][1:] for series in training.series])
    seen: dict[str, Any] = {"uneven": bool(len(spans) and np.mean(np.abs(spans - 1) > UNEVEN) > UNEVEN)}
    if task.per == "series":
        return seen | {"aligned": lengths.pop() if len(lengths) == 1 else 0}
    return seen | {"lags": min(lookback, max(MOST_VALUES // preprocessing.n_channels, 2), max(lengths)) - 1}


def _linear(
    model: Tabular, table: np.ndarray, targets: np.ndarray, validation: Recording, weight: str | None
) -> Tabular:
    """Reduce the penalty until the validation score has not improved twice; return the best."""
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    task, fixed = model.task, model.config["strength"]
    scaler = StandardScaler().fit(table)
    scaled = scaler.transform(table)
    best, best_score, since = model, (-np.inf, -np.inf), 0
    logistic = LogisticRegression(class_weight=weight, max_iter=1000, warm_start=True)
    for strength in STRENGTHS if fixed is None else (fixed,):
        if task.kind == "regression":
            last = Ridge(alpha=strength).fit(scaled, targets)
            if task.quantile is not None:
                above = targets - last.predict(scaled)
                last.intercept_ = last.intercept_ + np.quantile(above, task.quantile, axis=0)
        else:
            last = copy.deepcopy(logistic.set_params(C=1 / strength).fit(scaled, targets))
        kept = Tabular(
            model.kind, model.config | {"strength": strength}, task, model.preprocessing, [make_pipeline(scaler, last)]
        )
        score = task.score(task.metrics(kept.outputs(validation), validation))
        better = best is model or score > best_score
        best, best_score, since = (kept, score, 0) if better else (best, best_score, since + 1)
        if since == 2:
            break
    return best


def _boost(
    model: Tabular, table: np.ndarray, targets: np.ndarray, validation: Recording, weight: str | None, seed: int
) -> Tabular:
    """Boost until the validation score has not improved for five checks; return the best.

    Values are boosted from a linear model, because trees approximate a straight line by a staircase.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    task, config = model.task, model.config
    best, best_score, since = model, (-np.inf, -np.inf), 0
    if task.kind == "regression":
        linear = _linear(
            Tabular("linear", config | {"strength": None}, task, model.preprocessing, []),
            table,
            targets,
            validation,
            None,
        )
        model.start = linear.estimators[0]
        targets = targets - model.start.predict(table).reshape(targets.shape)
        best_score = task.score(task.metrics(model.outputs(validation), validation))
        config["rounds"] = 0
    settings = {
        "learning_rate": config["learning_rate"],
        "max_leaf_nodes": config["leaves"],
        "min_samples_leaf": config["min_leaf"],
        "early_stopping": False,
        "warm_start": True,
        "random_state": seed,
    }
    columns = [targets] if targets.ndim == 1 else list(targets.T)
    make = HistGradientBoostingRegressor
    if task.quantile is not None:
        settings |= {"loss": "quantile", "quantile": task.quantile}
    if task.kind == "classification":
        make, settings = HistGradientBoostingClassifier, settings | {"class_weight": weight}
    if weight:
        table = _levels(table)
    estimators = [make(**settings) for _ in columns]
    for rounds in range(STEP, MAX_ROUNDS + 1, STEP):
        for estimator, column in zip(estimators, columns, strict=True):
            estimator.set_params(max_iter=rounds).fit(table, column)
        kept = Tabular(
            model.kind, config | {"rounds": rounds}, task, model.preprocessing, copy.deepcopy(estimators), model.start
        )
        score = task.score(task.metrics(kept.outputs(validation), validation))
        better = (best is model and model.start is None) or score > best_score
        best, best_score, since = (kept, score, 0) if better else (best, best_score, since + 1)
        if since == 5:
            break
    return best


def _levels(table: np.ndarray) -> np.ndarray:
    """A table whose columns have no more distinct values than boosting has bins: the means of equally filled bins.

    With weights scikit-learn (1.9) finds each of the bins' edges by summing over the whole column, in every round.
    """
    rounded = table.copy()
    for i, column in enumerate(table.T):
        if len(np.unique(column)) > BINS:
            edges = np.quantile(column, np.linspace(0, 1, BINS + 1)[1:-1])
            where = np.searchsorted(edges, column)
            sizes = np.maximum(np.bincount(where, minlength=BINS), 1)
            rounded[:, i] = (np.bincount(where, column, BINS) / sizes)[where]
    return rounded
