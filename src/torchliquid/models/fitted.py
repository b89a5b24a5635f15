"""What models that are not networks share: parts that are arrays, and a calibration beside them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from torchliquid.models.calibration import Calibration
from torchliquid.models.predictor import Predictor


class Fitted(Predictor):
    """A model of parts, each a dataclass of arrays.

    Attributes:
        calibration: of a classifier's probabilities.
    """

    calibration: Calibration

    @property
    def parts(self) -> dict[str, Any]:
        """The parts that the model has, by their names in its file."""
        raise NotImplementedError

    def recalibrate(self, calibration: Calibration) -> None:
        """Use this calibration for all further answers."""
        self.calibration = calibration
        self.metadata["calibration"] = asdict(calibration)

    def numbers(self) -> Iterator[np.ndarray]:
        for part in self.parts.values():
            yield from (getattr(part, each.name) for each in fields(part))
