"""The naive answer, a baseline for every model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.models.fitted import Simple
from torchliquid.tasks import Task


class Naive(Simple):
    """The frequency of each class in the training part, or the mean; for a forecast, the channel's last value.

    Attributes:
        constant: (K,) the answer if there is no forecast or nothing was observed yet.
    """

    kind = "naive"

    def __init__(self, task: Task, preprocessing: Preprocessing, constant: np.ndarray) -> None:
        self.task = task
        self.preprocessing = preprocessing
        self.constant = constant
        self.config = {}
        self.metadata = {}

    @classmethod
    def fit(cls, task: Task, preprocessing: Preprocessing, training: Recording) -> Naive:
        """Count or average the labels of a training part, or take their quantile if the task asks for one."""
        if task.quantile is not None:
            labelled = task.with_targets(training).series
            known = np.concatenate(
                [task.labelled(np.zeros((np.size(s.times), task.n_outputs)), s)[1] for s in labelled]
            )
            return cls(task, preprocessing, np.quantile(known, task.quantile, axis=0))
        if task.kind == "regression":
            return cls(task, preprocessing, np.array(task.mean))
        counts = task.count(training)
        return cls(task, preprocessing, counts / counts.sum())

    def answers(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        return np.stack([self._answer(row) for row in inputs]) if self.task.per == "step" else self.constant.copy()

    def steps(self, n: int) -> NaiveSteps:
        return NaiveSteps(self)

    def numbers(self) -> Iterator[np.ndarray]:
        yield self.constant

    def live_parameters(self) -> int:
        """Numbers in the answer."""
        return 0 if self._persists else len(self.constant)

    @property
    def _persists(self) -> bool:
        return self.task.horizon is not None

    def _answer(self, inputs: np.ndarray) -> np.ndarray:
        column = self.task.column
        if not self._persists or column is None:
            return self.constant
        value = inputs[column] * self.preprocessing.std[column] + self.preprocessing.mean[column]
        if self.task.kind == "regression":
            return np.full(self.task.n_outputs, value)
        # The last value is a class: as certain as the classes' shares allow if the loss is to stay finite.
        nearest = int(np.argmin([abs(float(label) - value) for label in self.task.labels]))
        return 0.9 * np.eye(len(self.constant))[nearest] + 0.1 * self.constant


class NaiveSteps:
    """The naive answer to live samples. It has no state."""

    state: tuple[np.ndarray, ...] = ()

    def __init__(self, model: Naive) -> None:
        self.model = model

    def step(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        return np.stack([self.model._answer(row) for row in inputs])

    def reset(self, rows: Any) -> None:
        pass
