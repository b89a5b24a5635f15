"""The common part of models that are not networks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from torchliquid.data.preprocessing import aligned
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows
from torchliquid.errors import InputError
from torchliquid.models.calibration import Calibration
from torchliquid.models.predictor import Predictor, Progress, set_state


class Simple(Predictor):
    """A model without a network. A subclass provides :meth:`answers` instead of :meth:`outputs`."""

    def answers(self, inputs: np.ndarray, spans: np.ndarray) -> np.ndarray:
        """Decoded answers to one series, (T, K), or (K,) for a task per series, from preprocessed inputs (T, n) and
        timespans (T,)."""
        raise NotImplementedError

    def outputs(
        self, recording: Recording, windows: Windows | None = None, progress: Progress | None = None
    ) -> list[np.ndarray]:
        """Decoded answers for each series, as :meth:`Predictor.outputs`; ``windows`` has no effect."""
        found, done = [], 0
        for series in aligned(recording, self.preprocessing).series:
            found.append(self.answers(*self.preprocessing(series)))
            done += len(series)
            if progress is not None:
                progress(done)
        return found


class Fitted(Simple):
    """A model that consists of dataclasses of arrays.

    Attributes:
        calibration: of a classifier's probabilities.
    """

    calibration: Calibration

    @property
    def parts(self) -> dict[str, Any]:
        """The dataclasses, by their names in the model's file."""
        raise NotImplementedError

    def recalibrate(self, calibration: Calibration) -> None:
        """Use this calibration from now on."""
        self.calibration = calibration
        self.metadata["calibration"] = asdict(calibration)

    def numbers(self) -> Iterator[np.ndarray]:
        for part in self.parts.values():
            yield from (getattr(part, each.name) for each in fields(part))


class Remembering:
    """Live steps whose state is one array.

    Attributes:
        memory: (n, S) float64, a row for each stream.
        counter, most: the column of ``memory`` that counts samples, and the largest valid count.
    """

    memory: np.ndarray
    counter: int
    most: float

    @property
    def state(self) -> tuple[np.ndarray, ...]:
        return (self.memory.copy(),)

    @state.setter
    def state(self, parts: tuple[np.ndarray, ...]) -> None:
        if [np.shape(part) for part in parts] == [self.memory.shape]:
            count = np.asarray(parts[0])[:, self.counter]  # decides where the next sample is stored
            if not ((count >= 0) & (count <= self.most) & (count == np.floor(count))).all():
                raise InputError(f"the state is invalid: its count is not a whole number from 0 to {self.most:.0f}")
        set_state((self.memory,), parts)

    def reset(self, rows: Any) -> None:
        self.memory[rows] = 0.0
