"""Sorts the samples of a recording by time, and checks its values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError

# An impossible reading: larger than IMPLAUSIBLE, or larger than HUGE and RATIO times the 90 % quantile of the channel.
IMPLAUSIBLE = 1e30
HUGE = 1e12
RATIO = 1e9
# A possible reading that looks like a placeholder: STRANGE times the 90 % quantile of the channel, or FAR interquartile
# ranges from the median and present ALIKE times exactly.
STRANGE = 1e4
FAR = 20
ALIKE = 3


def tidy(recording: Recording, notes: list[str], for_model: bool) -> Recording:
    """Sort each series by time, replace infinities by NaN, and check the values.

    Args:
        recording: as read.
        notes: notes so far; more are appended.
        for_model: whether the data are input for a trained model. Then one sample is enough, and channels without
            values (a silent sensor) and implausible readings (not observed, as live) are accepted with a note.

    Raises:
        InputError: there are no samples, a series has none, or times do not increase. Unless ``for_model``: there is
            one sample, a channel has no values, or a reading is implausible.
    """
    n, many = recording.n_samples, recording.n_series > 1
    if n == 0 or (n == 1 and not for_model):
        raise InputError(
            f"the recording has {'no rows' if n == 0 else 'one row'}; at least two samples are needed: check the file"
        )
    for s in recording.series:
        if not len(s):
            raise InputError(f"series {s.name!r} has no samples; leave it out")
    infinite = sum(int(np.isinf(s.values).sum()) for s in recording.series)
    if infinite:
        finite = (replace(s, values=np.where(np.isinf(s.values), np.nan, s.values)) for s in recording.series)
        recording = replace(recording, series=tuple(finite))
    recording, impossible = _without_implausible(recording, for_model)
    recording, wrong_targets = _with_plausible_targets(recording, for_model)
    series = [
        s.take(np.argsort(s.times, kind="stable")) if (np.diff(s.times) < 0).any() else s for s in recording.series
    ]
    recording = replace(recording, series=tuple(series))
    still = sum(int((np.diff(s.times) == 0).sum()) for s in series)
    if still == n - recording.n_series and still > 0:
        raise InputError(
            f"time stands still: all {n} samples have the time {series[0].times[0]:g}"
            + (" of their series" if many else "")
            + (f" in column {recording.columns['time']!r}" if "time" in recording.columns else "")
            + "; name another time column (one that contains date and time), or none for samples that are 1 apart"
        )
    impossible += wrong_targets
    empty = [c for c, share in zip(recording.channels, recording.missing_share(), strict=True) if share == 1]
    if empty and not for_model:
        raise InputError(
            f"there are no values in column {', '.join(map(repr, empty))}; correct the table, or leave them out "
            f"(ignore={empty!r}, --ignore for each)"
        )
    if not recording.channels:
        raise InputError("there is no numeric column left as an input; check the delimiter and the columns left out")

    if infinite:
        notes.append(f"{infinite} infinite values count as not observed.")
    notes += impossible
    if still:
        notes.append(f"{still} samples have the time of the previous sample; they are kept, with a span of zero.")
    if empty:
        notes.append(f"Channels without values: {', '.join(empty)}.")
    notes += _strange(recording)
    missing = float(recording.missing_share().mean())
    if missing > 0:
        notes.append(f"{missing:.1%} of the readings are missing; they stay missing (NaN) in the recording.")
    return replace(recording, notes=tuple(notes))


def _by_channel(recording: Recording) -> np.ndarray:
    """(C, N) all values of each channel."""
    return np.ascontiguousarray(np.concatenate([s.values for s in recording.series]).T)


def _most(values: np.ndarray) -> float:
    """90 % quantile. NumPy's own takes ten times as long, which matters for wide tables."""
    place = int(0.9 * (len(values) - 1))
    return float(np.partition(values, place)[place])


def _strange(recording: Recording) -> list[str]:
    """Notes on readings that may be placeholders for "not observed", such as -9999 or 65535."""
    notes = []
    columns = dict(zip(recording.channels, _by_channel(recording), strict=True))
    targets = _numeric_targets(recording)
    if targets is not None and targets.shape[1] == 1:
        columns[str(recording.target)] = targets[:, 0]
    for channel, values in columns.items():
        values = values[~np.isnan(values)]
        size = np.abs(values[values != 0])
        if len(size) < ALIKE:
            continue
        found = []
        if size.max() > STRANGE * _most(size):
            found.append(values[np.abs(values).argmax()])
        low, median, high = (pl.Series(values).quantile(q, "linear") or 0.0 for q in (0.25, 0.5, 0.75))
        for end in (values.min(), values.max()):
            far = abs(end - median)
            # In a long tail there are values in between.
            alone = far > FAR * (high - low) > 0 and not (np.abs(values - end) < far / 2)[values != end].any()
            if alone and (values == end).sum() >= ALIKE and end not in found:
                found.append(end)
        for value in found:
            times = int((values == value).sum())
            notes.append(
                f"{value:.15g} in column {channel!r} ({times} times) is far from all other values; if it means not "
                f"observed, declare it (missing=[{value:.15g}], --missing {value:.15g})."
            )
    return notes


