"""Calibrated probabilities, and the threshold of alarms. Both come from the validation part.

Networks trained until their validation score stops rising are overconfident. One temperature for all logits corrects
this (Guo et al. 2017, arXiv 1706.04599). If alarms are about one of two classes, a shift of its logit is added (Platt
1999), since classes may have been weighted. Neither changes the order of samples by probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import scipy  # its parts are imported when they are used

from torchliquid.alarms import best_f1, within_limit
from torchliquid.data.recording import Recording
from torchliquid.metrics import SMALLEST, find
from torchliquid.tasks import Task

BINS = 10
"""Bins of a reliability curve. Each holds about the same variance, p (1 - p) per sample: if one class is rare, most
bins are among the few samples that may belong to it."""

COLDEST, HOTTEST = 0.01, 20.0


@dataclass(frozen=True)
class Calibration:
    """A calibration found on the validation part.

    Attributes:
        temperature: the logits are divided by it.
        shift: added afterwards to the logit of the class that alarms are about.
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
        """Probabilities (..., K) before calibration."""
        logits = np.log(np.clip(probabilities, SMALLEST, None))
        logits[..., positive] -= self.shift
        return np.asarray(scipy.special.softmax(logits * self.temperature, axis=-1))

    @classmethod
    def fit(cls, task: Task, probabilities: np.ndarray, truth: np.ndarray) -> Calibration:
        """The calibration with the smallest log loss; an identity if none is better.

        Targets are moved slightly towards the other classes (Platt), as if one more sample had been wrong, so that a
        few samples without mistakes do not lead to certainty: one sample of each class if there is a shift, otherwise
        one in all.

        Args:
            task: decides whether there is a shift.
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
        # The shift acts around the mean logit, so that a model whose answers hardly differ from the base rate can
        # spread out around it.
        middle = float((logits[:, task.positive] - logits[:, 1 - task.positive]).mean()) if shifts else 0.0

        def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
            changed = logits * np.exp(-x[0])
            changed[:, task.positive] += x[1] - middle * np.exp(-x[0]) if shifts else 0.0
            logs = scipy.special.log_softmax(changed, axis=1)
            slope = np.exp(logs) - targets  # derivative of the loss by each logit
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
    """(N, K) answers and (N,) true classes of all labelled samples with a finite answer."""
    parts = [task.labelled(o, s)[:2] for o, s in zip(outputs, recording.series, strict=True)]
    given, truth = (np.concatenate(part) for part in zip(*parts, strict=True))
    finite = np.isfinite(given).all(1)
    return given[finite], truth[finite]


def choose_threshold(task: Task, outputs: Sequence[np.ndarray], recording: Recording) -> Task:
    """The task with the threshold of its alarms.

    Args:
        task: a task without alarms is returned as it is.
        outputs: calibrated, one array per series.
        recording: with targets, as :meth:`Task.with_targets` returns them.
    """
    alarm = task.alarm
    if alarm is None:
        return task
    if alarm.limit is None:
        given, truth = pooled(task, outputs, recording)
        threshold = best_f1(given[:, task.positive], truth == task.positive)
    else:
        labelled = [task.labelled(output, one) for output, one in zip(outputs, recording.series, strict=True)]
        series = [(p[:, task.positive], (truth == task.positive).astype(float), times) for p, truth, times in labelled]
        threshold = within_limit(alarm, series, per_series=task.per == "series")
    return replace(task, alarm=replace(alarm, threshold=threshold))


@dataclass(frozen=True)
class Reliability:
    """How good stated probabilities are on some samples.

    Attributes:
        log_loss, brier: over all samples.
        said, true, n: the mean probability in each bin, the share of samples for which the class was true, and the
            number of samples. With two classes, of the class that alarms are about; with more, of the most probable
            one.
    """

    log_loss: float
    brier: float
    said: tuple[float, ...]
    true: tuple[float, ...]
    n: tuple[int, ...]

    @classmethod
    def of(cls, task: Task, probabilities: np.ndarray, truth: np.ndarray) -> Reliability:
        """From answers (N, K) and true classes (N,)."""
        answers = task.answers(probabilities, truth)
        if probabilities.shape[1] == 2:
            stated, true = probabilities[:, task.positive], truth == task.positive
        else:
            stated, true = probabilities.max(1), probabilities.argmax(1) == truth
        order = np.argsort(stated, kind="stable")
        weight = np.cumsum(stated[order] * (1 - stated[order]) + SMALLEST)
        edges = np.searchsorted(weight, weight[-1] * np.arange(1, BINS) / BINS)
        parts = [part for part in np.split(order, edges) if len(part)]
        return cls(
            find("log_loss")(answers),
            find("brier")(answers),
            tuple(float(stated[part].mean()) for part in parts),
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
        model: a trained model.
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
