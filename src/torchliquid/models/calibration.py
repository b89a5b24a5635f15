"""Probabilities that mean what they say, and the threshold from which an alarm is given: both from the validation part.

A network that is trained until its validation score no longer rises is surer than it should be. One temperature for all
logits mends that (Guo et al. 2017, arXiv 1706.04599); where one of two classes is looked for, a shift of its logit as
well (Platt 1999), since classes may have been weighted. Neither changes which sample is likelier than which.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import scipy  # whose parts are loaded when they are used

from torchliquid.alarms import Alarm, best_f1, within_limit
from torchliquid.data.recording import Recording
from torchliquid.metrics import SMALLEST, find
from torchliquid.tasks import Task

BINS = 10
"""Of a reliability curve. Each holds about the same variance of what is counted, p (1 - p) a sample: where one class is
rare, most bins lie among the few samples that may be of it."""

COLDEST, HOTTEST = 0.01, 20.0


@dataclass(frozen=True)
class Calibration:
    """What was found on the validation part.

    Attributes:
        temperature: the logits are divided by it.
        shift: then added to the logit of the class that is looked for.
    """

    temperature: float = 1.0
    shift: float = 0.0

    def __call__(self, probabilities: np.ndarray, positive: int = 1) -> np.ndarray:
        """Calibrated probabilities (..., K)."""
        if self == Calibration():
            return probabilities
        logits = np.log(np.clip(probabilities, SMALLEST, None)) / self.temperature
        logits[..., positive] += self.shift
        return np.asarray(scipy.special.softmax(logits, axis=-1))

    def undone(self, probabilities: np.ndarray, positive: int = 1) -> np.ndarray:
        """Probabilities (..., K) as they were before."""
        logits = np.log(np.clip(probabilities, SMALLEST, None))
        logits[..., positive] -= self.shift
        return np.asarray(scipy.special.softmax(logits * self.temperature, axis=-1))

    @classmethod
    def fit(cls, task: Task, probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
        """The one with the smallest log loss; none where that is not smaller than without.

        Targets are drawn a little towards the other classes (Platt), as if one sample more had been wrong, so that few
        samples without a mistake do not make it certain: one of each class where there is a shift, else one in all.

        Args:
            task: whose alarms want a shift.
            probabilities: (N, K).
            truth: (N,) class numbers.
        """
        k = probabilities.shape[1]
        counts = np.bincount(truth, minlength=k)
        shifts = task.alarm is not None and (counts > 0).all()
        wrong = 1 / (counts[truth] + 2) if shifts else np.full(len(truth), 1 / (len(truth) + 2))
        targets = np.repeat(wrong[:, None] / (k - 1), k, 1)
        targets[np.arange(len(truth)), truth] = 1 - wrong
        logits = np.log(np.clip(probabilities, SMALLEST, None))
        # The shift is sought about the mean logit: a model that hardly dares to differ from the base rate must be able
        # to spread out around it.
        middle = float((logits[:, task.positive] - logits[:, 1 - task.positive]).mean()) if shifts else 0.0

        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            changed = logits * np.exp(-x[0])
            changed[:, task.positive] += x[1] - middle * np.exp(-x[0]) if shifts else 0.0
            logs = scipy.special.log_softmax(changed, axis=1)
            slope = np.exp(logs) - targets  # of the loss along each logit
            along = [-(slope * logits * np.exp(-x[0])).sum() / len(truth)]
            if shifts:
                pull = slope[:, task.positive].sum() / len(truth)
                along = [along[0] + pull * middle * np.exp(-x[0]), pull]
            return float(-(targets * logs).sum() / len(truth)), np.array(along)

        bounds = [(np.log(COLDEST), np.log(HOTTEST)), (-20.0, 20.0)][: 2 if shifts else 1]
        start = np.array([0.0, np.clip(middle, -20, 20)])[: len(bounds)]
        found = scipy.optimize.minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B")
        x = found.x if np.isfinite(found.fun) else start
        best = cls(float(np.exp(x[0])), float(x[1] - middle * np.exp(-x[0])) if shifts else 0.0)
        before, after = (
            find("log_loss")(task.answers(p, truth)) for p in (probabilities, best(probabilities, task.positive))
        )
        return best if after < before else cls()


def pooled(task: Task, outputs: Sequence[np.ndarray], recording: Recording) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) what was answered and (N,) the truth, over all labelled samples whose answer is finite."""
    parts = [task.labelled(o, s)[:2] for o, s in zip(outputs, recording.series, strict=True)]
    given, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    finite = np.isfinite(given).all(1)
    return given[finite], truth[finite]


