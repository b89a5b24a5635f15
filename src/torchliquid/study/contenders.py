"""The contenders of a study, and the settings over which each is tuned.

All get the same number of tuning trials, as far as they have settings: first the defaults, then others in which the
values of each setting occur equally often. Settings that two contenders share are drawn alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from math import prod
from typing import Any, Literal

import numpy as np

from torchliquid.study.results import Family

Hyper = dict[str, Any]
Space = Mapping[str, tuple[Any, ...]]
"""The values of each setting, its default first."""

Case = Literal["", "missing values", "one label a series"]

DRAWS = 1000
"""Number of random draws, after which the remaining settings are taken in order."""

HALVED = (0.25, 0.5)
"""Shares of the updates after which the worse half of a network's settings is left out."""

TRAINING: Space = {"lr": (0.01, 0.005, 0.02), "batch_size": (16, 8, 32), "weight_decay": (0.1, 0.01, 1.0)}
CLASS_WEIGHTS: Space = {"class_weights": (False, True)}
"""For classifiers, unless the user decides whether rare classes get a larger weight."""

FORM: Space = {"mode": ("default", "pure", "no_gate")}
MEMORY: Space = {"mixed_memory": (False, True)}
BACKBONE: Space = {"backbone_layers": (1, 0, 2)}
LTC: Space = {**TRAINING, "lr": (0.01, 0.005, 0.02, 0.05), "unfolds": (6, 1, 3)}
"""Sub-steps, and the larger rates that the LTC's authors train with: its weights are few and bounded."""

ATTENTION: Space = {**TRAINING, "lr": (0.01, 0.003, 0.001), "context": (64, 32, 16)}
DIAGONAL: Space = {**TRAINING, "lr": (0.01, 0.003, 0.03), "states": (8, 4, 16), "layers": (2, 1, 3)}


@dataclass(frozen=True)
class Contender:
    """One kind of model in a study, with the label that reports show.

    Attributes:
        space: the settings that are tuned.
        fixed: settings that are not tuned.
        suits: when it takes part by default; empty: always.
        draws: whether its result depends on the seed although it is not a network.
    """

    name: str
    label: str
    family: Family
    space: Space
    fixed: Mapping[str, Any] = field(default_factory=dict)
    suits: Case = ""
    draws: bool = False

    @property
    def network(self) -> bool:
        """Whether it is trained in updates, so that tuning can stop it early."""
        return self.family in ("liquid", "neural")

    @property
    def seeded(self) -> bool:
        """Whether its result depends on the seed."""
        return self.network or self.draws

    @property
    def possible(self) -> int:
        """Number of settings in its space."""
        return prod(len(values) for values in self.space.values())

    def under(self, more: Space) -> Contender:
        """With more settings, if it has any to tune."""
        return replace(self, space={**self.space, **more}) if self.space else self

    def made_with(self, fixed: Mapping[str, Any]) -> Contender:
        """With these settings fixed, instead of those in its space."""
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in fixed.items()}
        space = {name: values for name, values in self.space.items() if name not in plain}
        return replace(self, space=space, fixed=plain)

    def settings(self, n: int, fits: Callable[[Hyper], bool] = lambda hyper: True) -> list[Hyper]:
        """The settings of up to ``n`` tuning trials, all different.

        The first are the defaults, with only the fixed settings. ``fits`` decides which others can be used.
        """
        defaults = {name: values[0] for name, values in self.space.items()}
        found = [defaults]
        for hyper in self._candidates():
            if len(found) == n:
                break
            if hyper not in found and fits({**self.fixed, **hyper}):
                found.append(hyper)
        return [{**self.fixed, **hyper} for hyper in ({}, *found[1:])]

    def _candidates(self) -> Iterator[Hyper]:
        if self.possible > 1:
            turns = [_in_turn(name, values) for name, values in self.space.items()]
            for _ in range(DRAWS):
                yield dict(zip(self.space, (next(turn) for turn in turns), strict=True))
        for values in product(*self.space.values()):
            yield dict(zip(self.space, values, strict=True))


def _in_turn(name: str, values: tuple[Any, ...]) -> Iterator[Any]:
    """All values in random order, again and again; the first round without the default, which was already used."""
    rng = np.random.default_rng(list(name.encode()))
    left = list(range(1, len(values)))
    while True:
        yield from (values[i] for i in rng.permutation(left or [0]))
        left = list(range(len(values)))


def halvings(settings: int) -> list[tuple[float, int]]:
    """The rounds of tuning a network by successive halving: the number of settings, and their share of the updates."""
    rounds = []
    for share in HALVED:
        if settings > 2:
            rounds.append((share, settings))
            settings -= settings // 2
    return [*rounds, (1.0, settings)] if settings > 1 else rounds


CONTENDERS: tuple[Contender, ...] = (
    Contender("cfc", "CfC", "liquid", {**TRAINING, **FORM, **BACKBONE}),
    Contender("cfc_mm", "CfC with mixed memory", "liquid", {**TRAINING, **FORM, **BACKBONE}),
    Contender("cfc_ncp", "CfC on NCP", "liquid", {**TRAINING, **FORM, **MEMORY}),
    Contender("ltc", "LTC", "liquid", {**LTC, **MEMORY}),
    Contender("ltc_ncp", "LTC on NCP", "liquid", {**LTC, **MEMORY}),
    Contender("lrcssm", "LrcSSM", "liquid", {**TRAINING, "elastance": ("plain", "symmetric")}),
    Contender("lstm", "LSTM", "neural", TRAINING),
    Contender("gru", "GRU", "neural", TRAINING),
    Contender("grud", "GRU-D", "neural", TRAINING, suits="missing values"),
    Contender("transformer", "Transformer", "neural", ATTENTION),
    Contender("state_space", "State space", "neural", DIAGONAL),
    Contender(
        "linear",
        "Linear",
        "classical",
        {"lookback": (64, 16, 32, 8, 128, 1), "sensors": (None, 1, 3)},
    ),
    Contender(
        "boosting",
        "Gradient boosting",
        "classical",
        {
            "lookback": (64, 16, 32, 8, 128, 1),
            "learning_rate": (0.1, 0.03, 0.3),
            "leaves": (15, 4, 31),
            "min_leaf": (None, 1, 5, 20),
        },
    ),
    Contender(
        "minirocket",
        "MiniRocket",
        "classical",
        {"features": (9996, 2520, 504, 25200)},
        suits="one label a series",
        draws=True,
    ),
    Contender("naive", "Naive", "naive", {}),
)

ON_REQUEST: tuple[Contender, ...] = (
    Contender(
        "mixture",
        "Liquid experts",
        "liquid",
        {**TRAINING, "experts": (4, 2, 8), "top_k": (1, 2), "expert": ("cfc", "lrcssm"), "balance": (0.01, 0.1, 0.001)},
    ),
)
"""Contenders that take part only if they are named."""

BY_NAME = {contender.name: contender for contender in (*CONTENDERS, *ON_REQUEST)}
