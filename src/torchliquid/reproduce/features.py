"""Sequences as rows of a table, for models that ignore order."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from torchliquid.reproduce.protocol import Parts, Sequences

SAMPLES = (1, 8)
"""Numbers of samples that a row contains, up to the current one; the validation part chooses."""


def views(parts: Parts) -> list[tuple[Float[np.ndarray, "R F"], ...]]:
    """Training, validation and test part in each form that a model may use: sequences with one label each as summaries,
    others as one row per sample with the preceding samples, see :data:`SAMPLES`."""
    if parts.train.lengths is not None:
        return [tuple(map(summaries, parts.pieces))]
    return [tuple(lagged(part, samples) for part in parts.pieces) for samples in SAMPLES]


def lagged(part: Sequences, samples: int) -> Float[np.ndarray, "R F"]:
    """For each sample the inputs and timespans of the last samples of its sequence, 0 before the first."""
    x = torch.cat([part.inputs, part.timespans.unsqueeze(2)], 2).double()
    earlier = [torch.nn.functional.pad(x, (0, 0, back, 0))[:, : x.shape[1]] for back in range(samples)]
    rows: np.ndarray = torch.cat(earlier, 2).flatten(0, 1).numpy()
    return rows


def summaries(part: Sequences) -> Float[np.ndarray, "N F"]:
    """An irregular series as one row: for each channel the first, last, mean, smallest and largest observed value and
    their number; and the number of samples and the time from the first to the last.

    Args:
        part: its inputs are values, followed by their mask.

    Returns:
        One row per series; NaN for a channel that was never observed.
    """
    assert part.lengths is not None
    rows = []
    for series, spans, n in zip(part.inputs.numpy(), part.timespans.numpy(), part.lengths.numpy(), strict=True):
        values, observed = np.split(series[:n], 2, axis=1)
        x = np.where(observed > 0, values, np.nan)
        count = (observed > 0).sum(0)
        ever = count > 0
        row = np.full((5, x.shape[1]), np.nan)
        first, last = (observed > 0).argmax(0)[ever], n - 1 - (observed[::-1] > 0).argmax(0)[ever]
        x = x[:, ever]
        across = np.arange(x.shape[1])
        row[:, ever] = x[first, across], x[last, across], np.nanmean(x, 0), np.nanmin(x, 0), np.nanmax(x, 0)
        rows.append(np.concatenate([row.ravel(), count, [n, spans[1:n].sum()]]))
    return np.stack(rows)
