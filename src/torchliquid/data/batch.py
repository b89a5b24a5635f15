"""Batches of windows for training and scoring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.asked import Asked
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording, Series
from torchliquid.data.windows import Windows
from torchliquid.errors import check_size


@dataclass
class Batch:
    """B windows, padded to the length T of the longest.

    Attributes:
        inputs: (B, T, n_inputs) float32, preprocessed; zeros in the padding.
        timespans: (B, T) float32. If a window starts inside its series, its first span and its held values come from
            the samples before it; only the state is reset.
        lengths: (B,) int64, number of samples of each window.
        targets: (B, T) or (B, T, K) per sample, (B,) per series; float32, or int64 for classes.
        weights: (B, T) or (B,) float32, 0 if not scored: padding, burn-in, no label.
        where: (series, start, stop) of each window.
    """

    inputs: Tensor
    timespans: Tensor
    lengths: Tensor
    targets: Tensor
    weights: Tensor
    where: tuple[tuple[int, int, int], ...]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)


def batches(
    recording: Recording,
    preprocessing: Preprocessing,
    task: Asked,
    windows: Windows,
    batch_size: int,
    rng: np.random.Generator | None = None,
) -> Iterator[Batch]:
    """Cut a recording into windows and yield them in batches.

    Whole series are preprocessed and encoded before they are cut. So a window contains values held from before it, and
    targets of forecasts beyond its end. Series of pictures, which would fill the memory, are scaled window by window.

    Args:
        recording: one part of the data.
        preprocessing: fitted on the training part.
        task: encodes the targets.
        windows: how series are cut.
        batch_size: windows per batch; the last batch may be smaller.
        rng: shuffles the windows, leaves out those without a scored sample, and puts windows of similar length into
            one batch. None: all windows in the order of :meth:`Windows.cut`.
    """
    check_size(batch_size=batch_size)
    per_step = task.per == "step"

    def prepare(series: Series) -> tuple[np.ndarray | Scaled, np.ndarray, np.ndarray, np.ndarray]:
        inputs: np.ndarray | Scaled
        if series.values.dtype == np.uint8:
            inputs, spans = Scaled(preprocessing, series), preprocessing.timespans(series)
        else:
            inputs, spans = preprocessing(series)
        targets, weights = (np.asarray(part) for part in task.encode(series))
        if isinstance(inputs, np.ndarray) and (unknown := task.first_known(inputs)):
            weights[:unknown] = 0
        return inputs, spans, targets, weights

    prepared = [prepare(series) for series in recording.series]

    def weights_of(window: tuple[int, int, int]) -> np.ndarray:
        i, start, stop = window
        weights = prepared[i][3]
        if per_step:
            weights = weights[start:stop].astype(np.float32)
            weights[: windows.scored_from(start)] = 0
        return weights

    cut = windows.cut(recording)
    if rng is not None:
        cut = [w for w in cut if np.any(weights_of(w))]
        groups = _groups(np.array([stop - start for _, start, stop in cut]), batch_size, rng)
    else:
        groups = [np.arange(i, min(i + batch_size, len(cut))) for i in range(0, len(cut), batch_size)]

    def padded(pieces: Iterable[np.ndarray]) -> Tensor:
        # In NumPy, which takes less time for many small pieces than PyTorch's pad_sequence.
        rows = list(pieces)
        out = np.zeros((len(rows), max(map(len, rows)), *rows[0].shape[1:]), dtype=rows[0].dtype)
        for place, row in zip(out, rows, strict=True):
            place[: len(row)] = row
        return torch.from_numpy(out)

    for group in groups:
        chosen = [cut[i] for i in group]
        inputs = padded(prepared[i][0][start:stop] for i, start, stop in chosen)
        spans = padded(prepared[i][1][start:stop] for i, start, stop in chosen)
        if per_step:
            targets = padded(prepared[i][2][start:stop] for i, start, stop in chosen)
            weights = padded(map(weights_of, chosen))
        else:
            targets = torch.from_numpy(np.stack([prepared[i][2] for i, _, _ in chosen]))
            weights = torch.from_numpy(np.stack([prepared[i][3] for i, _, _ in chosen]).astype(np.float32))
        lengths = torch.tensor([stop - start for _, start, stop in chosen])
        yield Batch(inputs, spans, lengths, targets, weights, tuple(chosen))


class Scaled:
    """The inputs of a series of pictures, scaled where a piece is asked for."""

    def __init__(self, preprocessing: Preprocessing, series: Series) -> None:
        self.preprocessing, self.series = preprocessing, series

    def __getitem__(self, piece: slice) -> np.ndarray:
        return self.preprocessing(self.series.cut(piece.start, piece.stop))[0]


def _groups(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled batches, sorted by length within groups of eight to reduce padding."""
    order = rng.permutation(len(lengths))
    pool = 8 * batch_size
    groups = []
    for i in range(0, len(order), pool):
        part = order[i : i + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        groups += [part[j : j + batch_size] for j in range(0, len(part), batch_size)]
    return [groups[i] for i in rng.permutation(len(groups))]