def choose_threshold(task: Task, outputs: Sequence[np.ndarray], recording: Recording) -> Task:
    """The task with the threshold of its alarms.

    Args:
        task: with alarms; others come back as they are.
        outputs: calibrated, of each series.
        recording: with its targets, as :meth:`Task.with_targets` gives them.
    """
    alarm = task.alarm
    if alarm is None:
        return task
    if alarm.limit is None:
        given, truth = pooled(task, outputs, recording)
        threshold = best_f1(given[:, task.positive], truth == task.positive)
    else:
        threshold = _limited(task, alarm, outputs, recording)
    return replace(task, alarm=replace(alarm, threshold=threshold))


def _limited(task: Task, alarm: Alarm, outputs: Sequence[np.ndarray], recording: Recording) -> float | None:
    series = []
    for output, one in zip(outputs, recording.series, strict=True):
        given, truth, times = task.labelled(output, one)
        series.append((given[:, task.positive], (truth == task.positive).astype(float), times))
    return within_limit(alarm, series, per_series=task.per == "series")


@dataclass(frozen=True)
class Reliability:
    """How much stated probabilities are worth on some samples.

    Attributes:
        log_loss, brier: over all of them.
        said, true, n: of each bin the mean probability, the share for which it was so, and how many samples it
            holds. Of two classes the one that is looked for; of several the likeliest.
    """

    log_loss: float
    brier: float
    said: tuple[float, ...]
    true: tuple[float, ...]
    n: tuple[int, ...]

    @classmethod
    def of(cls, task: Task, probabilities: np.ndarray, truth: np.ndarray) -> Reliability:
        """Of answers (N, K) and the classes that were true (N,)."""
        answers = task.answers(probabilities, truth)
        if probabilities.shape[1] == 2:
            said, true = probabilities[:, task.positive], truth == task.positive
        else:
            said, true = probabilities.max(1), probabilities.argmax(1) == truth
        order = np.argsort(said, kind="stable")
        weight = np.cumsum(said[order] * (1 - said[order]) + SMALLEST)
        edges = np.searchsorted(weight, weight[-1] * np.arange(1, BINS) / BINS)
        parts = [part for part in np.split(order, edges) if len(part)]
        return cls(
            find("log_loss")(answers),
            find("brier")(answers),
            tuple(float(said[part].mean()) for part in parts),
            tuple(float(true[part].mean()) for part in parts),
            tuple(map(len, parts)),
        )


@runtime_checkable
class Calibrated(Protocol):
    """A classifier that can be calibrated."""

    task: Task

    def outputs(self, recording: Recording) -> list[np.ndarray]: ...
    def recalibrate(self, calibration: Calibration) -> None: ...


def calibrate(model: Calibrated, validation: Recording) -> None:
    """Calibrate a classifier in place on the validation part, and choose the threshold of its task's alarms.

    Args:
        model: trained.
        validation: with labels.
    """
    validation = model.task.with_targets(validation)
    outputs = model.outputs(validation)
    given, truth = pooled(model.task, outputs, validation)
    if not len(given):
        return
    found = Calibration.fit(model.task, given, truth)
    model.recalibrate(found)
    calibrated = [found(output, model.task.positive) for output in outputs]
    model.task = choose_threshold(model.task, calibrated, validation)
