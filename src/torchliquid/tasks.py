"""What is asked of a model: the kind of task, its targets, its loss and its metrics."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from torchliquid.alarms import Alarm, Counts, count
from torchliquid.data.columns import nearest
from torchliquid.data.given import is_typed, span
from torchliquid.data.preprocessing import Preprocessing, mean_and_std
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError
from torchliquid.metrics import Answers, Metric, find, names, quantile

RARE = 0.8
"""Where the commonest class holds more than this share of the labels, accuracy hides the others: average precision
decides, unless another metric is asked for."""

ACROSS = 5.0
"""A sample that comes later than so many times the usual gaps up to it lies across a gap: no label of a forecast."""

Numbers = TypeVar("Numbers", np.ndarray, Tensor)

MAX_NUMBERED_CLASSES = 20
"""A target of whole numbers with at most this many different ones, each twice on average, is taken for classes."""


@dataclass(frozen=True)
class Task:
    """What is to be told from a recording.

    Attributes:
        kind: ``"classification"`` or ``"regression"``.
        per: whether each ``"step"`` has an answer or the ``"series"`` as a whole.
        target: name of the target; of the channel when it is forecast.
        labels: the classes' names in natural order (``a2`` before ``a10``, numbers by value); from :meth:`fit`.
        horizon: how far ahead the target channel is forecast, in ``horizon_unit``; None when nothing is forecast.
        horizon_unit: ``"samples"`` or the recording's time unit.
        column: the target's place among the channels when it is forecast.
        mean, std: of the training part's targets in regression, one an output; the network sees scaled ones.
        primary: the metric that stops, tunes and decides, by its name in :mod:`torchliquid.metrics`; empty: accuracy
            or RMSE.
        positive: of two classes the one that is looked for, by its place among the labels: the rarer one of the
            training part.
        reason: why the primary metric is not the usual one.
        alarm: of two classes how samples of the one that is looked for become alarms, with the threshold once it is
            chosen; None: the likelier class is answered.
        change: by how much the forecast channel's own input, the last value observed, is added to a network's output,
            so that the network learns the change from there, which ``std`` then measures; 0: it learns the value. From
            :meth:`from_last`.

    In a forecast by samples the truth at sample i is the channel's reading at sample i + horizon, unless it is more
    than five times as long ahead as the series' usual gaps would have it: that lies across a gap. In a forecast by
    time the truth at time t is the channel's last reading in (t + horizon / 2, t + horizon]: nothing is interpolated,
    and what is older than half the horizon is no forecast. Where no such reading exists, or the series ends before
    t + horizon, the sample has no label.
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

    def __post_init__(self) -> None:
        known = names(self.kind)
        if not self.primary:
            object.__setattr__(self, "primary", known[0])
        elif self.metric.kind != self.kind:
            raise InputError(f"{self.kind} has no metric {self.primary!r}; it has {', '.join(known)}")
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
    def quantile(self) -> float | None:
        """Which one is predicted, where the primary metric is a pinball loss; None: the mean."""
        return quantile(self.primary) if self.primary.startswith("pinball") else None

    # -- made from data

    @classmethod
    def infer(
        cls,
        recording: Recording,
        target: str | None = None,
        kind: str | None = None,
        per: str | None = None,
        horizon: float | timedelta | np.timedelta64 | None = None,
        horizon_unit: str = "samples",
        primary: str = "",
        alarm: Alarm | None = None,
    ) -> Task:
        """The task that a recording sets, from all of its targets.

        Args:
            recording: the whole recording that training draws from.
            target: the channel to forecast, with ``horizon``; otherwise the recording's own target.
            kind: None: text, or at most 20 different whole numbers that occur twice on average, are classes; other
                numbers are values, and so is all that is forecast.
            per: None: one answer a series where each of two or more series has a single target or the same at all
                its samples, else one a step.
            horizon, horizon_unit: how far ahead, as in :class:`Task`, or a ``timedelta``, which has its own unit; None
                forecasts nothing.
            primary: the metric that decides; empty: RMSE, or accuracy, or average precision where more than four
                labels in five are of one class.
            alarm: how alarms are made and their threshold is chosen; None: by the best F1, one a sample, where there
                are two classes and the metric ranks samples or is an F1; else there are none.

        Returns:
            The fitted task.

        Raises:
            InputError: no target, an unknown name, a horizon that is none, a target that is missing everywhere or
                always the same, words that name no kind.
        """
        if not isinstance(recording, Recording):
            raise InputError(
                f"a Recording is needed, not {type(recording).__name__}; make one, as with Recording.from_frame"
            )
        if kind not in (None, "classification", "regression"):
            raise InputError(f"the task is 'classification' or 'regression', not {kind!r}")
        if per not in (None, "step", "series"):
            raise InputError(f"an answer is given per 'step' or per 'series', not {per!r}")
        column = None
        if horizon is not None:
            horizon_unit = recording.time_unit if is_typed(horizon) else horizon_unit
            horizon = _in_units(horizon, recording.time_unit)
            column = _forecast_column(recording, target, horizon, horizon_unit)
            target, per = recording.channels[column], "step"
            _refuse_other_target(recording, target)
        elif recording.target is None:
            raise InputError("the recording has no target; name the column, or forecast a channel with a horizon")
        elif target not in (None, recording.target):
            raise InputError(f"the recording's target is {recording.target!r}, not {target!r}")
        asked = cls("regression", "step", str(target or recording.target), (), horizon, horizon_unit, column)
        truths = [s.targets if horizon is None else asked.truth(s) for s in recording.series]
        if per is None:
            per = "series" if len(truths) > 1 and all(_constant(t) for t in truths) else "step"
        if kind is None:
            truths = [t if t is None or per == "step" else _single(t, "") for t in truths]
            kind = "classification" if horizon is None and _are_classes(truths) else "regression"
        task = cls(kind, per, asked.target, (), horizon, horizon_unit, column, primary=primary, alarm=alarm)  # type: ignore[arg-type]
        task = task.fit(recording)
        if kind == "classification" and not primary:
            counts = task.count(recording)
            share = counts.max() / counts.sum()
            if share > RARE:
                common = task.labels[int(counts.argmax())]
                reason = f"{100 * share:.3g} % of the labels are {common!r}, so that accuracy would hide the others"
                task = replace(task, primary="average_precision", reason=reason)
        return task if task.alarm is not None else task.with_alarm()

    def with_alarm(self) -> Task:
        """The task with the usual alarms, one a sample and by the best F1, where it has two classes and its metric
        ranks samples or is an F1; else without alarms."""
        looks_for_one = self.metric.ranks or self.primary in ("f1", "macro_f1")
        return replace(self, alarm=Alarm() if looks_for_one and len(self.labels) == 2 else None)

    def fit(self, training: Recording) -> Task:
        """This task with the labels, or the scale of the targets, of a training part.

        Raises:
            InputError: a target that is missing everywhere, is always the same, or is text where values are asked.
        """
        column = self.column
        if self.horizon is not None:
            column = _forecast_column(training, self.target, self.horizon, self.horizon_unit)
            _refuse_other_target(training, self.target)
        task = replace(self, column=column, change=0.0)
        known = _pool([task.truth(s) for s in training.series])
        if not len(known) and self.horizon is not None:
            gap = training.median_gap()
            longer = self.horizon_unit != "samples" and self.horizon < gap
            raise InputError(
                f"no sample has a reading of {self.target!r} {self.horizon:g} {self.horizon_unit} ahead of it; "
                + (f"samples are {gap:g} apart: give {gap:g} or more" if longer else "give a shorter horizon")
            )
        if not len(known):
            raise InputError(f"the target {self.target!r} has no value at all; name another column as the target")
        if self.kind == "classification":
            if known.ndim > 1:
                raise InputError(
                    f"the target {self.target!r} has {known.shape[1]} columns; classes need one, of shape (T,)"
                )
            labels = tuple(sorted({label_name(v) for v in known.reshape(-1).tolist()}, key=_natural))
            if len(labels) == 1:
                rest = [label for label in self.labels if label not in labels]
                if rest:  # labels of the whole recording, of which this is a part
                    of = "series" if self.per == "series" else "samples"
                    raise InputError(
                        f"the target {self.target!r} has one class only, {labels[0]!r}, in the {len(known)} {of} that "
                        f"a model learns from; {rest[0]!r} comes only in the rest of the recording: give one in "
                        "which it comes there too"
                    )
                never = "" if known.dtype == object else "never changes: it "
                raise InputError(
                    f"the target {self.target!r} {never}has one class only, {labels[0]!r}, where a model learns from "
                    "it; give a recording with two or more"
                )
            task = replace(task, labels=labels)
            counts = task.count(training)
            return replace(task, positive=int(counts[1] <= counts[0])) if len(labels) == 2 else task
        if known.dtype == object:
            raise InputError(f"the target {self.target!r} is text: it can be classified, not regressed")
        mean, std = mean_and_std(known.reshape(len(known), -1))
        if not std.any():
            raise InputError(
                f"the target {self.target!r} is always {mean[0]:g} where a model learns from it; "
                "give a recording in which it changes"
            )
        std = np.where(std > 0, std, 1.0)
        return replace(task, mean=tuple(mean.tolist()), std=tuple(std.tolist()))

    def from_last(self, training: Recording, validation: Recording, scales: Preprocessing) -> Task:
        """This fitted task, with the change from the channel's last value to be learnt where that is the better start.

        It is where the last value observed, moved by the mean change in the training part, scores better on the
        validation part than the training part's mean (of a quantile: by that quantile of the changes, and the quantile
        of the targets). One rule for all models. Only a forecast of values knows a last value.

        Args:
            training, validation: parts of the recording.
            scales: fitted on the training part; before a first value is observed its mean stands for it.
        """
        if self.kind == "classification" or self.column is None or self.target in scales.left_out:
            return self
        (last, truth), (last_there, truth_there) = (self._last_and_truth(p, scales) for p in (training, validation))
        change = truth - last
        start, drift = (np.mean(x) if self.quantile is None else np.quantile(x, self.quantile) for x in (truth, change))

        def score(said: np.ndarray) -> tuple[float, float]:
            return self.score({self.primary: self.metric(self.answers(said, truth_there))})

        if not score(last_there + drift) > score(np.full_like(last_there, start)):
            return self
        # A finer scale than this would be lost beside the last value in single precision.
        own = float(scales.std[self.column])
        std = max(float(change.std()), 1e-4 * own)
        return replace(self, mean=(float(scales.mean[self.column] + change.mean()),), std=(std,), change=own / std)

    def check(self, recording: Recording, name: str) -> None:
        """See that a part can be scored.

        Raises:
            InputError: it has no label, or a class that the training part lacks.
        """
        known = _pool([s.targets for s in self.with_targets(recording).series])
        if not len(known):
            raise InputError(f"{name}: no sample has a value of the target {self.target!r}; there is nothing to score")
        if self.kind == "classification":
            unknown = sorted({label_name(v) for v in known.tolist()} - set(self.labels), key=_natural)
            if unknown:
                raise InputError(self._unknown(unknown[0], name))

    def with_targets(self, recording: Recording) -> Recording:
        """The recording with the truth of this task in each series' ``targets``: forecasts made, the one target of a
        series given as one. A shift must not change what was true: call this before.

        Raises:
            InputError: the recording has another target, or no channel that is forecast.
        """
        if self.horizon is None and recording.target not in (None, self.target):
            raise InputError(
                f"the recording's target is {recording.target!r}, the task's {self.target!r}; read that column"
            )
        task, before = self, recording.series
        if self.horizon is not None:
            if recording.target != self.target:  # what is known beside the channels is not what is forecast
                before = tuple(replace(s, targets=None) for s in before)
            if any(s.targets is None for s in before):
                column = _forecast_column(recording, self.target, self.horizon, self.horizon_unit)
                task = replace(self, column=column)
        series = tuple(replace(s, targets=task.truth(s)) for s in before)
        return replace(recording, series=series, target=self.target)

    @property
    def learnt(self) -> str:
        """What a network learns in the place of the value, in words; empty where it learns the value."""
        return f"the change from the last value of {self.target}" if self.change else ""

    def notes(self, recording: Recording) -> tuple[str, ...]:
        """What a user should know of how this task takes a recording, a sentence each."""
        if self.horizon is None or self.horizon_unit != "samples":
            return ()
        ahead = int(self.horizon)
        count = sum(int(_across_gaps(s.times, ahead).sum()) for s in recording.series if len(s) > ahead)
        if not count:
            return ()
        return (
            f"{count} samples have no label: what comes {ahead} samples after them lies across a gap, more than "
            f"{ACROSS:g} times as long ahead as usual. A horizon in time asks for what comes after a time.",
        )

    # -- of one series

    def truth(self, series: Series) -> np.ndarray | None:
        """The raw truth of a series, (T,), (T, K) or (); None where it is not known at all."""
        targets = series.targets
        if targets is None:
            return None if self.horizon is None else self._forecast(series)
        if self.per == "series":
            return _single(targets, series.name)
        if not targets.ndim:
            raise InputError(f"series {series.name!r} has one target, the task needs one for each sample")
        return targets

    def encode(self, series: Series) -> tuple[np.ndarray, np.ndarray]:
        """Targets as the loss takes them, and their weights (float32), 0 where there is no label.

        Class numbers are int64, scaled values float32; shapes are (T,) or (T, K) a step, () or (K,) a series.

        Raises:
            InputError: a class that the task does not know, targets of the wrong kind.
        """
        truth = self.truth(series)
        shape = () if self.per == "series" else (len(series),)
        if self.kind == "classification":
            encoded = np.zeros(shape, dtype=np.int64)
            if truth is None:
                return encoded, np.zeros(shape, dtype=np.float32)
            known = _known(truth)
            place = {label: i for i, label in enumerate(self.labels)}
            try:
                encoded[known] = [place[label_name(v)] for v in truth[known].tolist()]
            except KeyError as error:
                raise InputError(self._unknown(str(error.args[0]), f"series {series.name!r}")) from None
            return encoded, known.astype(np.float32)
        if self.n_outputs > 1:
            shape = (*shape, self.n_outputs)
        if truth is None:
            weights = np.zeros(shape[: 1 if self.per == "step" else 0], dtype=np.float32)
            return np.zeros(shape, dtype=np.float32), weights
        if truth.dtype == object:
            raise InputError(f"series {series.name!r}: the target {self.target!r} is text, a number is needed")
        known = _known(truth)
        scaled = (truth.reshape(-1, self.n_outputs) - self.mean) / self.std
        scaled = np.where(known.reshape(-1, 1), scaled, 0.0)
        return scaled.reshape(truth.shape).astype(np.float32), known.astype(np.float32)

    # -- of outputs

    def with_last(self, outputs: Numbers, inputs: Numbers) -> Numbers:
        """Outputs (..., 1) of a network that learns the change, and the last value in its scaled inputs (..., n)."""
        assert self.column is not None
        return outputs + self.change * inputs[..., self.column, None]

    def first_known(self, inputs: np.ndarray) -> int:
        """Which of the samples, scaled inputs (T, n), is the first with a last value, where one is needed; T: none."""
        return int((~_observed_so_far(inputs[:, self.column])).sum()) if self.change else 0

    @property
    def n_outputs(self) -> int:
        """K: classes, or values predicted at once."""
        n = len(self.labels) if self.kind == "classification" else len(self.mean)
        if not n:
            raise InputError("the task is not fitted: call task.fit(training recording) first")
        return n

    @property
    def higher_is_better(self) -> bool:
        """Direction of the primary metric."""
        return self.metric.higher_is_better

    def loss(self, outputs: Tensor, targets: Tensor, weights: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Weighted mean of the cross entropy, or of the squared error of scaled values; of a quantile its pinball loss.

        Args:
            outputs: (..., K) of the network.
            targets: (...) class numbers or values, (..., K) for several values.
            weights: (...) 0 where not scored.
            class_weights: (K,) how much each class counts.
        """
        # What is not scored may be anything, even NaN, and must not leak through a product with 0.
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
        """(K,) float32, inverse to how often each class occurs, 1 on average over the samples.

        Raises:
            InputError: the task has no classes.
        """
        if self.kind != "classification":
            raise InputError(f"class weights are for classes; {self.target!r} is regressed: leave them out")
        counts = self.count(training)
        return (counts.sum() / np.maximum(counts, 1) / self.n_outputs).astype(np.float32)

    def count(self, recording: Recording) -> np.ndarray:
        """(K,) how often each class occurs."""
        counts = np.zeros(self.n_outputs)
        for series in recording.series:
            targets, weights = self.encode(series)
            np.add.at(counts, targets.reshape(-1), weights.reshape(-1))
        return counts

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Outputs (..., K) of the network as probabilities, or as values in the target's unit; float64."""
        outputs = np.asarray(outputs, dtype=np.float64)
        if self.kind == "regression":
            return outputs * self.std + self.mean
        shifted = np.exp(outputs - outputs.max(-1, keepdims=True))
        return shifted / shifted.sum(-1, keepdims=True)

    def metrics(self, outputs: Sequence[np.ndarray], recording: Recording) -> dict[str, float]:
        """Metrics over all labelled samples (or series) of a recording.

        Args:
            outputs: decoded, one array a series: (T, K), or (K,) where the series has one target.
            recording: the same series, with their targets.

        Returns:
            Each metric of the task's kind by name, the primary one among them; those of two classes where there are
            two. NaN where one is not defined, as one that ranks where one class alone occurs. Of several values each is
            measured in its own deviations, so that none hides the others, and also alone in its own unit, ``rmse[1]``.

        Raises:
            InputError: nothing is labelled, or a label is not known.
        """
        said, true = [], []
        for output, series in zip(outputs, self.with_targets(recording).series, strict=True):
            given, truth, _ = self.labelled(output, series)
            said.append(given)
            true.append(truth)
        given, truth = np.concatenate(said), np.concatenate(true)
        if not len(given):
            raise InputError(f"no sample has a value of the target {self.target!r}; there is nothing to score")
        answers = self.answers(given, truth)
        asked = list(dict.fromkeys((*names(self.kind), self.primary)))
        if self.kind == "regression" and self.n_outputs > 1:
            asked += [f"{name}[{k + 1}]" for k in range(self.n_outputs) for name in names(self.kind)]
        known = [find(name) for name in asked]
        return {m.name: m(answers) for m in known if not m.two_classes or self.n_outputs == 2}

    def labelled(self, output: np.ndarray, series: Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What was answered where the truth is known.

        Args:
            output: decoded, (T, K), or (K,) where the series has one target.
            series: with its targets, as :meth:`with_targets` gives them.

        Returns:
            outputs (N, K), truth (N,) class numbers or (N, K) values, and times (N,); of a series with one target its
            last sample's.
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
        """Outputs (N, K) and truth, as :meth:`labelled` gives them, as a metric takes them."""
        said = self.decide(outputs) if self.kind == "classification" else None
        several = self.kind == "regression" and self.n_outputs > 1
        return Answers(outputs, truth, said, self.positive, self.mean, self.std if several else ())

    def decide(self, probabilities: np.ndarray) -> np.ndarray:
        """(...) the class that is answered to probabilities (..., K): by the alarm's threshold, else the likeliest."""
        if self.alarm is None or self.alarm.threshold is None:
            return np.asarray(probabilities.argmax(-1))
        over = probabilities[..., self.positive] >= self.alarm.threshold
        return np.where(over, self.positive, 1 - self.positive)

    def score(self, scores: dict[str, float]) -> tuple[float, float]:
        """By which models are chosen, larger is better: the primary metric, then the loss where that is the same."""
        value = scores[self.primary] if self.higher_is_better else -scores[self.primary]
        tie = -scores.get("log_loss", scores.get("rmse", 0.0))
        return (value if np.isfinite(value) else -np.inf, tie if np.isfinite(tie) else -np.inf)

    def counts(self, output: np.ndarray, series: Series) -> Counts:
        """What an operator counts of the alarms over a series (T, K), whose targets are as :meth:`with_targets` gives
        them."""
        assert self.alarm is not None
        encoded, weights = self.encode(series)
        event = np.where(weights > 0, encoded == self.positive, np.nan)
        on = self.alarm.raised(self.decide(output) == self.positive, series.times)
        return count(on, event, series.times)

    # -- plain data

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Task:
        """The reverse of :meth:`to_dict`.

        Raises:
            InputError: something is missing or makes no sense.
        """
        try:
            task = cls(
                data["kind"],
                data["per"],
                str(data["target"]),
                tuple(str(label) for label in data["labels"]),
                None if data["horizon"] is None else float(data["horizon"]),
                str(data["horizon_unit"]),
                None if data["column"] is None else int(data["column"]),
                tuple(float(v) for v in data["mean"]),
                tuple(float(v) for v in data["std"]),
                str(data["primary"]),
                int(data.get("positive", 1)),
                str(data.get("reason", "")),
                None if data.get("alarm") is None else Alarm(**data["alarm"]),
                float(data.get("change", 0.0)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the task's description is broken: {error!r}") from None
        if task.kind not in ("classification", "regression") or task.per not in ("step", "series"):
            raise InputError(f"the task's description is broken: {task.kind!r} per {task.per!r}")
        if len(task.mean) != len(task.std):
            raise InputError("the task's description is broken: its means and deviations differ in number")
        return task

    # -- inner parts

    def _check_alarm(self, alarm: Alarm) -> None:
        if self.kind == "regression":
            raise InputError(f"alarms are of classes; {self.target!r} is regressed")
        if len(self.labels) > 2:
            raise InputError(
                f"alarms are of two classes; {self.target!r} has {len(self.labels)}: give a target that tells the one "
                "to be found from all others"
            )
        if self.per == "series" and (alarm.length or alarm.merge):
            raise InputError("a series with one answer has no alarms that last; leave their length and merging out")
        if not 0 <= self.positive < max(len(self.labels), 2):
            raise InputError(f"the task's description is broken: class {self.positive} of {len(self.labels)}")

    def _forecast(self, series: Series) -> np.ndarray:
        assert self.column is not None
        assert self.horizon is not None
        values, times, n = series.values[:, self.column], series.times, len(series)
        truth = np.full(n, np.nan)
        if self.horizon_unit == "samples":
            ahead = int(self.horizon)
            truth[: max(n - ahead, 0)] = values[ahead:]
            truth[: max(n - ahead, 0)][_across_gaps(times, ahead)] = np.nan
            return truth
        observed = np.flatnonzero(np.isfinite(values))
        if not len(observed) or n < 2:
            return truth
        # A horizon of whole gaps must meet its sample although sums of times are rounded.
        slack = 1e-6 * self.horizon
        due = times + self.horizon
        last = np.searchsorted(times[observed], due + slack, side="right") - 1
        found = observed[np.maximum(last, 0)]
        fresh = (last >= 0) & (times[found] > times + self.horizon / 2) & (due <= times[-1] + slack)
        return np.where(fresh, values[found], np.nan)

    def _last_and_truth(self, part: Recording, scales: Preprocessing) -> tuple[np.ndarray, np.ndarray]:
        """The last value observed and the truth, (N, 1) each, where there is both."""
        column, found = self.column, []
        for series in self.with_targets(part).series:
            inputs, _ = scales(series)
            last = np.where(_observed_so_far(inputs[:, column]), inputs[:, column].astype(float), np.nan)
            found.append(self.labelled(last * scales.std[column] + scales.mean[column], series)[:2])
        last, truth = (np.concatenate(each) for each in zip(*found, strict=True))
        known = np.isfinite(last[:, 0])
        return last[known], truth[known]

    def _unknown(self, label: str, where: str) -> str:
        return (
            f"{where}: the class {label!r} of {self.target!r} does not occur in the training part "
            f"({', '.join(self.labels[:10])}{', ...' if len(self.labels) > 10 else ''}); "
            "leave these samples out, or train on a recording that has it"
        )


def _observed_so_far(held: np.ndarray) -> np.ndarray:
    """(T,) true from the first observation on of a scaled channel that holds its last value, and 0 before the first."""
    return np.logical_or.accumulate(held != 0)


def _across_gaps(times: np.ndarray, ahead: int) -> np.ndarray:
    """(T - ahead,) true where so many samples ahead lie much later than so many usual gaps would take."""
    gaps = np.diff(times)
    gaps = gaps[gaps > 0]
    usual = np.median(gaps) if len(gaps) else np.inf
    return np.asarray(times[ahead:] - times[:-ahead] > ACROSS * ahead * usual)


def _in_units(horizon: Any, time_unit: str) -> float:
    try:
        return float(span(horizon, time_unit))
    except InputError:
        words = f"the recording's times are in {time_unit!r}, no unit of time: give a number of samples"
        raise InputError(f"the horizon is {horizon}; {words}") from None


def _forecast_column(recording: Recording, target: str | None, horizon: float, unit: str) -> int:
    if not (np.isfinite(horizon) and horizon > 0):
        raise InputError(f"the horizon must be greater than 0, not {horizon:g}")
    if unit == "samples" and horizon != int(horizon):
        raise InputError(f"a horizon in samples is a whole number, not {horizon:g}")
    if unit not in ("samples", recording.time_unit):
        raise InputError(f"a horizon is given in samples or in the recording's {recording.time_unit}, not in {unit!r}")
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
    """True where there is a label; over several values at once where all are there."""
    if truth.dtype == object:
        return np.array([v is not None and v == v for v in truth.reshape(-1)], dtype=bool).reshape(truth.shape)
    known = np.isfinite(truth)
    return known.all(-1) if known.ndim == 2 else known


def _pool(truths: Sequence[np.ndarray | None]) -> np.ndarray:
    """All labels of all series in a row."""
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
    """The one target of a series whose samples may all repeat it."""
    if not targets.ndim:
        return targets
    known = targets[_known(targets)]
    if not len(known):
        return targets[:1].reshape(targets.shape[1:])
    if any(not np.array_equal(v, known[0]) for v in known[1:]):
        raise InputError(
            f"series {name!r}: its target changes from sample to sample, the task needs one for the series"
        )
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
    """The class's name that a target's value stands for: 3.0 is ``"3"``."""
    if isinstance(value, str):
        return value
    return str(int(value)) if value == int(value) else repr(float(value))


def _natural(label: str) -> tuple[Any, ...]:
    """Numbers by value before text; digits inside text by value too."""
    try:
        return (0, float(label), label)
    except ValueError:
        parts = re.split(r"(\d+)", label)
        return (1, tuple((int(p), "") if p.isdecimal() else (-1, p.casefold()) for p in parts if p), label)
