"""The sample of its training part that a model carries, used to scale and check its exports."""

from __future__ import annotations

import numpy as np
import torch

from torchliquid.data.batch import Batch
from torchliquid.models.model import Sample

LENGTH = 64
"""Maximum number of samples in a piece; fewer with pictures."""

PIECES, NUMBERS = 64, 2**17
"""``PIECES``: maximum number of pieces, fewer if they would hold more than ``NUMBERS`` numbers, but at least 8; with
pictures, of 8 samples each."""


def covering(windows: list[Batch]) -> Sample:
    """Pieces of training windows: those around each input's minimum and maximum and around the longest gap, and as many
    starts of windows, evenly spaced over the whole part.

    Args:
        windows: all windows of the training part.
    """
    n_inputs = windows[0].inputs.shape[2]
    most = max(8, min(PIECES, NUMBERS // (LENGTH * n_inputs)))
    length = max(8, min(LENGTH, 4 * NUMBERS // (8 * n_inputs)))
    chosen = _around_extremes(windows, most // 2, length)
    rows = sorted((batch.where[row], b, row) for b, batch in enumerate(windows) for row in range(len(batch.lengths)))
    for at in np.unique(np.linspace(0, len(rows) - 1, most - len(chosen)).round().astype(int)):
        _, b, row = rows[at]
        piece = _Piece(windows, b, row, 0, min(length, int(windows[b].lengths[row])))
        if not any(piece.overlaps(other) for other in chosen):
            chosen.append(piece)
    longest = max(piece.stop - piece.start for piece in chosen)
    inputs = torch.zeros(len(chosen), longest, n_inputs)
    spans = torch.zeros(len(chosen), longest)
    for i, one in enumerate(chosen):
        inputs[i, : one.stop - one.start] = windows[one.batch].inputs[one.row, one.start : one.stop]
        spans[i, : one.stop - one.start] = windows[one.batch].timespans[one.row, one.start : one.stop]
    return Sample(inputs, spans, torch.tensor([piece.stop - piece.start for piece in chosen]))


class _Piece:
    """Samples ``start`` to ``stop`` of a window, and where they are in which series."""

    def __init__(self, windows: list[Batch], batch: int, row: int, start: int, stop: int) -> None:
        self.batch, self.row, self.start, self.stop = batch, row, start, stop
        self.series, first, _ = windows[batch].where[row]
        self.first, self.last = first + start, first + stop

    def overlaps(self, other: _Piece) -> bool:
        return self.series == other.series and self.first < other.last and other.first < self.last


def _around_extremes(windows: list[Batch], most: int, longest: int) -> list[_Piece]:
    """Pieces of at most ``most`` samples around the extremes, the farthest from the mean first."""
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
    chosen: list[_Piece] = []
    for _, b, row, t in sorted(peaks.values(), key=lambda peak: -abs(peak[0])):
        if len(chosen) == most:
            break
        length = int(windows[b].lengths[row])
        start = max(0, min(t - longest // 2, length - longest))
        if not any(_Piece(windows, b, row, t, t + 1).overlaps(piece) for piece in chosen):
            chosen.append(_Piece(windows, b, row, start, min(start + longest, length)))
    return chosen
