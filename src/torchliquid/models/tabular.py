"""Linear models and gradient boosting on the last samples, their ages and window statistics.

scikit-learn fits them. They are stored as plain arrays, which files, streams and devices read.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.models.calibration import Calibration, calibrate
from torchliquid.models.features import MOST_VALUES, aligned_places, aligned_values, features
from torchliquid.models.fitted import Fitted, Remembering
from torchliquid.models.linear import STRENGTHS, Linear, fit_linear
from torchliquid.models.trees import Trees, boost
from torchliquid.tasks import Task

LOOKBACK = 64
LONGEST = 100_000
"""Maximum lookback in samples."""

MOST_NUMBERS = 30_000_000
"""Maximum number of values in the training table. If there are more rows, every n-th is used."""

UNEVEN = 0.05
"""Sampling is uneven if more than this share of spans differ from the usual one by more than this share."""

LAST = slice(-1, None)

SUMS = 6
"""Statistics of each channel of a live series: mean, sum of squares about it, minimum, maximum, product with time,
first value."""

MOST_SAMPLES = 2.0**53 - 1
"""Maximum length of a live series: float64 counts up to it."""

ROWS = 4096
"""Number of rows per call. It bounds the memory and does not change results."""

LABELS = {"linear": "Linear", "boosting": "Gradient boosting"}
"""The kinds and their names in reports."""


class Tabular(Fitted):
    """A linear model or boosted trees, with the interface of :class:`torchliquid.models.Model`.

    Attributes:
        kind: ``"linear"`` or ``"boosting"``.
        linear: the linear model; for boosting of values, the one whose errors the trees predict; otherwise None.
        trees: of boosting; None if trees did not improve the score.
    """

    def __init__(
        self,
        kind: str,
        config: dict[str, Any],
        task: Task,
        preprocessing: Preprocessing,
        linear: Linear | None = None,
        trees: Trees | None = None,
    ) -> None:
        self.kind = kind
        self.config = config
        self.task = task
        self.preprocessing = preprocessing
        self.linear = linear
        self.trees = trees
        self.calibration = Calibration()
        self.metadata = {}

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
                the penalty (default: selected) and ``sensors``, how many channels have weights: those that alone, as
                they are now, answer best on the validation part (default: all); for ``"boosting"``
                ``learning_rate`` (0.1), ``leaves`` per tree (15) and ``min_leaf``, the samples per leaf (a fiftieth of
                all samples, but 1 to 20).

        Raises:
            InputError: the kind or a setting is unknown.
        """
        if kind not in LABELS:
            raise InputError(f"there is no tabular model {kind!r}; {nearest(kind, tuple(LABELS))}")
        defaults: dict[str, Any] = {"lookback": LOOKBACK, "strength": None, "sensors": None}
        if kind == "boosting":
            defaults = {"lookback": LOOKBACK, "learning_rate": 0.1, "leaves": 15, "min_leaf": None}
        unknown = [name for name in hyper if name not in defaults]
        if unknown:
            raise InputError(f"{kind} has no setting {unknown[0]!r}; {nearest(unknown[0], defaults)}")
        lookback = hyper.get("lookback", LOOKBACK)
        if not isinstance(lookback, int) or not 1 <= lookback <= LONGEST:
            raise InputError(f"lookback is a number of samples from 1 to {LONGEST:,}, not {lookback!r}")
        sensors = hyper.get("sensors")
        if sensors is not None and (type(sensors) is not int or sensors < 1):
            raise InputError(f"sensors is None for all or a number of channels from 1 on, not {sensors!r}")
        model = cls(kind, defaults | hyper | _seen(task, preprocessing, training, lookback), task, preprocessing)
        table, targets = model._training_table(training)
        if kind == "boosting" and model.config["min_leaf"] is None:
            model.config["min_leaf"] = int(np.clip(len(table) // 50, 1, 20))
        weight = "balanced" if class_weights and task.kind == "classification" else None
        validation = task.with_targets(validation)
        with threadpool_limits(threads):
            columns = slice(None) if sensors is None else model._best_sensors(sensors, training, validation, weight)
            model._fit(table, targets, validation, weight, seed, columns)
        if task.kind == "classification":
            calibrate(model, validation)
        return model

    def _best_sensors(
        self, n: int, training: Recording, validation: Recording, weight: str | None
    ) -> np.ndarray | slice:
        """The columns of the ``n`` channels that alone, as they are now, answer best; those of time belong to all."""
        if n >= self.preprocessing.n_channels:
            return slice(None)
        config = {**self.config, "lookback": 1, **({"lags": 0} if self.task.per == "step" else {})}
        alone = Tabular("linear", config, self.task, self.preprocessing)
        table, targets = alone._training_table(training)
        owners = alone._owners()
        scores = []
        for channel in range(self.preprocessing.n_channels):
            alone._fit(table, targets, validation, weight, 0, owners == channel)
            scores.append(self.task.score(self.task.metrics(alone.outputs(validation), validation)))
            alone.config["strength"] = None
        best = sorted(range(len(scores)), key=lambda channel: scores[channel], reverse=True)[:n]
        return np.isin(self._owners(), [*best, -1])

    def _owners(self) -> np.ndarray:
        """(F,) the channel that each column is made of, -1 where it is of time alone."""
        scales, n = self.preprocessing, max(self.config["lookback"], self.config.get("aligned", 0)) + 1
        rng, spans = np.random.default_rng(0), np.ones(n, dtype=np.float32)
        still = self.table(np.zeros((n, scales.n_inputs), dtype=np.float32), spans, slice(None))
        owners = np.full(still.shape[1], -1)
        for channel in range(scales.n_channels):
            moving = np.zeros((n, scales.n_inputs), dtype=np.float32)
            moving[:, channel] = rng.normal(size=n)
            if scales.with_mask:
                moving[::-2, scales.n_channels + channel] = 1
            owners[(self.table(moving, spans, slice(None)) != still).any(0)] = channel
        return owners

    def _fit(
        self,
        table: np.ndarray,
        targets: np.ndarray,
        validation: Recording,
        weight: str | None,
        seed: int,
        columns: np.ndarray | slice,
    ) -> None:
        """Fit to the table's columns; a linear model's weights of the others are 0."""
        task, config = self.task, self.config
        classes, boosting = task.kind == "classification", self.kind == "boosting"

        def score(linear: Linear | None, trees: Trees | None) -> tuple[float, ...]:
            one = Tabular(self.kind, config, task, self.preprocessing, linear, trees)
            return task.score(task.metrics(one.outputs(validation), validation))

        if not (boosting and classes):  # trees approximate lines by steps, so they start from a linear model
            strengths = STRENGTHS if config.get("strength") is None else (config["strength"],)
            self.linear, strength = fit_linear(
                table, targets, classes, task.quantile, weight, strengths, lambda linear: score(linear, None), columns
            )
            config |= {} if boosting else {"strength": strength}
        if boosting:
            start = None if self.linear is None else score(self.linear, None)
            if self.linear is not None:
                targets = targets - self.linear(table).reshape(targets.shape)
            settings = {
                "learning_rate": config["learning_rate"],
                "max_leaf_nodes": config["leaves"],
                "min_samples_leaf": config["min_leaf"],
                "random_state": seed,
            }
            self.trees, config["rounds"] = boost(
                table, targets, classes, task.quantile, weight, settings, start, lambda trees: score(self.linear, trees)
            )

    def answers(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        if self.task.per == "series":
            return self.answer(self.table(inputs, spans, LAST))[0]
        first = self.task.first_known(inputs)
        if 0 < first < len(inputs):  # features look back to before the first row
            return np.concatenate(
                [self.answers(inputs[:first], spans[:first]), self.answers(inputs[first:], spans[first:])]
            )
        blocks = [slice(start, start + ROWS) for start in range(0, len(spans), ROWS)]
        return np.concatenate([self.answer(self.table(inputs, spans, rows)) for rows in blocks])

    def table(self, inputs: np.ndarray, spans: np.ndarray, rows: slice) -> np.ndarray:
        """Features of the samples ``rows``, or of the whole series."""
        n, config = self.preprocessing.n_channels, self.config
        if self.task.per == "series":
            table = features(inputs, spans, n, (len(spans),), LAST, uneven=config["uneven"])
            if not config["aligned"]:
                return table
            values = aligned_values(inputs, n, config["aligned"])
            return np.concatenate([table, values], 1)
        return features(inputs, spans, n, self.windows, rows, config["lags"], config["uneven"])

    def _training_table(self, training: Recording) -> tuple[np.ndarray, np.ndarray]:
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
        width = self.table(*prepared[0][:2], LAST).shape[1]
        every = -(-labelled * width // MOST_NUMBERS)
        tables, targets = [], []
        for inputs, spans, encoded, known in prepared:
            if self.task.per == "series":
                if len(known):
                    tables.append(self.table(inputs, spans, LAST))
                    targets.append(encoded[None])
                continue
            chosen = known[::every]
            if every > 1 and self.task.kind == "classification":  # keeps every class
                of, places = np.unique(encoded[known], return_index=True)
                new = ~np.isin(of, np.concatenate([*targets, encoded[chosen]]))
                chosen = np.union1d(chosen, known[places[new]])
            for start in range(0, len(spans), ROWS):
                block = chosen[(chosen >= start) & (chosen < start + ROWS)]
                if len(block):
                    tables.append(self.table(inputs, spans, slice(start, start + ROWS))[block - start])
            targets.append(encoded[chosen])
        table, target = np.concatenate(tables), np.concatenate(targets)
        if self.task.change:  # the first columns are the inputs
            last = self.task.with_last(np.zeros((len(table), 1)), table)
            target = (target.reshape(len(table), -1) - last).reshape(target.shape)
        return table, target

    def answer(self, table: np.ndarray) -> np.ndarray:
        """Decoded answers (N, K) for rows of features."""
        task = self.task
        columns = 1 if task.kind == "classification" and task.n_outputs == 2 else task.n_outputs
        raw = np.zeros((len(table), columns))
        for part in (self.linear, self.trees):
            raw = raw if part is None else raw + part(table)
        return decoded(task, task.with_last(raw, table) if task.change else raw, self.calibration)

    def steps(self, n: int) -> TabularSteps:
        return TabularSteps(self, n)

    @property
    def parts(self) -> dict[str, Any]:
        return {name: part for name, part in (("linear", self.linear), ("trees", self.trees)) if part is not None}

    def live_parameters(self) -> int:
        """Number of coefficients, and for trees of a feature and a threshold per split and a value per leaf."""
        return sum(part.numbers for part in (self.linear, self.trees) if part is not None)

    @property
    def windows(self) -> list[int]:
        """Lengths of the windows whose statistics are features, in samples."""
        return [w for w in (self.config["lookback"] // 8, self.config["lookback"]) if w > 1]

    @cached_property
    def n_features(self) -> int:
        """F: number of features of a sample, or of a series."""
        no = np.zeros((1, self.preprocessing.n_inputs), dtype=np.float32)
        return self.table(no, np.ones(1, dtype=np.float32), LAST).shape[1]


def decoded(task: Task, raw: np.ndarray, calibration: Calibration) -> np.ndarray:
    """Decoded answers (N, K) for scaled values or logits (N, K), of two classes the second one's logit alone (N, 1)."""
    if task.kind != "classification":
        return task.decode(raw)
    if raw.shape[1] < task.n_outputs:
        raw = np.concatenate([np.zeros_like(raw), raw], 1)
    logits = raw / calibration.temperature
    logits[:, task.positive] += calibration.shift
    return task.decode(logits)


class TabularSteps(Remembering):
    """A tabular model on live samples.

    The state has one array, (n, S) float64. A row holds the number of samples and whether the last value is known; then
    the last samples and their spans or, for a whole series, sums for its statistics and its values at fixed places.
    """

    def __init__(self, model: Tabular, n: int) -> None:
        self.model = model
        scales, config = model.preprocessing, model.config
        self.channels, self.inputs = scales.n_channels, scales.n_inputs
        self.lookback = config["lookback"] if model.task.per == "step" else 0
        aligned = 0 if self.lookback else config["aligned"]
        self.places = aligned_places(aligned, self.channels)
        sums = 3 + SUMS * self.channels + (self.inputs - self.channels) + len(self.places) * self.channels
        self.memory = np.zeros((n, 2 + (self.lookback * (self.inputs + 1) if self.lookback else sums)))
        self.counter, self.most = 0, MOST_SAMPLES

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        return self.model.answer(self.rows(inputs, spans))

    def rows(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """(n, F) features of the samples, which are added to the state."""
        features = self._look_back if self.lookback else self._follow
        return np.stack([features(*each) for each in zip(self.memory, inputs, spans.tolist(), strict=True)])

    def _look_back(self, state: np.ndarray, x: np.ndarray, span: float) -> np.ndarray:
        back, model = self.lookback, self.model
        if not state[1] and model.task.first_known(x[None]) == 0:
            state[:2] = 0, 1
        ring, spans = state[2 : -back or None].reshape(back, -1), state[-back:]
        place = int(state[0]) % back
        ring[place], spans[place] = x, span
        state[0] += 1
        order = np.arange(place + 1 - min(int(state[0]), back), place + 1) % back
        return model.table(ring[order], spans[order], LAST)[0]

    def _follow(self, state: np.ndarray, x: np.ndarray, span: float) -> np.ndarray:
        c, uneven = self.channels, self.model.config["uneven"]
        clock, sums = state[2:5], state[5 : 5 + SUMS * c].reshape(c, SUMS).T
        seen, kept = np.split(state[5 + SUMS * c :], [self.inputs - c])
        state[0] += 1
        count, v = state[0], x[:c].astype(np.float64)
        clock[0] += span if count > 1 else 0.0
        off = clock[0] - clock[1]
        clock[1] += off / count
        clock[2] += off * (clock[0] - clock[1])
        before = v - sums[0]
        sums[0] += before / count
        sums[1] += before * (v - sums[0])
        sums[2], sums[3] = (v, v) if count == 1 else (np.minimum(sums[2], v), np.maximum(sums[3], v))
        sums[4] += off * (v - sums[0])
        if count == 1:
            sums[5] = v
        seen += x[c:]
        kept.reshape(-1, c)[self.places >= count - 1] = v
        slope = sums[4] / (clock[2] if clock[2] > 0 else 1.0)
        begun = np.log1p([span, clock[0]]) if uneven else np.empty(0)
        statistics = [sums[0], np.sqrt(sums[1] / count), sums[2], sums[3], slope, v - sums[5], seen / count, kept]
        return np.concatenate([x, begun, *statistics])


def _seen(task: Task, preprocessing: Preprocessing, training: Recording, lookback: int) -> dict[str, Any]:
    """Settings of the features: whether sampling is uneven; the number of lags; for whole series their length, 0 if it
    varies."""
    lengths = {len(series) for series in training.series}
    spans = np.concatenate([preprocessing(series)[1][1:] for series in training.series])
    seen: dict[str, Any] = {"uneven": bool(len(spans) and np.mean(np.abs(spans - 1) > UNEVEN) > UNEVEN)}
    if task.per == "series":
        return seen | {"aligned": lengths.pop() if len(lengths) == 1 else 0}
    return seen | {"lags": min(lookback, max(MOST_VALUES // preprocessing.n_channels, 2), max(lengths)) - 1}
