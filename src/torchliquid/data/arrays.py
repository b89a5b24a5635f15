"""Recordings from arrays, one or many of different lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.data.tidy import tidy
from torchliquid.errors import InputError


def from_arrays(
    values: Any,
    times: Any,
    targets: Any,
    channels: Sequence[str] | None,
    target: str,
    time_unit: str | None,
    names: Sequence[str] | None,
    groups: Sequence[Any] | None = None,
) -> Recording:
    """See :meth:`torchliquid.data.Recording.from_arrays`."""
    if hasattr(values, "__array__"):  # a tensor or a frame of numbers is one array as well
        values = np.asarray(values)
    elif not isinstance(values, Sequence):
        raise InputError(f"values are an array or a list of arrays, not {type(values).__name__}")
    one = isinstance(values, np.ndarray) and values.ndim <= 2
    all_values = [_array(v, f"series {i}") for i, v in enumerate([values] if one else values)]
    if not all_values:
        raise InputError("no series were given")
    all_times = [None] * len(all_values) if times is None else [times] if one else list(times)
    all_targets = [None] * len(all_values) if targets is None else [targets] if one else list(targets)
    all_names = list(names) if names is not None else [str(i) for i in range(len(all_values))]
    all_groups = list(groups) if groups is not None else [None] * len(all_values)
    for what, given in (("times", all_times), ("targets", all_targets), ("names", all_names), ("groups", all_groups)):
        if len(given) != len(all_values):
            raise InputError(f"{len(given)} {what} were given for {len(all_values)} series")
    width = all_values[0].shape[1]
    channels = tuple(channels) if channels is not None else tuple(f"channel_{c + 1}" for c in range(width))
    notes: list[str] = []
    dated = False
    series = []
    for i, (v, t, y) in enumerate(zip(all_values, all_times, all_targets, strict=True)):
        name = str(all_names[i])
        if t is None:
            seconds = np.arange(len(v), dtype=np.float64)
        else:
            t = np.asarray(t)
            dated = dated or np.issubdtype(t.dtype, np.datetime64)
            seconds = _seconds(t) if np.issubdtype(t.dtype, np.datetime64) else _array(t, f"times of series {i}")
            seconds = seconds.reshape(-1)
            if not np.isfinite(seconds).all():
                raise InputError(f"series {name!r}: time {int(np.argmin(np.isfinite(seconds)))} is missing")
        group = None if all_groups[i] is None else str(all_groups[i])
        series.append(Series(seconds, v, None if y is None else as_targets(y), name, group))
    unit = "samples" if times is None else "s" if dated else time_unit or "units"
    recording = Recording(tuple(series), channels, None if targets is None else target, unit, dated=dated)
    return tidy(recording, notes)


def as_targets(targets: Any) -> np.ndarray:
    """Targets as float64 (NaN: no label), or as text (None: no label) when any of them is text.

    Raises:
        InputError: rows of different lengths.
    """
    try:
        array = np.asarray(targets)
    except ValueError as error:
        raise InputError(f"targets: not an array ({error})") from None
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    flat = [None if v is None or v != v else v for v in array.reshape(-1).tolist()]
    if any(isinstance(v, str) for v in flat):
        text = np.empty(len(flat), dtype=object)
        text[:] = [None if v is None else str(v) for v in flat]
        return text.reshape(array.shape)
    numbers = np.array([np.nan if v is None else float(v) for v in flat], dtype=np.float64)
    return numbers.reshape(array.shape)


def _array(values: Any, what: str) -> np.ndarray:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: not an array of numbers ({error})") from None
    if array.ndim > 2:
        raise InputError(f"{what}: an array of shape {array.shape}; (T, C) is needed")
    return array if array.ndim == 2 else array[:, None] if array.ndim else array.reshape(1, 1)


def _seconds(times: np.ndarray) -> np.ndarray:
    """datetime64 as seconds since 1970; float64 keeps a quarter of a microsecond there."""
    whole, rest = np.divmod(times.astype("datetime64[ns]").astype(np.int64), 10**9)
    seconds = whole + rest / 1e9
    return np.where(np.isnat(times), np.nan, seconds)
