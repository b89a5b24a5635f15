"""What every recording must be before it leaves the reading: in order of time, and possible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError

# A reading that cannot have been measured: beyond any unit, or huge and this many times the size of nine tenths of the
# channel's other readings.
IMPLAUSIBLE = 1e30
HUGE = 1e12
RATIO = 1e9


def tidy(
    recording: Recording,
    notes: list[str],
    rows: Sequence[np.ndarray] | None = None,
    where: str = "sample {}",
    may_be_empty: bool = False,
) -> Recording:
    """Put each series in order of time, turn infinities into "not observed" and refuse what cannot be used.

    Args:
        recording: as read.
        notes: of the reading so far; the rest is added.
        rows: for each series the row of each sample in the user's own counting.
        where: how a row is named in an error.
        may_be_empty: accept channels without any value (a silent sensor in data to predict on), with a note.

    Raises:
        InputError: less than two samples, a series without any, times that stand still, a channel without any
            value, an implausible value.
    """
    n, many = recording.n_samples, recording.n_series > 1
    if n < 2:
        raise InputError(
            f"the recording has {'no rows' if n == 0 else 'one row'}: at least two samples are needed, check the file"
        )
    for s in recording.series:
        if not len(s):
            raise InputError(f"series {s.name!r} has no sample; leave it out")
    late = infinite = still = 0
    series, numbers = [], []
    for i, s in enumerate(recording.series):
        row = rows[i] if rows is not None else np.arange(len(s))
        backwards = np.diff(s.times) < 0
        if backwards.any():
            late += int(backwards.sum())
            order = np.argsort(s.times, kind="stable")
            targets = s.targets[order] if s.per_step and s.targets is not None else s.targets
            s, row = Series(s.times[order], s.values[order], targets, s.name), row[order]
        infinities = np.isinf(s.values)
        if infinities.any():
            infinite += int(infinities.sum())
            s = replace(s, values=np.where(infinities, np.nan, s.values))
        still += int((np.diff(s.times) == 0).sum())
        series.append(s)
        numbers.append(row)
    recording = replace(recording, series=tuple(series))

    if still == n - recording.n_series and still > 0:
        raise InputError(
            f"time stands still: all {n} samples have the time {series[0].times[0]:g}"
            + (" of their series" if many else "")
            + (f" in column {recording.columns['time']!r}" if "time" in recording.columns else "")
            + "; name another time column, or none for samples in a row"
        )
    _refuse_implausible(recording, numbers, where)
    empty = [c for c, share in zip(recording.channels, recording.missing_share(), strict=True) if share == 1]
    if empty and not may_be_empty:
        raise InputError(
            f"not one value in column {', '.join(map(repr, empty))}; mend the table, or leave out what is empty "
            f"(ignore={empty!r}, --ignore for each)"
        )
    if not recording.channels:
        raise InputError("no column of numbers is left to learn from; check the delimiter and the columns left out")

    if late:
        notes.append(f"{late} rows came before the one above them in time; the rows were put in order.")
    if infinite:
        notes.append(f"{infinite} infinite values were taken as not observed.")
    if still:
        notes.append(f"{still} samples have the time of the sample before them; they are kept, a span of zero apart.")
    if empty:
        notes.append(f"No value at all: {', '.join(empty)}.")
    missing = float(recording.missing_share().mean())
    if missing > 0:
        notes.append(f"{missing:.1%} of the readings are missing; they stay missing (NaN) in the recording.")
    return replace(recording, notes=tuple(notes))


def _refuse_implausible(recording: Recording, rows: Sequence[np.ndarray], where: str) -> None:
    for c, channel in enumerate(recording.channels):
        size = np.concatenate([np.abs(s.values[:, c]) for s in recording.series])
        known = size[size > 0]  # drops NaN as well
        if not len(known):
            continue
        limit = min(IMPLAUSIBLE, max(HUGE, RATIO * np.quantile(known, 0.9, method="lower")))
        if known.max() < limit:
            continue
        for s, row in zip(recording.series, rows, strict=True):
            wrong = np.flatnonzero(np.abs(s.values[:, c]) >= limit)
            if len(wrong):
                value = s.values[wrong[0], c]
                series = f" of series {s.name!r}" if recording.n_series > 1 else ""
                raise InputError(
                    f"{value:g} in column {channel!r}, {where.format(row[wrong[0]])}{series}, is no plausible reading; "
                    f"mend it, or name it as a missing value (missing=[{value:g}], --missing {value:g})"
                )
