"""The sample of a training part that a model carries: what its export is scaled by and proven on."""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.data.batch import Batch
from torchliquid.models.model import Sample

LENGTH = 64
"""Samples of a piece at most."""

PIECES, NUMBERS = 64, 2**17
"""So many pieces, or fewer where they would hold more numbers than this; never fewer than 8."""


def covering(windows: list[Batch]) -> Sample:
    """Pieces of training windows: those around each input's largest and smallest value and around the longest gap, and
    as many beginnings of windows, evenly spaced over the whole part.

    Args:
        windows: all that the training part was cut into.
    """
    n_inputs = windows[0].inputs.shape[2]
    pieces = max(8, min(PIECES, NUMBERS // (LENGTH * n_inputs)))
    chosen = _around_extremes(windows, pieces // 2)
    rows = [(batch.where[row], b, row) for b, batch in enumerate(windows) for row in range(len(batch.lengths))]
    rows.sort()
    for at in np.unique(np.linspace(0, len(rows) - 1, pieces - len(chosen)).round().astype(int)):
        _, b, row = rows[at]
        chosen.append((b, row, 0, min(LENGTH, int(windows[b].lengths[row]))))
    longest = max(stop - start for _, _, start, stop in chosen)
    inputs = torch.zeros(len(chosen), longest, n_inputs)
    spans = torch.zeros(len(chosen), longest)
    for i, (b, row, start, stop) in enumerate(chosen):
        inputs[i, : stop - start] = windows[b].inputs[row, start:stop]
        spans[i, : stop - start] = windows[b].timespans[row, start:stop]
    return Sample(inputs, spans, torch.tensor([stop - start for _, _, start, stop in chosen]))


def _around_extremes(windows: list[Batch], pieces: int) -> list[tuple[int, int, int, int]]:
    """(batch, row, start, stop) of pieces around the extremes, the farthest from the mean first."""
    peaks: dict[tuple[int, bool], tuple[float, int, int, int]] = {}
    for b, batch in enumerate(windows):
        ended = torch.arange(batch.timespans.shape[1]) >= batch.lengths.unsqueeze(1)
        values = torch.cat([batch.inputs, batch.timespans.unsqueeze(2)], 2).masked_fill(ended.unsqueeze(2), torch.nan)
        flat: np.ndarray = values.flatten(0, 1).numpy()
        for smallest, where in ((False, np.nanargmax(flat, 0)), (True, np.nanargmin(flat, 0))):
            for column, at in enumerate(where):
                value = float(flat[at, column])
                best = peaks.get((column, smallest))
                if best is None or (value < best[0] if smallest else value > best[0]):
                    peaks[column, smallest] = (value, b, *divmod(int(at), values.shape[1]))
    chosen: list[tuple[int, int, int, int]] = []
    for _, b, row, t in sorted(peaks.values(), key=lambda peak: -abs(peak[0])):
        if len(chosen) == pieces:
            break
        if not any((b, row) == (i, j) and start <= t < stop for i, j, start, stop in chosen):
            length = int(windows[b].lengths[row])
            start = max(0, min(t - LENGTH // 2, length - LENGTH))
            chosen.append((b, row, start, min(start + LENGTH, length)))
    return chosen
