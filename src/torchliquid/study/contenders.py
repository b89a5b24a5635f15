"""Who takes part in a study, and over which settings each is tuned.

All get the same number of tuning trials. The first is the contender's defaults, the others are drawn from its
space; the neural contenders share one space, so that none is tuned more finely than another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from torchliquid.study.results import Family

Hyper = dict[str, Any]
Space = Mapping[str, tuple[Any, ...]]

NEURAL_SPACE: Space = {
    "lr": (0.005, 0.01, 0.02),
    "batch_size": (8, 16, 32),
    "weight_decay": (0.01, 0.1, 1.0),
}


@dataclass(frozen=True)
class Contender:
    """One kind of model in a study, under the name that reports show."""

    name: str
    label: str
    family: Family
    space: Space

    @property
    def seeded(self) -> bool:
        """Whether it comes out differently from another seed."""
        return self.family in ("liquid", "neural")

    def settings(self, n: int) -> list[Hyper]:
        """The settings of ``n`` tuning trials: the defaults first, then distinct draws from the space.

        The networks draw the same, since they share a space.
        """
        rng = np.random.default_rng(0)
        grid = [point for point in _grid(self.space) if point]
        return [{}, *(grid[i] for i in rng.permutation(len(grid))[: n - 1])]


def _grid(space: Space) -> list[Hyper]:
    points: list[Hyper] = [{}]
    for name, values in space.items():
        points = [{**point, name: value} for point in points for value in values]
    return points


CONTENDERS: tuple[Contender, ...] = (
    Contender("cfc", "CfC", "liquid", NEURAL_SPACE),
    Contender("cfc_ncp", "CfC on NCP", "liquid", NEURAL_SPACE),
    Contender("ltc_ncp", "LTC on NCP", "liquid", NEURAL_SPACE),
    Contender("lstm", "LSTM", "neural", NEURAL_SPACE),
    Contender("gru", "GRU", "neural", NEURAL_SPACE),
    Contender("transformer", "Transformer", "neural", NEURAL_SPACE),
    Contender("linear", "Linear", "classical", {"strength": (0.01, 0.1, 1.0, 10.0, 100.0), "lookback": (1, 8, 64)}),
    Contender(
        "boosting",
        "Gradient boosting",
        "classical",
        {"learning_rate": (0.03, 0.1, 0.3), "leaves": (4, 15, 31), "min_leaf": (1, 5, 20), "lookback": (1, 8, 64)},
    ),
    Contender("naive", "Naive", "naive", {}),
)

BY_NAME = {contender.name: contender for contender in CONTENDERS}
