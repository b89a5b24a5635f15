"""What the tabular models see: a sample and statistics of the windows that end with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def features(
    inputs: np.ndarray, spans: np.ndarray, n_channels: int, windows: Sequence[int], last_only: bool = False
) -> np.ndarray:
    """(T, F) or, for the last sample alone, (1, F).

    The sample's inputs and the logarithm of the span before it; then for each window, shorter at the start of the
    series, the logarithm of its duration and each channel's mean, deviation, smallest and largest value, slope by least
    squares over time and change from first to last, with the share observed where the inputs tell it.

    Args:
        inputs: (T, n) as preprocessing makes them: scaled channels, held where not observed, then perhaps the mask.
        spans: (T,) before each sample.
        n_channels: how many of the inputs are channels.
        windows: their lengths in samples, none to see the sample alone; the future is never looked at.
        last_only: for a live step, or a series as a whole.
    """
    x = inputs.astype(np.float64)
    times = np.cumsum(spans, dtype=np.float64)
    rows = slice(-1, None) if last_only else slice(None)
    parts = [x[rows], np.log1p(spans.astype(np.float64))[rows, None]]
    for window in windows:
        parts += _statistics(x[:, :n_channels], times, min(window, len(x)), rows)
        if x.shape[1] > n_channels:
            seen, count = _back(x[:, n_channels:], window, 0.0)[rows], _counts(len(x), window)[rows]
            parts.append(seen.sum(2) / count)
    return np.concatenate(parts, 1)


def _statistics(x: np.ndarray, times: np.ndarray, window: int, rows: slice) -> list[np.ndarray]:
    back = _back(x, window, 0.0)[rows]
    count = _counts(len(x), window)[rows]
    inside = np.arange(window)[::-1] < count
    mean = back.sum(2) / count
    squares = np.einsum("tck,tck->tc", back, back) / count
    first = x[np.maximum(np.arange(len(x)) - window + 1, 0)][rows]
    began = times[np.maximum(np.arange(len(x)) - window + 1, 0)][rows]
    # Times are taken from the window's end, where they are small, so that squares lose nothing.
    clock = np.where(inside, _back(times[:, None], window, 0.0)[rows][:, 0] - times[rows, None], 0.0)
    clock = np.where(inside, clock - clock.sum(1, keepdims=True) / count, 0.0)
    spread = np.square(clock).sum(1, keepdims=True)
    slope = np.einsum("tk,tck->tc", clock, back) / np.where(spread > 0, spread, 1.0)
    return [
        np.log1p(times[rows] - began)[:, None],
        mean,
        np.sqrt(np.maximum(squares - mean**2, 0)),
        _back(x, window, np.inf)[rows].min(2),
        _back(x, window, -np.inf)[rows].max(2),
        slope,
        x[rows] - first,
    ]


def _back(x: np.ndarray, window: int, before: float) -> np.ndarray:
    """(T, C, window) view: for each sample itself, last, and those before it; ``before`` where there are none."""
    padded = np.concatenate([np.full((window - 1, x.shape[1]), before), x])
    return sliding_window_view(padded, window, axis=0)


def _counts(n: int, window: int) -> np.ndarray:
    return np.minimum(np.arange(1, n + 1), window)[:, None]
