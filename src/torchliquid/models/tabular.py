"""Linear models and gradient boosting (scikit-learn) on the current sample and window statistics."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.features import features
from torchliquid.models.model import aligned, as_frame
from torchliquid.tasks import Task

MAX_ROUNDS = 300
STEP = 20
LOOKBACK = 64


class Tabular:
    """A scikit-learn model that answers like a :class:`torchliquid.models.Model`; it is not saved to disk.

    Attributes:
        kind: ``"linear"`` or ``"boosting"``.
        config: the settings it was made with.
        task, preprocessing: fitted on the training part.
        estimators: one, or one an output for boosting several values.
    """

    def __init__(
        self, kind: str, config: dict[str, Any], task: Task, preprocessing: Preprocessing, estimators: list[Any]
    ) -> None:
        self.kind = kind
        self.config = config
        self.task = task
        self.preprocessing = preprocessing
        self.estimators = estimators

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
            kind: ``"linear"``: logistic or ridge regression on standardised features, ``strength`` of its penalty 1;
                ``"boosting"``: histogram gradient boosting with ``learning_rate`` 0.1, ``leaves`` 15 a tree and
                ``min_leaf`` samples a leaf, a fiftieth of them but 1 to 20. For an answer per step both look back on
                ``lookback`` 64 samples; 1: the current one alone.
            task, preprocessing: fitted on the training part.
            validation: chooses the number of boosting rounds, at most 300, by the task's primary metric.
            class_weights: whether rare classes weigh more.
            threads: for the boosting.
            hyper: other values for the settings named above.

        Raises:
            InputError: an unknown kind or setting.
        """
        if kind not in ("linear", "boosting"):
            raise InputError(f"there is no tabular model {kind!r}; {nearest(kind, ('linear', 'boosting'))}")
        lookback = hyper.get("lookback", LOOKBACK)
        table, targets = _table(task, preprocessing, training, lookback)
        defaults: dict[str, Any] = {"lookback": LOOKBACK, "strength": 1.0}
        if kind == "boosting":
            leaf = int(np.clip(len(table) // 50, 1, 20))
            defaults = {"lookback": LOOKBACK, "learning_rate": 0.1, "leaves": 15, "min_leaf": leaf}
        unknown = [name for name in hyper if name not in defaults]
        if unknown:
            raise InputError(f"{kind} has no setting {unknown[0]!r}; {nearest(unknown[0], defaults)}")
        config = defaults | hyper
        weight = "balanced" if class_weights and task.kind == "classification" else None
        with threadpool_limits(threads):
            if kind == "linear":
                return cls(kind, config, task, preprocessing, [_linear(task, config, weight).fit(table, targets)])
            return _boost(cls(kind, config, task, preprocessing, []), table, targets, validation, weight, seed)

    def outputs(self, recording: Recording, windows: Windows | None = None) -> list[np.ndarray]:
        """Decoded answers for each series, as :meth:`Model.outputs`; windows make no difference here."""
        recording = aligned(recording, self.preprocessing)
        n, lookback = self.preprocessing.n_channels, self.config["lookback"]
        tables = [_features(self.task, *self.preprocessing(s), n, lookback) for s in recording.series]
        parts = np.split(self.answer(np.concatenate(tables)), np.cumsum([len(t) for t in tables])[:-1])
        return parts if self.task.per == "step" else [p[0] for p in parts]

    def predict(self, recording: Recording) -> pl.DataFrame:
        """Answers row by row, or one row a series, in the columns of :meth:`Model.predict`.

        Raises:
            InputError: as :meth:`Model.outputs`.
        """
        return as_frame(self.task, recording, self.outputs(recording))

    def answer(self, table: np.ndarray) -> np.ndarray:
        """Decoded answers (N, K) for rows of features."""
        if self.task.kind == "classification":
            return np.asarray(self.estimators[0].predict_proba(table))
        answers = [np.asarray(e.predict(table)).reshape(len(table), -1) for e in self.estimators]
        return np.concatenate(answers, 1) * self.task.std + self.task.mean

    def live(self) -> LiveTabular:
        """Answers one raw sample at a time."""
        return LiveTabular(self)

    def live_parameters(self) -> int:
        """Coefficients; or of each tree a feature and a threshold a split and a value a leaf."""
        if self.kind == "linear":
            last = self.estimators[0][-1]
            return int(np.size(last.coef_) + np.size(last.intercept_))
        return sum(tree_numbers(e._predictors) for e in self.estimators)

    def n_bytes(self) -> int:
        """Of the numbers an answer needs, in scikit-learn's own form; there is no file."""
        if self.kind == "linear":
            scaler = self.estimators[0][0]
            return 8 * (self.live_parameters() + 2 * len(scaler.mean_))
        return sum(tree.nodes.nbytes for tree in self._trees())

    def _trees(self) -> list[Any]:
        return [tree for e in self.estimators for stage in e._predictors for tree in stage]


def tree_numbers(stages: Sequence[Sequence[Any]]) -> int:
    """What the trees of a boosting hold: a feature and a threshold a split, and a value a leaf."""
    splits = [len(tree.nodes) // 2 for stage in stages for tree in stage]
    return sum(3 * n + 1 for n in splits)


class LiveTabular:
    """A tabular model on live samples; it remembers the samples that its windows look back on."""

    def __init__(self, model: Tabular) -> None:
        self.model = model
        self.reset()

    def reset(self) -> None:
        """Forget what was seen."""
        self._hold = self.model.preprocessing.start()
        self._inputs: list[np.ndarray] = []
        self._spans: list[float] = []

    def step(self, values: np.ndarray, elapsed: float | None = None) -> np.ndarray:
        """(K,) decoded answer to one raw sample (C,), ``elapsed`` after the one before."""
        inputs, span = self.model.preprocessing.step(self._hold, values, elapsed)
        model = self.model
        back = max(model.config["lookback"], 1) if model.task.per == "step" else len(self._inputs) + 1
        self._inputs = [*self._inputs, inputs][-back:]
        self._spans = [*self._spans, span][-back:]
        n, lookback = model.preprocessing.n_channels, model.config["lookback"]
        row = _features(model.task, np.stack(self._inputs), np.array(self._spans), n, lookback, last_only=True)
        answer: np.ndarray = model.answer(row)[0]
        return answer


def _features(
    task: Task, inputs: np.ndarray, spans: np.ndarray, n_channels: int, lookback: int, last_only: bool = False
) -> np.ndarray:
    """Statistics of the whole series; or of the last samples, as many as the lookback and an eighth of them."""
    if task.per == "series":
        return features(inputs, spans, n_channels, (len(spans),), last_only=True)
    return features(inputs, spans, n_channels, [w for w in (lookback // 8, lookback) if w > 1], last_only)


def _table(
    task: Task, preprocessing: Preprocessing, training: Recording, lookback: int
) -> tuple[np.ndarray, np.ndarray]:
    """Features and encoded targets of all that is labelled."""
    rows, targets = [], []
    for series in training.series:
        encoded, weights = task.encode(series)
        known = np.atleast_1d(weights) > 0
        if known.any():
            table = _features(task, *preprocessing(series), preprocessing.n_channels, lookback)
            rows.append(table[known])
            targets.append(encoded[known] if task.per == "step" else encoded[None])
    if not rows:
        raise InputError(f"no sample has a value of the target {task.target!r}; there is nothing to learn from")
    return np.concatenate(rows), np.concatenate(targets)


def _linear(task: Task, config: dict[str, Any], weight: str | None) -> Any:
    if task.kind == "regression":
        return make_pipeline(StandardScaler(), Ridge(alpha=config["strength"]))
    inverse = 1 / config["strength"]
    return make_pipeline(StandardScaler(), LogisticRegression(C=inverse, class_weight=weight, max_iter=1000))


def _boost(
    model: Tabular, table: np.ndarray, targets: np.ndarray, validation: Recording, weight: str | None, seed: int
) -> Tabular:
    """Boost until the validation score has not improved for five checks; keep the best."""
    task, config = model.task, model.config
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
    if task.kind == "classification":
        make, settings = HistGradientBoostingClassifier, settings | {"class_weight": weight}
    estimators = [make(**settings) for _ in columns]
    validation = task.with_targets(validation)
    best, best_score, since = model, (-np.inf, -np.inf), 0
    for rounds in range(STEP, MAX_ROUNDS + 1, STEP):
        for estimator, column in zip(estimators, columns, strict=True):
            estimator.set_params(max_iter=rounds).fit(table, column)
        kept = Tabular(model.kind, config | {"rounds": rounds}, task, model.preprocessing, copy.deepcopy(estimators))
        score = task.score(task.metrics(kept.outputs(validation), validation))
        best, best_score, since = (kept, score, 0) if score > best_score else (best, best_score, since + 1)
        if since == 5:
            break
    return best
