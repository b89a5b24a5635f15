"""Features of the tabular models: a sample, earlier samples with their ages, and statistics of the windows that end
with it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

MOST_VALUES = 1024
"""Maximum number of raw values as features; with more channels, they cover fewer samples."""


def features(
    inputs: np.ndarray,
    spans: np.ndarray,
    n_channels: int,
    windows: Sequence[int],
    rows: slice = slice(None),
    lags: int = 0,
    uneven: bool = True,
) -> np.ndarray:
    """(R, F) features, one row for each of the samples ``rows``.

    They consist of the sample's inputs; then, for each window (shorter at the start of the series), each channel's
    mean, standard deviation, minimum, maximum, least-squares slope over time and change from first to last value, with
    the share observed if the inputs contain the mask; then the channels' values at the ``lags`` samples before it, 0
    before the start of the series; and, if the inputs contain the mask, the age of each channel's last reading, at most
    as far back as the lags reach.

    For uneven series they also contain the logarithms of the span before the sample, of each window's duration and of
    the lags' ages, and each channel's mean over each of the last ``lags`` usual spans, with each value held until the
    next. Before the start of a series ages increase by usual spans.
    With even sampling these features would be constant but for a few samples, which misleads a linear model.

    Args:
        inputs: (T, n) from preprocessing: scaled channels, with the last value where not observed, then perhaps the
            mask.
        spans: (T,) before each sample.
        n_channels: number of channels among the inputs.
        windows: their lengths in samples; empty for the sample alone. They never include later samples.
        rows: indices of the samples.
        lags: number of earlier samples whose values are features.
        uneven: whether the time between samples varies.
    """
    x = inputs.astype(np.float64)
    times = np.cumsum(spans, dtype=np.float64)
    channels, seen = x[:, :n_channels], x[:, n_channels:]
    here = np.arange(len(x))[rows, None]
    parts = [x[rows]]
    if uneven:
        parts.append(np.log1p(spans.astype(np.float64))[here])
    for window in windows:
        if uneven:
            parts.append(np.log1p(_age(times, here, np.array([window - 1]))))
        parts += _statistics(channels, times, min(window, len(x)), rows)
        if seen.size:
            parts.append(_back(seen, window, 0.0)[rows].sum(2) / _counts(len(x), window)[rows])
    if lags:
        parts.append(_flat(_back(channels, lags + 1, 0.0)[rows, :, -2::-1]))
        oldest = np.maximum(here - lags, 0)
        if uneven:
            parts.append(np.log1p(_age(times, here, np.arange(1, lags + 1))))
            parts.append(_flat(-np.diff(_integral(channels, times, here, oldest, lags), axis=2)))
        if seen.size:
            last = np.maximum.accumulate(np.where(seen > 0, np.arange(len(x))[:, None], 0))[rows]
            parts.append(np.log1p(times[here] - times[np.maximum(last, oldest)]))
    return np.concatenate(parts, 1)


def aligned_places(length: int, n_channels: int) -> np.ndarray:
    """At most as many of the first ``length`` samples as :data:`MOST_VALUES` allow, evenly spaced."""
    most = max(MOST_VALUES // n_channels, 1)
    return np.unique(np.linspace(0, length - 1, min(length, most)).round().astype(int))


def aligned_values(inputs: np.ndarray, n_channels: int, length: int) -> np.ndarray:
    """(1, F) values of a series at fixed places. A shorter series repeats its last value."""
    places = aligned_places(length, n_channels)
    return inputs[np.minimum(places, len(inputs) - 1), :n_channels].astype(np.float64).reshape(1, -1)


def _age(times: np.ndarray, here: np.ndarray, lags: np.ndarray) -> np.ndarray:
    """(R, lags) time since each of the preceding samples, for the samples ``here``."""
    return times[here] - times[np.maximum(here - lags, 0)] + np.maximum(lags - here, 0)


def _integral(x: np.ndarray, times: np.ndarray, here: np.ndarray, oldest: np.ndarray, lags: int) -> np.ndarray:
    """(R, C, lags + 1) integral of each channel over time up to 0, 1, ... spans before the samples ``here``. Nothing is
    added before the ``oldest`` sample."""
    so_far = np.concatenate([np.zeros((1, x.shape[1])), np.cumsum(x[:-1] * np.diff(times)[:, None], 0)])
    until = np.maximum(times[here] - np.arange(lags + 1), times[oldest])
    held = np.maximum(np.searchsorted(times, until, side="right") - 1, oldest)
    return (so_far[held] + x[held] * (until - times[held])[:, :, None]).transpose(0, 2, 1)


def _statistics(x: np.ndarray, times: np.ndarray, window: int, rows: slice) -> list[np.ndarray]:
    back = _back(x, window, 0.0)[rows]
    count = _counts(len(x), window)[rows]
    inside = np.arange(window)[::-1] < count
    mean = back.sum(2) / count
    squares = np.einsum("tck,tck->tc", back, back) / count
    first = x[np.maximum(np.arange(len(x)) - window + 1, 0)][rows]
    # Times are relative to the window's end. They are small there, so that their squares keep all digits.
    clock = np.where(inside, _back(times[:, None], window, 0.0)[rows][:, 0] - times[rows, None], 0.0)
    clock = np.where(inside, clock - clock.sum(1, keepdims=True) / count, 0.0)
    spread = np.square(clock).sum(1, keepdims=True)
    slope = np.einsum("tk,tck->tc", clock, back) / np.where(spread > 0, spread, 1.0)
    return [
        mean,
        np.sqrt(np.maximum(squares - mean**2, 0)),
        _back(x, window, np.inf)[rows].min(2),
        _back(x, window, -np.inf)[rows].max(2),
        slope,
        x[rows] - first,
    ]


def _back(x: np.ndarray, window: int, before: float) -> np.ndarray:
    """(T, C, window) view: each sample, last, and those before it; ``before`` fills the places before the first."""
    padded = np.concatenate([np.full((window - 1, x.shape[1]), before), x])
    return sliding_window_view(padded, window, axis=0)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1)


def _counts(n: int, window: int) -> np.ndarray:
    return np.minimum(np.arange(1, n + 1), window)[:, None]
