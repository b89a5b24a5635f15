"""Tasks: what a model predicts, with its targets, loss and metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torchliquid.alarms import Alarm, Counts, count
from torchliquid.data.columns import nearest
from torchliquid.data.given import MICROSECONDS, is_typed, span
from torchliquid.data.preprocessing import Preprocessing, mean_and_std
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError, listed
from torchliquid.files import from_plain, to_plain
from torchliquid.metrics import Answers, Metric, find, names, quantile

RARE = 0.8
"""If more than this share of the labels is of one class, accuracy hides the others, and average precision is the
default metric."""

ACROSS = 5.0
"""A forecast has no label if the sample ahead comes later than this many times the usual gaps up to it."""

MOST_STEPS = 256
"""Maximum number of steps that are forecast together."""

Step = float | timedelta | np.timedelta64
Horizon = Step | Sequence[Step] | np.ndarray
"""How far ahead, or several steps ahead."""

Numbers = TypeVar("Numbers", np.ndarray, Tensor)

MAX_NUMBERED_CLASSES = 20
"""A target of whole numbers is classes if at most this many occur, each twice on average."""


@dataclass(frozen=True)
class Task:
    """What a model predicts from a recording.

    If the horizon is a number of samples, the truth at sample i is the channel's reading at sample i + horizon. There
    is none if that sample is more than five times as far ahead as the series' usual gaps: a gap lies between. If the
    horizon is a time, the truth at time t is the channel's last reading in (t + horizon / 2, t + horizon], without
    interpolation. A sample has no label if there is no such reading or the series ends before t + horizon.

    Attributes:
        kind: ``"classification"`` or ``"regression"``.
        per: ``"step"`` for an answer per sample, ``"series"`` for one per series.
        target: name of the target, or of the channel to forecast.
        labels: names of the classes in natural order (``a2`` before ``a10``, numbers by value); from :meth:`fit`.
        horizon: how far ahead the target channel is forecast, in ``horizon_unit``; None: no forecast.
        horizon_unit: ``"samples"`` or the recording's time unit.
        column: index of the channel to forecast.
        mean, std: of the training part's targets, one per output, by which regression targets are scaled.
        primary: name of the metric that stops training, tunes and decides, see :mod:`torchliquid.metrics`; empty:
            accuracy or RMSE.
        positive: index of the positive one of two labels: the rarer one in the training part.
        reason: why the primary metric is not the default.
        alarm: how predictions of the positive class become alarms, with the threshold once it is chosen; None: the
            likelier class is predicted.
        path: how far ahead each value of a forecast of several steps is, in ``horizon_unit``, the nearest first;
            ``horizon`` is the farthest then. A sample has a label if all of them are known. Empty: one value.
        change: factor by which the last value of the forecast channel (an input) is added to a network's output, so
            that the network learns the change, with ``std`` its scale; 0: it learns the value. From :meth:`from_last`.
    """

    kind: Literal["classification", "regression"]
    per: Literal["step", "series"]
    target: str
    labels: tuple[str, ...] = ()
    horizon: float | None = None
    horizon_unit: str = "samples"
    column: int | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    primary: str = ""
    positive: int = 1
    reason: str = ""
    alarm: Alarm | None = None
    change: float = 0.0
    path: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        known = names(self.kind)
        if not self.primary:
            object.__setattr__(self, "primary", known[0])
        elif self.metric.kind != self.kind:
            raise InputError(f"{self.kind} has no metric {self.primary!r}; choose from {', '.join(known)}")
        if self.metric.two_classes and len(self.labels) > 2:
            raise InputError(f"{self.primary} is for two classes, {self.target!r} has {len(self.labels)}: try macro_f1")
        if (match := re.search(r"\[(\d+)\]$", self.primary)) and 0 < len(self.mean) < int(match[1]):
            raise InputError(f"{self.primary}: {self.target!r} has {len(self.mean)} targets")
        if self.alarm is not None:
            self._check_alarm(self.alarm)

    @property
    def metric(self) -> Metric:
        """The primary metric."""
        return find(self.primary)

    @property
    def horizons(self) -> tuple[float, ...]:
        """How far ahead each value of a forecast is, in ``horizon_unit``; empty if it is none."""
        return self.path or (() if self.horizon is None else (self.horizon,))

    @property
    def ahead(self) -> str:
        """How many of ``horizon_unit`` ahead a forecast is, in words: ``6``, ``1, 2 and 6``, ``1 to 12``."""
        named, every = [f"{horizon:.12g}" for horizon in self.horizons], np.diff(self.horizons, prepend=0.0)
        if len(named) > 3 and np.ptp(every) <= 1e-9 * every[0]:
            return f"{named[0]} to {named[-1]}"
        return " and ".join(filter(None, (", ".join(named[:-1]), *named[-1:])))

    @property
    def value_names(self) -> tuple[str, ...]:
        """A short name of each value: empty for one, a number for several, how far ahead for those of a path."""
        if self.path:
            return tuple(_short(horizon, self.horizon_unit) for horizon in self.path)
        n = self.n_outputs
        return ("",) if n == 1 else tuple(str(k + 1) for k in range(n))

    @property
    def quantile(self) -> float | None:
        """The quantile to predict, if the primary metric is a pinball loss; None: the mean."""
        return quantile(self.primary) if self.primary.startswith("pinball") else None

    # -- made from data

    @classmethod
    def infer(
        cls,
        recording: Recording,
        target: str | None = None,
        kind: str | None = None,
        per: str | None = None,
        horizon: Horizon | None = None,
        horizon_unit: str = "samples",
        primary: str = "",
        alarm: Alarm | None = None,
    ) -> Task:
        """Infer the task from the targets of a recording.

        Args:
            recording: the whole recording that is used for training.
            target: the channel to forecast, with ``horizon``; otherwise the recording's own target.
            kind: None: text, or at most 20 different whole numbers that occur twice on average, are classes. Other
                numbers, and forecasts, are regression.
            per: None: ``"series"`` if there are two or more series and the target is constant in each, else ``"step"``.
            horizon, horizon_unit: how far ahead, as in :class:`Task`; a ``timedelta`` needs no unit. Several, such as
                ``[1, 2, 6]`` or ``range(1, 13)``, are forecast together, as a path. None: no forecast.
            primary: the metric that decides; empty: RMSE, accuracy, or average precision if more than four labels in
                five are of one class.
            alarm: how alarms are made and their threshold is chosen; None: the threshold with the best F1 and one alarm
                per sample, if there are two classes and the metric ranks samples or is an F1; else no alarms.

        Returns:
            The fitted task.

        Raises:
            InputError: there is no target, a name or kind is unknown, the horizon is invalid, or the target is missing
                or constant.
        """
        if not isinstance(recording, Recording):
            raise InputError(f"a Recording is needed, not {type(recording).__name__}; use Recording.from_frame or read")
        if kind not in (None, "classification", "regression"):
            raise InputError(f"the task must be 'classification' or 'regression', not {kind!r}")
        if per not in (None, "step", "series"):
            raise InputError(f"per must be 'step' or 'series', not {per!r}")
        column, farthest, path = None, None, tuple[float, ...]()
        if horizon is not None:
            steps = list(horizon) if np.ndim(horizon) == 1 else [horizon]  # type: ignore[arg-type]
            typed = [is_typed(step) for step in steps]
            if any(typed) and not all(typed):
                raise InputError("give all steps of a forecast as numbers, or all as timedelta")
            horizon_unit = recording.time_unit if any(typed) else horizon_unit
            path = tuple(_in_units(step, recording.time_unit) for step in steps)
            for step in path:
                column = _forecast_column(recording, target, step, horizon_unit)
            _check_path(path)
            assert column is not None
            target, per, farthest, path = recording.channels[column], "step", path[-1], path if len(path) > 1 else ()
            _refuse_other_target(recording, target)
        elif recording.target is None:
            raise InputError("the recording has no target; name its column, or give a horizon to forecast a channel")
        elif target not in (None, recording.target):
            raise InputError(f"the recording's target is {recording.target!r}, not {target!r}")
        asked = cls(
            "regression", "step", str(target or recording.target), (), farthest, horizon_unit, column, path=path
        )
        truths = [s.targets if farthest is None else asked.truth(s) for s in recording.series]
        if per is None:
            per = "series" if len(truths) > 1 and all(_constant(t) for t in truths) else "step"
        if kind is None:
            truths = [t if t is None or per == "step" else _single(t, "") for t in truths]
            kind = "classification" if farthest is None and _are_classes(truths) else "regression"
        task = replace(asked, kind=kind, per=per, primary=primary, alarm=alarm)  # type: ignore[arg-type]
        task = task.fit(recording)
        if kind == "classification" and not primary:
            counts = task.count(recording)
            share = counts.max() / counts.sum()
            if share > RARE:
                common = task.labels[int(counts.argmax())]
                reason = f"{100 * share:.3g} % of the labels are {common!r}, so accuracy would hide the others"
                task = replace(task, primary="average_precision", reason=reason)
        return task if task.alarm is not None else task.with_alarm()

    def with_alarm(self) -> Task:
        """The task with default alarms (one per sample, threshold with the best F1) if it has two classes and its
        metric ranks samples or is an F1; else without alarms."""
        has_positive = self.metric.ranks or self.primary in ("f1", "macro_f1")
        return replace(self, alarm=Alarm() if has_positive and len(self.labels) == 2 else None)

    def fit(self, training: Recording) -> Task:
        """The task with the labels, or the scale of the targets, of a training part.

        Raises:
            InputError: the target is missing, constant, or text in a regression.
        """
        column = self.column
        if self.horizon is not None:
            column = _forecast_column(training, self.target, self.horizon, self.horizon_unit)
            _refuse_other_target(training, self.target)
        task = replace(self, column=column, change=0.0)
        known = _pool([task.truth(s) for s in training.series])
        if not len(known) and self.horizon is not None:
            gap = training.median_gap()
            longer = self.horizon_unit != "samples" and self.horizons[0] < gap
            ahead = f"{self.horizons[0]:.12g}" if longer else self.ahead
            raise InputError(
                f"no sample has a reading of {self.target!r} {ahead} {self.horizon_unit} ahead of it; "
                + (f"samples are {gap:g} apart: give {gap:g} or more" if longer else "give a shorter horizon")
            )
        if not len(known):
            raise InputError(f"the target {self.target!r} has no values; name another column as the target")
        if self.kind == "classification":
            if known.ndim > 1:
                raise InputError(
                    f"the target {self.target!r} has {known.shape[1]} columns; classification needs one, of shape (T,)"
                )
            labels = tuple(sorted({label_name(v) for v in known.reshape(-1).tolist()}, key=_natural))
            if len(labels) == 1:
                rest = [label for label in self.labels if label not in labels]
                if rest:  # self.labels are those of the whole recording
                    of = "series" if self.per == "series" else "samples"
                    raise InputError(
                        f"the target {self.target!r} has only one class, {labels[0]!r}, in the {len(known)} {of} "
                        f"of the training part; {rest[0]!r} occurs only in the rest: give a recording that has it in "
                        "the training part too"
                    )
                never = "" if known.dtype == object else "never changes: it "
                raise InputError(
                    f"the target {self.target!r} {never}has only one class, {labels[0]!r}, in the training data; "
                    "give a recording with two or more"
                )
            task = replace(task, labels=labels)
            counts = task.count(training)
            return replace(task, positive=int(counts[1] <= counts[0])) if len(labels) == 2 else task
        if known.dtype == object:
            raise InputError(f"the target {self.target!r} is text; use classification, not regression")
        mean, std = mean_and_std(known.reshape(len(known), -1))
        if self.path:
            std = np.full(len(std), np.sqrt(np.mean(std**2)))  # of one channel, so in one unit
        if not std.any():
            raise InputError(
                f"the target {self.target!r} is always {mean[0]:g} in the training data; "
                "give a recording in which it changes"
            )
        std = np.where(std > 0, std, 1.0)
        return replace(task, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def from_last(self, training: Recording, validation: Recording, scales: Preprocessing) -> Task:
        """The task with the change from the channel's last value as the target, if that is the better start.

        It is better if the last value plus the mean change of the training part scores higher on the validation part
        than the mean of the training part. For a quantile, the quantiles of changes and targets are used instead of the
        means. The choice holds for all models. Tasks other than forecasts are returned unchanged.

        Args:
            training, validation: parts of the recording.
            scales: fitted on the training part; its mean is used before the first observed value.
        """
        if self.kind == "classification" or self.column is None or self.target in scales.left_out:
            return self
        (last, truth), (val_last, val_truth) = (self._last_and_truth(p, scales) for p in (training, validation))
        change = truth - last
        q = self.quantile
        start, drift = (np.mean(x, 0) if q is None else np.quantile(x, q, 0) for x in (truth, change))

        def score(predicted: np.ndarray) -> tuple[float, float]:
            return self.score({self.primary: self.metric(self.answers(predicted, val_truth))})

        if not score(val_last + drift) > score(np.broadcast_to(start, val_truth.shape)):
            return self
        # In single precision, smaller changes are lost when the last value is added.
        own, n = float(scales.std[self.column]), self.n_outputs
        std = max(float(np.sqrt(change.var(0).mean())), 1e-4 * own)
        mean = scales.mean[self.column] + change.mean(0)
        return replace(self, mean=tuple(mean.tolist()), std=(std,) * n, change=own / std)

    def check(self, recording: Recording, name: str) -> None:
        """Check that a part can be scored.

        Raises:
            InputError: it has no labels, or a class that is not in the training part.
        """
        known = _pool([s.targets for s in self.with_targets(recording).series])
        if not len(known):
            raise InputError(f"{name}: no sample has a value of the target {self.target!r}; there is nothing to score")
        if self.kind == "classification":
            unknown = sorted({label_name(v) for v in known.tolist()} - set(self.labels), key=_natural)
            if unknown:
                raise InputError(self._unknown(unknown[0], name))

    def with_targets(self, recording: Recording) -> Recording:
        """The recording with this task's truth in the ``targets`` of each series.

        Call it before applying a shift, which must not change the truth.

        Raises:
            InputError: the recording has another target, or lacks the channel to forecast.
        """
        if self.horizon is None and recording.target not in (None, self.target):
            raise InputError(
                f"the recording's target is {recording.target!r}, the task's {self.target!r}; read that column"
            )
        task, before = self, recording.series
        if self.horizon is not None:
            if recording.target != self.target:  # targets beside the channels are not those of the forecast
                before = tuple(replace(s, targets=None) for s in before)
            if any(s.targets is None for s in before):
                column = _forecast_column(recording, self.target, self.horizon, self.horizon_unit)
                task = replace(self, column=column)
        series = tuple(replace(s, targets=task.truth(s)) for s in before)
        return replace(recording, series=series, target=self.target)

    @property
    def learnt(self) -> str:
        """What a network learns instead of the value, in words; empty if it learns the value."""
        return f"the change from the last value of {self.target}" if self.change else ""

    def notes(self, recording: Recording) -> tuple[str, ...]:
        """Sentences that tell a user how this task uses a recording."""
        if self.horizon is None or self.horizon_unit != "samples":
            return ()
        count = 0
        for s in recording.series:
            across = np.zeros(len(s), dtype=bool)
            for ahead in map(int, self.horizons):
                across[: max(len(s) - ahead, 0)] |= _across_gaps(s.times, ahead)
            count += int(across.sum())
        if not count:
            return ()
        return (
            f"{count} samples have no label: the sample {self.ahead} later lies across a gap, "
            f"more than {ACROSS:g} times as far ahead as usual. Use a horizon in time to forecast across gaps.",
        )

    # -- of one series

    def truth(self, series: Series) -> np.ndarray | None:
        """The truth of a series, not scaled, (T,), (T, K) or (); None if it is unknown."""
        targets = series.targets
        if targets is None:
            return None if self.horizon is None else self.forecast(series)
        if self.per == "series":
            return _single(targets, series.name)
        if not targets.ndim:
            raise InputError(f"series {series.name!r} has one target; the task needs one per sample")
        return targets

    def encode(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        """Targets for the loss, and their weights (float32), 0 without a label.

        Class indices are int64, scaled values float32. Shapes are (T,) or (T, K) per step, () or (K,) per series.

        Raises:
            InputError: a class is unknown, or the targets are of the wrong type.
        """
        truth, classes = self.truth(series), self.kind == "classification"
        shape = () if self.per == "series" else (len(series),)
        if truth is None:
            each = () if classes or self.n_outputs == 1 else (self.n_outputs,)
            return np.zeros((*shape, *each), np.int64 if classes else np.float32), np.zeros(shape, np.float32)
        known = _known(truth)
        if classes:
            encoded = np.zeros(shape, dtype=np.int64)
            place = {label: i for i, label in enumerate(self.labels)}
            try:
                encoded[known] = [place[label_name(v)] for v in truth[known].tolist()]
            except KeyError as error:
                raise InputError(self._unknown(str(error.args[0]), f"series {series.name!r}")) from None
            return encoded, known.astype(np.float32)
        if truth.dtype == object:
            raise InputError(f"series {series.name!r}: the target {self.target!r} is text; numbers are needed")
        scaled = (truth.reshape(-1, self.n_outputs) - self.mean) / self.std
        scaled = np.where(known.reshape(-1, 1), scaled, 0.0)
        return scaled.reshape(truth.shape).astype(np.float32), known.astype(np.float32)

    # -- of outputs

    def with_last(self, outputs: Numbers, inputs: Numbers) -> Numbers:
        """Add the last value, one of the scaled inputs (..., n), to outputs (..., K) that are changes."""
        assert self.column is not None
        return outputs + self.change * inputs[..., self.column, None]

    def first_known(self, inputs: np.ndarray) -> int:
        """Index of the first sample of scaled inputs (T, n) with a last value; T: none. 0 if none is needed."""
        return int((~_observed_so_far(inputs[:, self.column])).sum()) if self.change else 0

    @property
    def n_outputs(self) -> int:
        """K: number of classes, or of values predicted together."""
        n = len(self.labels) if self.kind == "classification" else len(self.mean)
        if not n:
            raise InputError("the task is not fitted: call task.fit(training recording) first")
        return n

    @property
    def higher_is_better(self) -> bool:
        """Whether a higher primary metric is better."""
        return self.metric.higher_is_better

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Weighted mean of the cross entropy, of the squared error of scaled values, or of the pinball loss of a
        quantile.

        Args:
            outputs: (..., K) of the network.
            targets: (...) class indices or values, (..., K) for several values.
            weights: (...) 0 if not scored.
            class_weights: (K,) weight of each class.
        """
        # Outputs that are not scored may be NaN; a product with 0 would be NaN too.
        outputs = torch.where((weights > 0).unsqueeze(-1), outputs, torch.zeros_like(outputs))
        if self.kind == "classification":
            each = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
            weights = weights.flatten()
            if class_weights is not None:
                weights = weights * class_weights[targets.flatten()]
        else:
            above = targets.reshape(outputs.shape) - outputs
            q = self.quantile
            each = (above.square() if q is None else torch.maximum(q * above, (q - 1) * above)).mean(-1)
        return (each * weights).sum() / weights.sum().clamp_min(1e-12)

    def class_weights(self, training: Recording) -> np.ndarray:
        """(K,) float32, inversely proportional to the frequency of each class, 1 on average over the samples.

        Raises:
            InputError: this is not a classification.
        """
        if self.kind != "classification":
            raise InputError(f"class weights need a classification; {self.target!r} is a regression: leave them out")
        counts = self.count(training)
        return (counts.sum() / np.maximum(counts, 1) / self.n_outputs).astype(np.float32)

    def count(self, recording: Recording) -> np.ndarray:
        """(K,) number of labels of each class."""
        counts = np.zeros(self.n_outputs)
        for series in recording.series:
            targets, weights = self.encode(series)
            np.add.at(counts, targets.reshape(-1), weights.reshape(-1))
        return counts

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Convert outputs (..., K) of the network to probabilities, or to values in the target's unit; float64."""
        outputs = np.asarray(outputs, dtype=np.float64)
        if self.kind == "regression":
            return outputs * self.std + self.mean
        shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)

    def metrics(self, outputs: Sequence[np.ndarray], recording: Recording) -> dict[str, float]:
        """Metrics over all labelled samples (or series) of a recording.

        Args:
            outputs: decoded, one array per series: (T, K), or (K,) for one target per series.
            recording: the same series, with their targets.

        Returns:
            The metrics for the task's kind by name, including the primary one; those for two classes only if there are
            two. NaN if a metric is not defined, as for a ranking metric if only one class occurs. Several values are
            each measured in their own standard deviations, those of a path in the channel's unit, and also one by one
            in their own unit, ``rmse[1]``.

        Raises:
            InputError: there are no labels, or a label is unknown.
        """
        parts = [
            self.labelled(output, series)[:2]
            for output, series in zip(outputs, self.with_targets(recording).series, strict=True)
        ]
        predicted, truth = (np.concatenate(each) for each in zip(*parts, strict=True))
        if not len(predicted):
            raise InputError(f"no sample has a value of the target {self.target!r}; there is nothing to score")
        answers = self.answers(predicted, truth)
        wanted = list(dict.fromkeys((*names(self.kind), self.primary)))
        if self.kind == "regression" and self.n_outputs > 1:
            wanted += [f"{name}[{k + 1}]" for k in range(self.n_outputs) for name in names(self.kind)]
        metrics = [find(name) for name in wanted]
        return {m.name: m(answers) for m in metrics if not m.two_classes or self.n_outputs == 2}

    def labelled(self, output: np.ndarray, series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The outputs that have a label.

        Args:
            output: decoded, (T, K), or (K,) for one target per series.
            series: with targets from :meth:`with_targets`.

        Returns:
            outputs (N, K), truth (N,) class indices or (N, K) values, and times (N,); for one target per series the
            time of its last sample.
        """
        encoded, weights = self.encode(series)
        known = np.atleast_1d(weights) > 0
        times = (series.times[-1:] if self.per == "series" else series.times)[known]
        outputs = np.asarray(output, dtype=np.float64).reshape(len(known), -1)[known]
        if self.kind == "classification":
            return outputs, encoded.reshape(-1)[known], times
        truth = self.truth(series)
        if truth is None:
            return outputs, np.empty((0, self.n_outputs)), times
        return outputs, np.asarray(truth, dtype=np.float64).reshape(len(known), -1)[known], times

    def answers(self, outputs: np.ndarray, truth: np.ndarray) -> Answers:
        """Outputs (N, K) and truth from :meth:`labelled` in the form that metrics need."""
        predicted = self.decide(outputs) if self.kind == "classification" else None
        several = self.kind == "regression" and self.n_outputs > 1 and not self.path
        return Answers(outputs, truth, predicted, self.positive, self.mean, self.std if several else ())

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """(...) predicted classes for probabilities (..., K): by the alarm's threshold, if any, else the likeliest."""
        if self.alarm is None or self.alarm.threshold is None:
            return np.asarray(probabilities.argmax(-1))
        over = probabilities[..., self.positive] >= self.alarm.threshold
        return np.where(over, self.positive, 1 - self.positive)

    def score(self, scores: dict[str, float]) -> tuple[float, float]:
        """The key by which models are chosen, larger is better: the primary metric, and the loss for ties."""
        value = scores[self.primary] if self.higher_is_better else -scores[self.primary]
        tie = -scores.get("log_loss", scores.get("rmse", 0.0))
        return (value if np.isfinite(value) else -np.inf, tie if np.isfinite(tie) else -np.inf)

    def counts(self, output: np.ndarray, series: Series) -> Counts:
        """Events, delays and false alarms of decoded outputs (T, K) for a series with targets from
        :meth:`with_targets`."""
        assert self.alarm is not None
        encoded, weights = self.encode(series)
        event = np.where(weights > 0, encoded == self.positive, np.nan)
        on = self.alarm.raised(self.decide(output) == self.positive, series.times)
        return count(on, event, series.times)

    # -- plain data

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Task:
        """Restore a task from :meth:`to_dict`.

        Raises:
            InputError: something is missing or invalid.
        """
        try:
            task: Task = from_plain(cls, data)
            if task.path:
                _check_path(task.path)
        except ValueError as error:
            raise InputError(f"the task's description is invalid: {error}") from None
        if len(task.mean) != len(task.std):
            raise InputError("the task's description is invalid: its means and deviations differ in number")
        fits = task.kind == "regression" and len(task.mean) in (0, len(task.path))
        if task.path and not (fits and task.horizon == task.path[-1]):
            raise InputError("the task's description is invalid: its path does not fit its values")
        return task

    # -- inner parts

    def _check_alarm(self, alarm: Alarm) -> None:
        if self.kind == "regression":
            raise InputError(f"alarms need a classification; {self.target!r} is a regression")
        if len(self.labels) > 2:
            raise InputError(
                f"alarms need two classes; {self.target!r} has {len(self.labels)}: give a target with one class "
                "against all others"
            )
        if self.per == "series" and (alarm.length or alarm.merge):
            raise InputError("with one answer per series, alarms have no duration; leave out their length and merging")
        if not 0 <= self.positive < max(len(self.labels), 2):
            raise InputError(f"the task's description is invalid: class {self.positive} of {len(self.labels)}")

    def forecast(self, series: Series) -> np.ndarray:
        """(T,) what is to be forecast at each sample, from the readings of the series, or (T, K) of a path; NaN where
        they don't tell."""
        steps = [self._ahead(series, horizon) for horizon in self.horizons]
        return np.stack(steps, 1) if self.path else steps[0]

    def _ahead(self, series: Series, horizon: float) -> np.ndarray:
        """(T,) the truth of one step."""
        assert self.column is not None
        values, times, n = series.values[:, self.column], series.times, len(series)
        truth = np.full(n, np.nan)
        if self.horizon_unit == "samples":
            ahead = int(horizon)
            truth[: max(n - ahead, 0)] = values[ahead:]
            truth[: max(n - ahead, 0)][_across_gaps(times, ahead)] = np.nan
            return truth
        observed = np.flatnonzero(np.isfinite(values))
        if not len(observed) or n < 2:
            return truth
        # Sums of times are rounded; a horizon of whole gaps must still find its sample.
        slack = 1e-6 * horizon
        due = times + horizon
        last = np.searchsorted(times[observed], due + slack, side="right") - 1
        found = observed[np.maximum(last, 0)]
        fresh = (last >= 0) & (times[found] > times + horizon / 2) & (due <= times[-1] + slack)
        return np.where(fresh, values[found], np.nan)

    def _last_and_truth(self, part: Recording, scales: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
        """The last observed value (N, 1) and the truth (N, K), if both exist."""
        column, found = self.column, []
        for series in self.with_targets(part).series:
            inputs, _ = scales(series)
            last = np.where(_observed_so_far(inputs[:, column]), inputs[:, column].astype(float), np.nan)
            last = last * scales.std[column] + scales.mean[column]
            rows = np.repeat(last[:, None], self.n_outputs, 1)
            found.append(self.labelled(rows, series)[:2])
        last, truth = (np.concatenate(each) for each in zip(*found, strict=True))
        known = np.isfinite(last[:, 0])
        return last[known, :1], truth[known]

    def _unknown(self, label: str, where: str) -> str:
        return (
            f"{where}: the class {label!r} of {self.target!r} does not occur in the training part "
            f"({listed(self.labels, 10)}); "
            "leave these samples out, or train on a recording that has it"
        )


def _observed_so_far(held: np.ndarray) -> np.ndarray:
    """(T,) True from the first observation on, for a scaled channel that is 0 before it and holds its last value."""
    return np.logical_or.accumulate(held != 0)


def _across_gaps(times: np.ndarray, ahead: int) -> np.ndarray:
    """(T - ahead,) True if the sample ``ahead`` later comes much later than the usual gaps."""
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]
    usual = np.median(gaps) if len(gaps) else np.inf
    return np.asarray(times[ahead:] - times[:-ahead] > ACROSS * ahead * usual)


def _check_path(path: Sequence[float]) -> None:
    if not path or list(path) != sorted(set(path)):
        raise InputError("the steps of a forecast must be given once each, the nearest first, such as 1, 2, 3, 6")
    if len(path) > MOST_STEPS:
        raise InputError(f"a forecast has at most {MOST_STEPS} steps, not {len(path)}: leave some out")


def _short(horizon: float, unit: str) -> str:
    """``6`` samples ahead; ``30min`` in the largest unit of time that divides it."""
    if unit == "samples":
        return f"{horizon:.12g}"
    size = MICROSECONDS.get(unit)
    if size is None:
        return f"{horizon:.12g}{unit}"
    micro = round(horizon * size)
    name = next((name for name in ("d", "h", "min", "s", "ms") if micro and micro % MICROSECONDS[name] == 0), unit)
    return f"{(micro / MICROSECONDS[name] if micro else horizon):.12g}{name}"


def _in_units(horizon: Any, time_unit: str) -> float:
    try:
        return float(span(horizon, time_unit))
    except InputError:
        raise InputError(
            f"the horizon is {horizon}, but the recording's times are in {time_unit!r}, which is not a unit of time; "
            "give a number of samples"
        ) from None
    except (TypeError, ValueError):
        raise InputError(f"a horizon is a number or a timedelta, or several of them, not {horizon!r}") from None


def _forecast_column(recording: Recording, target: str | None, horizon: float, unit: str) -> int:
    if not (np.isfinite(horizon) and horizon > 0):
        raise InputError(f"the horizon must be greater than 0, not {horizon:g}")
    if unit == "samples" and horizon != int(horizon):
        raise InputError(f"a horizon in samples must be a whole number, not {horizon:g}")
    if unit not in ("samples", recording.time_unit):
        raise InputError(f"give the horizon in samples or in the recording's {recording.time_unit}, not in {unit!r}")
    if target is None:
        raise InputError("a forecast needs the name of the channel to forecast")
    if target in recording.channels:
        return recording.channels.index(target)
    if target == recording.target:
        raise InputError(f"to forecast {target!r}, read it as a channel, not as the target")
    raise InputError(f"no channel {target!r} to forecast; {nearest(target, recording.channels)}")


def _refuse_other_target(recording: Recording, channel: str) -> None:
    if recording.target not in (None, channel):
        raise InputError(
            f"the recording's target is {recording.target!r}; to forecast {channel!r}, read it without a target"
        )


def _known(truth: np.ndarray) -> np.ndarray:
    """True if there is a label; for several values, if all are known."""
    if truth.dtype == object:
        return np.array([v is not None and v == v for v in truth.reshape(-1)], dtype=bool).reshape(truth.shape)
    known = np.isfinite(truth)
    return known.all(-1) if known.ndim == 2 else known


def _pool(truths: Sequence[np.ndarray | None]) -> np.ndarray:
    """All labels of all series in one array."""
    parts = []
    for truth in truths:
        if truth is not None:
            known = _known(truth)
            parts.append(truth[known] if truth.ndim else truth.reshape(1)[known.reshape(1)])
    return np.concatenate(parts) if parts else np.empty(0)


def _constant(truth: np.ndarray | None) -> bool:
    if truth is None:
        return True
    if truth.ndim == 2:
        return False
    return len(set(_pool([truth]).tolist())) <= 1


def _single(targets: np.ndarray, name: str) -> np.ndarray:
    """The target of a series; its samples may repeat it."""
    if not targets.ndim:
        return targets
    known = targets[_known(targets)]
    if not len(known):
        return targets[:1].reshape(targets.shape[1:])
    if any(not np.array_equal(v, known[0]) for v in known[1:]):
        raise InputError(f"series {name!r}: the target changes from sample to sample; the task needs one per series")
    return known[:1].reshape(targets.shape[1:])


def _are_classes(truths: Sequence[np.ndarray | None]) -> bool:
    known = _pool(truths)
    if known.dtype == object:
        return True
    if known.ndim > 1 or not len(known):
        return False
    different = len(np.unique(known))
    return bool((known == np.round(known)).all()) and different <= min(MAX_NUMBERED_CLASSES, len(known) // 2)


def label_name(value: str | float) -> str:
    """The name of the class for a target value: ``"3"`` for 3.0."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(float(value))


def _natural(label: str) -> tuple[Any, ...]:
    """Sort key: numbers by value, then text, with digits inside text by value."""
    try:
        return (0, float(label), label)
    except ValueError:
        parts = re.split(r"(\d+)", label)
        return (1, tuple((int(p), "") if p.isdecimal() else (-1, p.casefold()) for p in parts if p), label)
