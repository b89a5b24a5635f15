"""A linear model or boosted trees prepared for export: which features C computes, and which readings it keeps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from torchliquid.data.preprocessing import Preprocessing
from torchliquid.edge.plausible import Plausible
from torchliquid.models.conformal import Interval
from torchliquid.models.tabular import Tabular
from torchliquid.tasks import Task

STATISTICS = 6
"""Number of statistics of each channel in a window."""

LONGEST_SPAN = 1e15
"""Longest span in usual gaps. Up to it, sums of squared times are finite, or an infinity that is only divided by."""


@dataclass(frozen=True, eq=False)
class Table:
    """A linear model or boosted trees to export.

    Attributes:
        model: the model.
        limits: limits of plausible readings and gaps.
        name: name of the C files, types and functions.
        integers: whether trees use integers.
    """

    model: Tabular
    limits: Plausible
    name: str = "model"
    integers: bool = False

    units = cells = clocks = 0
    with_span = alike = averages = False
    longest_span = LONGEST_SPAN
    pixels: frozenset[int] = frozenset()

    @cached_property
    def interval(self) -> Interval | None:
        return Interval.of(self.model)

    @property
    def preprocessing(self) -> Preprocessing:
        return self.model.preprocessing

    @property
    def task(self) -> Task:
        return self.model.task

    @property
    def features(self) -> int:
        return self.preprocessing.n_inputs

    def bounded(self) -> bool:
        """Whether all values are bounded: readings are, and so are sums of a fixed number of them."""
        return True

    @property
    def words(self) -> str:
        """A short description of the model."""
        linear, trees = self.model.linear, self.model.trees
        seen = f"of {self.own.size + self.past.size:,} features"
        if trees is None:
            return f"Linear model {seen}"
        beside = "" if linear is None else " beside a linear model"
        return f"{trees.roots.size:,} boosted trees with {trees.splits:,} splits{beside}, {seen}"

    @property
    def raw(self) -> int:
        """Number of raw outputs: one for two classes, otherwise one per output."""
        task = self.task
        return 1 if task.kind == "classification" and task.n_outputs == 2 else task.n_outputs

    @cached_property
    def groups(self) -> dict[str, np.ndarray]:
        """The groups of features by name, with the columns of each, in the order of
        :func:`torchliquid.models.features.features`, without groups that no tree uses."""
        model, c = self.model, self.preprocessing.n_channels
        uneven, mask = model.config["uneven"], c * self.preprocessing.with_mask
        window = uneven + STATISTICS * c + mask
        sizes = {"inputs": self.features, "span": int(uneven)}
        if self.task.per == "series":
            past = model.n_features - self.features - uneven - window
            sizes |= {"window": window, "past": past}
        else:
            lags = model.config["lags"]
            sizes |= {f"window {w}": window for w in model.windows} | {"past": lags * c}
            sizes |= {"ages": lags * uneven, "held": lags * c * uneven, "silence": mask if lags else 0}
        ends = np.cumsum(list(sizes.values()))
        assert ends[-1] == model.n_features
        found = {n: np.arange(end - size, end) for (n, size), end in zip(sizes.items(), ends, strict=True) if size}
        if model.linear is not None or model.trees is None:
            return found
        seen = model.trees.feature[model.trees.feature >= 0]
        always = ("inputs", "span", "window")
        return {name: columns for name, columns in found.items() if name in always or np.isin(columns, seen).any()}

    @property
    def past(self) -> np.ndarray:
        """Columns of past readings, which the state holds."""
        return self.groups.get("past", np.empty(0, dtype=np.int64))

    @cached_property
    def own(self) -> np.ndarray:
        """All other columns, which are computed from the state at each sample."""
        return np.concatenate([columns for name, columns in self.groups.items() if name != "past"])

    @property
    def windows(self) -> list[int]:
        return [int(name.split()[1]) for name in self.groups if name.startswith("window ")]

    @property
    def timed(self) -> bool:
        """Whether the ages of the last samples are needed."""
        return bool(self.windows) or not {"ages", "held", "silence"}.isdisjoint(self.groups)

    @property
    def remembers(self) -> bool:
        """Whether the last samples are kept."""
        return self.task.per == "step" and (self.timed or self.past.size > 0)

    def places(self) -> np.ndarray:
        """(F,) position of each column in the C code: first the computed ones, then the readings in the state."""
        found = np.full(self.model.n_features, -1)
        found[self.own] = np.arange(self.own.size)
        behind = np.arange(self.past.size)
        if self.remembers and self.past.size:  # channel by channel, the newest first
            lags = self.model.config["lags"]
            behind = behind // lags * self.model.config["lookback"] + behind % lags + 1
        found[self.past] = self.own.size + behind
        return found
