"""Windows side by side: what a network is trained and scored on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.asked import Asked
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.data.windows import Windows


@dataclass
class Batch:
    """B windows, padded at their ends to the longest, T samples.

    Attributes:
        inputs: (B, T, n_inputs) float32, preprocessed; zeros in the padding.
        timespans: (B, T) float32. The first of a window that starts inside its series is the true span since the
            sample before it, and held values reach in from before it; only the state starts fresh.
        lengths: (B,) int64, samples of each window.
        targets: (B, T) or (B, T, K) one a sample, (B,) one a series; float32, or int64 for classes.
        weights: (B, T) or (B,) float32, 0 where not scored: padding, burn-in, no label.
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
    """Cut a recording into windows and give them in batches.

    Series are preprocessed and their targets encoded whole, before the cut, so that a window knows what was held and
    forecasts reach over its end.

    Args:
        recording: one part of the data.
        preprocessing: fitted on the training part.
        task: encodes the targets.
        windows: the plan of the cut.
        batch_size: windows in a batch; the last may be smaller.
        rng: shuffles, and leaves out windows without a scored sample. Windows of about the same length then share a
            batch. None: all windows in the order of :meth:`Windows.cut`.
    """
    per_step = task.per == "step"
    prepared = []
    for series in recording.series:
        inputs, spans = preprocessing(series)
        targets, weights = (np.asarray(part) for part in task.encode(series))
        if unknown := task.first_known(inputs):
            weights[:unknown] = 0
        prepared.append((inputs, spans, targets, weights))

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

    for group in groups:
        chosen = [cut[i] for i in group]
        lengths = [stop - start for _, start, stop in chosen]

        def gather(part: int, chosen: list[tuple[int, int, int]] = chosen, longest: int = max(lengths)) -> np.ndarray:
            first = prepared[chosen[0][0]][part]
            out = np.zeros((len(chosen), longest, *first.shape[1:]), dtype=first.dtype)
            for row, (i, start, stop) in zip(out, chosen, strict=True):
                row[: stop - start] = prepared[i][part][start:stop]
            return out

        if per_step:
            targets = gather(2)
            weights = np.zeros((len(chosen), max(lengths)), dtype=np.float32)
            for row, window in zip(weights, chosen, strict=True):
                row[: window[2] - window[1]] = weights_of(window)
        else:
            targets = np.stack([prepared[i][2] for i, _, _ in chosen])
            weights = np.stack([prepared[i][3] for i, _, _ in chosen]).astype(np.float32)
        yield Batch(
            torch.from_numpy(gather(0)),
            torch.from_numpy(gather(1)),
            torch.tensor(lengths, dtype=torch.int64),
            torch.from_numpy(targets),
            torch.from_numpy(weights),
            tuple(chosen),
        )


def _groups(lengths: np.ndarray, batch_size: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled batches, sorted by length within every eight of them so that little is padding."""
    order = rng.permutation(len(lengths))
    pool = 8 * batch_size
    groups = []
    for i in range(0, len(order), pool):
        part = order[i : i + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        groups += [part[j : j + batch_size] for j in range(0, len(part), batch_size)]
    return [groups[i] for i in rng.permutation(len(groups))]
