"""An irregular series as one row: what each channel was on the whole, nothing of its order but the two ends."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from torchliquid.reproduce.protocol import Part


def summaries(part: Part) -> Float[np.ndarray, "N F"]:
    """Of the observed values of each channel the first, last, mean, least and greatest and their number; and the number
    of samples and the time from the first to the last.

    Args:
        part: its inputs are values, and behind them their mask.

    Returns:
        One row a series; NaN for a channel that was never observed.
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
