"""Recordings from one or more arrays, which may differ in length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from torchliquid.data import given, order
from torchliquid.data.recording import Recording, Series
from torchliquid.data.tidy import tidy
from torchliquid.errors import InputError


def from_arrays(
    values: Any,
    times: Any,
    targets: Any,
    channels: Sequence[str] | None,
    target: str | None,
    time_unit: str | None,
    names: Sequence[str] | None,
    groups: Sequence[Any] | None = None,
    for_model: bool = False,
) -> Recording:
    """See :meth:`torchliquid.data.Recording.from_arrays`."""
    notes: list[str] = []
    one = isinstance(values, np.ma.MaskedArray) or hasattr(values, "__array__")  # a tensor, a frame of numbers
    if one:
        if given.names_of(values) is None and not isinstance(values, np.ma.MaskedArray):
            values = np.asarray(values)
        one = np.ndim(values) <= 2
    elif not isinstance(values, Sequence):
        raise InputError(f"values must be an array or a list of arrays, not {type(values).__name__}")
    parts = [values] if one else list(values)
    if not parts:
        raise InputError("no series were given")
    if times is None and all(_has_dates(part) for part in parts):
        times = parts[0].index if one else [part.index for part in parts]
        notes.append("The index contains dates; they were used as the times.")
    channels, all_values = _values(parts, [channels] if isinstance(channels, str) else channels)

    def each(what: str, given: Any) -> list[Any]:
        found = [None] * len(all_values) if given is None else list(given)
        if len(found) != len(all_values):
            raise InputError(f"{len(found)} {what} were given for {len(all_values)} series")
        return found

    all_times = each("times", [times] if one and times is not None else times)
    all_targets = each("targets", [targets] if one and targets is not None else targets)
    all_names = [str(name) for name in each("names", range(len(all_values)) if names is None else names)]
    kinds: set[str | None] = set()
    series: list[Series] = []
    for v, t, y, name, group in zip(all_values, all_times, all_targets, all_names, each("groups", groups), strict=True):
        if t is None:
            moments = np.arange(len(v), dtype=np.float64)
        else:
            moments, kind = given.moments(t, f"times of series {len(series)}")
            kinds.add(kind)
            if not np.isfinite(moments).all():
                raise InputError(f"series {name!r}: time {int(np.argmin(np.isfinite(moments)))} is missing")
        of_group = None if group is None else str(group)
        series.append(Series(moments, v, None if y is None else as_targets(y), name, of_group))
    if len(kinds) > 1:
        raise InputError("the times of all series must be of one type: dates, durations or numbers")
    typed = bool(kinds & {"date", "duration"})
    unit = "samples" if times is None else "s" if typed else time_unit or "units"
    target = target or str(getattr(targets, "name", None) or "target")
    recording = Recording(tuple(series), channels, None if targets is None else target, unit, dated="date" in kinds)
    times_of = [s.times for s in series]
    where = lambda i, j: f"sample {j} of series {all_names[i]!r}"  # noqa: E731
    notes += order.describe(times_of, times_of, local=False, dated=recording.dated, where=where)
    return tidy(recording, notes, for_model)


def _has_dates(part: Any) -> bool:
    return str(getattr(getattr(part, "index", None), "dtype", "")).startswith("datetime64")


def _values(parts: Sequence[Any], channels: Sequence[str] | None) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The channels' names, and each series' values (T, C) in their order."""
    names = [given.names_of(part) for part in parts]
    arrays = [_array(part, f"series {i}") for i, part in enumerate(parts)]
    first = names[0]
    if first is None:
        width = arrays[0].shape[1]
        return tuple(channels) if channels is not None else tuple(f"channel_{c + 1}" for c in range(width)), arrays
    wanted = tuple(first if channels is None else channels)
    for i, (own, array) in enumerate(zip(names, arrays, strict=True)):
        if own is not None:
            arrays[i] = array[:, given.by_name(own, wanted, f"series {i}")]
    return wanted, arrays


def as_targets(targets: Any) -> np.ndarray:
    """Targets as float64 (NaN: no label), or as text (None: no label) when any of them is text.

    Whole numbers of so many digits that a float would change them are names: text.

    Raises:
        InputError: rows of different lengths, complex numbers or times.
    """
    array, mask = given.unmasked(targets, "targets")
    if mask is not None and mask.any():
        array = array.astype(object)
        array[mask] = None
    if array.dtype.kind == "f" or (array.dtype.kind in "biu" and not _beyond_floats(array)):
        return array.astype(np.float64)
    if array.dtype.kind in "cmM":
        raise InputError(f"targets: {array.dtype} are neither numbers nor classes")
    flat = [None if given.is_missing(v) else v for v in array.reshape(-1).tolist()]
    if any(isinstance(v, str) or (isinstance(v, int) and abs(v) > given.EXACT) for v in flat):
        text = np.empty(len(flat), dtype=object)
        text[:] = [None if v is None else str(v) for v in flat]
        return text.reshape(array.shape)
    numbers = np.array([np.nan if v is None else float(v) for v in flat], dtype=np.float64)
    return numbers.reshape(array.shape)


def _beyond_floats(array: np.ndarray) -> bool:
    """Whether whole numbers, as names of many digits, would not be the same in a float."""
    return array.dtype.kind in "iu" and bool(((array > given.EXACT) | (array < -given.EXACT)).any())


def _array(values: Any, what: str) -> np.ndarray:
    array = given.floats(values, what)
    if array.ndim > 2:
        raise InputError(f"{what}: an array of shape {array.shape}; (T, C) is needed")
    return array if array.ndim == 2 else array[:, None] if array.ndim else array.reshape(1, 1)