def _without_implausible(recording: Recording, drop: bool) -> tuple[Recording, list[str]]:
    """Raise an error for impossible readings, or drop them with a note."""
    limits = np.array([_limit(values) for values in _by_channel(recording)])
    wrong = [np.abs(s.values) >= limits for s in recording.series]
    if drop:
        series = tuple(
            replace(s, values=np.where(w, np.nan, s.values)) for s, w in zip(recording.series, wrong, strict=True)
        )
        count = np.sum([w.sum(0) for w in wrong], axis=0)
        return replace(recording, series=series), [
            f"{n} values of {channel!r} are implausible; they count as not observed."
            for channel, n in zip(recording.channels, count, strict=True)
            if n
        ]
    for s, w in zip(recording.series, wrong, strict=True):
        for i, c in np.argwhere(w)[:1]:
            place = f"column {recording.channels[c]!r}, {_sample(recording, s, i)}{_of(recording, s)}"
            raise _implausible(s.values[i, c], place, "reading")
    return recording, []


def _sample(recording: Recording, series: Series, i: int) -> str:
    """A sample as its user counts: the row of a table, the time in a long table, or the index in an array."""
    if series.rows is not None:
        return f"row {series.rows[i]}"
    return f"time {series.times[i]:g}" if "parameter" in recording.columns else f"sample {i}"


def _of(recording: Recording, series: Series) -> str:
    return f" of series {series.name!r}" if recording.n_series > 1 else ""


def _implausible(value: float, place: str, what: str) -> InputError:
    return InputError(
        f"{value:g} in {place}, is not a plausible {what}; correct it, or declare it as missing (missing=[{value:g}], "
        f"--missing {value:g})"
    )


def _limit(values: np.ndarray) -> float:
    """The size from which a value among these is impossible."""
    size = np.abs(values)
    size = size[size > 0]  # drops NaN as well
    return min(IMPLAUSIBLE, max(HUGE, RATIO * _most(size))) if len(size) else IMPLAUSIBLE


def _numeric_targets(recording: Recording) -> np.ndarray | None:
    """(N, K) targets of all rows that are finite; None if there are none, or text."""
    known = [s.targets for s in recording.series if s.targets is not None]
    if not known or any(t.dtype == object for t in known):
        return None
    width = known[0].shape[-1] if known[0].ndim > 1 else 1
    rows = np.concatenate([t.reshape(-1, width) if t.size % width == 0 else t.reshape(-1, 1) for t in known])
    return rows[np.isfinite(rows).all(1)]


def _with_plausible_targets(recording: Recording, drop: bool) -> tuple[Recording, list[str]]:
    """The same for targets. Infinite ones are not labels."""
    known = _numeric_targets(recording)
    if known is None:
        return recording, []
    limits = np.array([_limit(column) for column in known.T])
    series, infinite, implausible = [], 0, 0
    for s in recording.series:
        if s.targets is None:
            series.append(s)
            continue
        infinities = np.isinf(s.targets)
        wrong = np.abs(s.targets) >= limits if s.targets.ndim > 1 else np.abs(s.targets) >= limits[0]
        wrong &= ~infinities
        if wrong.any() and not drop:
            place = np.argwhere(wrong)[0]
            value = float(s.targets[tuple(place)])
            at = f", {_sample(recording, s, place[0])}" if s.per_step else ""
            raise _implausible(value, f"the target {recording.target!r}{at}{_of(recording, s)}", "value")
        infinite += int(infinities.sum())
        implausible += int(wrong.sum())
        gone = infinities | wrong
        series.append(replace(s, targets=np.where(gone, np.nan, s.targets)) if gone.any() else s)
    notes = []
    if infinite:
        notes.append(f"{infinite} infinite values of the target {recording.target!r} do not count as labels.")
    if implausible:
        notes.append(f"{implausible} values of the target {recording.target!r} are implausible and no labels.")
    return replace(recording, series=tuple(series)), notes
