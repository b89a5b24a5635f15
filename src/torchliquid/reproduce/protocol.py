"""The parts of a published table: data split as by its authors, the metric, and the training of each contender."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Split = Literal["published", "time"]


@dataclass(frozen=True)
class Sequences:
    """Sequences for training or measuring.

    Attributes:
        inputs: (N, T, C).
        timespans: (N, T), in units of the usual gap.
        targets: class indices (N, T), values (N, T, K), or one class per sequence (N,).
        lengths: number of samples of each sequence, if they differ.
    """

    inputs: Float[Tensor, "N T C"]
    timespans: Float[Tensor, "N T"]
    targets: Tensor
    lengths: Int[Tensor, " N"] | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    def pick(self, rows: Tensor) -> Sequences:
        """Some of the sequences."""
        return self._each(lambda tensor: tensor[rows])

    def to(self, device: torch.device) -> Sequences:
        """The same sequences on another device."""
        return self._each(lambda tensor: tensor.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Sequences:
        tensors = (self.inputs, self.timespans, self.targets, self.lengths)
        return Sequences(*(None if one is None else change(one) for one in tensors))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Parts:
    """The three parts, and the number of outputs of a network."""

    train: Sequences
    validation: Sequences
    test: Sequences
    outputs: int

    @property
    def pieces(self) -> tuple[Sequences, Sequences, Sequences]:
        return self.train, self.validation, self.test

    def fingerprint(self, with_test: bool = True) -> str:
        """A fingerprint of the data."""
        data = hashlib.sha256()
        for piece in self.pieces[: 3 if with_test else 2]:
            for tensor in (piece.inputs, piece.timespans, piece.targets):
                data.update(tensor.numpy().data)
        return data.hexdigest()[:8]


@dataclass(frozen=True)
class Setting:
    """How one contender is built and trained.

    Attributes:
        units: number of units of the layer.
        lr: initial learning rate of Adam.
        decay: factor of the learning rate per epoch.
        batch: sequences per batch.
        epochs: maximum number of epochs.
        patience: number of epochs without a better validation metric after which training stops.
        clip: maximum norm of the gradient; None: not clipped.
        weight_decay: decoupled weight decay.
        class_weight: weight of the second of two classes.
        span: the layer's time from one sample to the next, if the spans of the data are 1.
        gain: gain of a Xavier initialisation of all matrices; 0: the layer's own initialisation.
        layer: further arguments of the layer.
    """

    units: int = 32
    lr: float = 0.001
    decay: float = 1.0
    batch: int = 16
    epochs: int = 200
    patience: int = 25
    clip: float | None = None
    weight_decay: float = 0.0
    class_weight: float = 1.0
    span: float = 1.0
    gain: float = 0.0
    layer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def class_weights(self) -> dict[int, float] | None:
        """The class weight in scikit-learn's form."""
        return {1: self.class_weight} if self.class_weight != 1 else None


ON_REQUEST = ("LrcSSM",)
"""Contenders that run only if they are named; a table is complete without them."""


@dataclass(frozen=True)
class Protocol:
    """One table.

    Attributes:
        name: name for the command.
        source: the paper.
        metric: ``"accuracy %"``, ``"squared error"``, or ``"AUC"`` of the second of two classes.
        published: mean and standard deviation of each contender, as printed.
        settings: of each contender that is run, including ours.
        parts: splits the data.
        redraw: splits it again for a seed, if the published split is not known.
        splits: ``"published"``, and ``"time"`` if the published one leaks.
        sparsity: share of weights that a random mask sets to zero in all networks.
        notes: sentences that a reader must know.
        sampling_error: standard error of the published values that the size of the test part alone causes.
    """

    name: str
    source: str
    metric: str
    published: Mapping[str, tuple[float, float]]
    settings: Mapping[str, Setting]
    parts: Callable[[Split], Parts]
    redraw: Callable[[Parts, int], Parts] | None = None
    splits: tuple[Split, ...] = ("published",)
    sparsity: float = 0.0
    notes: tuple[str, ...] = ()
    sampling_error: float = 0.0

    @property
    def higher_is_better(self) -> bool:
        return self.metric != "squared error"

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return 1 if self.higher_is_better else -1

    @property
    def awaited(self) -> list[str]:
        """The contenders of a complete table."""
        return [name for name in self.settings if name not in ON_REQUEST]

    def fingerprint(self, contender: str) -> str:
        """A fingerprint of a contender's setting."""
        return hashlib.sha256(repr((self.settings[contender], self.sparsity)).encode()).hexdigest()[:8]

    def with_setup(self, contender: str, setup: Mapping[str, Any]) -> Protocol:
        """The table with some fields of one contender's setting replaced."""
        return replace(self, settings={**self.settings, contender: replace(self.settings[contender], **setup)})


def cut(series: Iterable[Sequence[np.ndarray]], length: int, stride: int) -> Sequences:
    """The windows of consecutive series; each series is its inputs, its targets and perhaps its timespans.

    None contains a series' last row, as in the authors' code: with one more window, the seed of a published permutation
    would give another split.
    """
    pieces = ([[a[s : s + length] for s in range(0, len(a) - length, stride)] for a in arrays] for arrays in series)
    return part(*(np.stack([*chain(*windows)]) for windows in zip(*pieces, strict=True)))


def part(inputs: np.ndarray, targets: np.ndarray, timespans: np.ndarray | None = None) -> Sequences:
    """A part from arrays, with spans of 1 if none are given."""
    x = torch.from_numpy(np.ascontiguousarray(inputs, np.float32))
    spans = torch.ones(x.shape[:2]) if timespans is None else torch.from_numpy(timespans.astype(np.float32))
    classes = targets.dtype.kind in "iu"
    return Sequences(x, spans, torch.from_numpy(targets.astype(np.int64 if classes else np.float32)))


def at_random(whole: Sequences, seed: int, shares: Sequence[float]) -> list[Sequences]:
    """Parts of these shares in the order of NumPy's old permutation for the seed, and the remaining sequences last."""
    order = torch.from_numpy(np.random.RandomState(seed).permutation(len(whole)))
    cuts = np.cumsum([int(share * len(whole)) for share in shares])
    return [whole.pick(rows) for rows in torch.tensor_split(order, torch.from_numpy(cuts))]
