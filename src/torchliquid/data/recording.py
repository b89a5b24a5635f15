"""What was measured: samples, each with its time, as they came, holes and all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from torchliquid.errors import InputError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Series:
    """One unbroken run of samples.

    Attributes:
        times: (T,) float64, never decreasing, in the recording's time unit. Equal times are kept: the span between
            them is zero.
        values: (T, C) float64, NaN where not observed.
        targets: (T,) or (T, K) one a sample, or () one for the whole series. Numbers are float64 with NaN for "no
            label", labels are text (dtype object) with None for "no label".
        name: what the recording calls it, e.g. an engine's number.
    """

    times: Array
    values: Array
    targets: Array | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.times.shape != self.values.shape[:1]:
            raise InputError(
                f"series {self.name!r}: times {self.times.shape} and values {self.values.shape} must be (T,) and (T, C)"
            )
        if self.targets is not None and self.targets.ndim and len(self.targets) != len(self.values):
            raise InputError(f"series {self.name!r}: {len(self.targets)} targets for {len(self.values)} samples")

    def __len__(self) -> int:
        return len(self.times)

    @property
    def per_step(self) -> bool:
        """Whether each sample has a target of its own."""
        return self.targets is not None and self.targets.ndim > 0

    def cut(self, start: int, stop: int) -> Series:
        """Samples ``start`` to ``stop`` (exclusive); a target for the whole series stays."""
        targets = self.targets[start:stop] if self.targets is not None and self.targets.ndim else self.targets
        return replace(self, times=self.times[start:stop], values=self.values[start:stop], targets=targets)


@dataclass(frozen=True, eq=False)
class Recording:
    """Series that measure the same channels.

    Attributes:
        series: one or more.
        channels: the C names of what was measured, in the order of the values' columns.
        target: the target's name; None without one (in forecasting the target is a channel).
        time_unit: ``"s"`` when times were dates or clock times, else the unit the user named; ``"samples"`` when there
            was no time, ``"units"`` when it was numbers of an unnamed unit.
        notes: what reading found or mended, each a sentence.
        time_name, series_name: the columns that gave the times and the series, for reading the next file alike.
        dated: times are seconds since 1970-01-01 (UTC, or local where the dates had no zone).
    """

    series: tuple[Series, ...]
    channels: tuple[str, ...]
    target: str | None = None
    time_unit: str = "samples"
    notes: tuple[str, ...] = ()
    time_name: str | None = None
    series_name: str | None = None
    dated: bool = False

    def __post_init__(self) -> None:
        if len(set(self.channels)) != len(self.channels):
            raise InputError(f"channel names must differ: {', '.join(self.channels)}")
        for one in self.series:
            if one.values.shape[1] != len(self.channels):
                raise InputError(f"series {one.name!r} has {one.values.shape[1]} channels, not {len(self.channels)}")

    # -- made from

    @classmethod
    def read(cls, path: str | PathLike[str], **columns: Any) -> Recording:
        """Read a CSV (comma, semicolon, tab, bar or blanks between the fields) or Parquet file.

        Args:
            path: the file.
            columns: what its columns mean, as in :meth:`from_frame`.

        Raises:
            InputError: the file is missing, no table, broken, or as in :meth:`from_frame`.
        """
        from torchliquid.data import tables

        return tables.read(path, **columns)

    @classmethod
    def from_frame(cls, frame: Any, **columns: Any) -> Recording:
        """Take a Polars or pandas data frame, one row a sample or, with ``parameter`` and ``value``, one a reading.

        Args: see :func:`torchliquid.data.tables.from_frame`.

        Raises:
            InputError: see there.
        """
        from torchliquid.data import tables

        return tables.from_frame(frame, **columns)

    @classmethod
    def from_arrays(
        cls,
        values: Any,
        times: Any = None,
        targets: Any = None,
        channels: Sequence[str] | None = None,
        target: str = "target",
        time_unit: str | None = None,
        names: Sequence[str] | None = None,
    ) -> Recording:
        """Take one series as an array (T, C) or (T,), or many as a list of such arrays (or one array (N, T, C)).

        Args:
            values: numbers, NaN where not observed.
            times: (T,) numbers or datetime64 for each series; None: samples are 1 apart.
            targets: for one series an array of one target a sample; for many a list, each entry an array of one a
                sample or a single target for that series. Numbers or text.
            channels: names; None: ``channel_1``, ...
            target: the target's name, where targets are given.
            time_unit: unit of times that are numbers; None: ``"units"``.
            names: of the series; None: their places, from 0.

        Raises:
            InputError: shapes that do not fit, text among the values, times that stand still, less than two samples,
                a channel without any value, a value that no sensor measures.
        """
        one = isinstance(values, np.ndarray) and values.ndim <= 2
        all_values = [_numbers(v, f"series {i}") for i, v in enumerate([values] if one else values)]
        if not all_values:
            raise InputError("no series were given")
        all_times = [None] * len(all_values) if times is None else [times] if one else list(times)
        all_targets = [None] * len(all_values) if targets is None else [targets] if one else list(targets)
        for what, given in (("times", all_times), ("targets", all_targets)):
            if len(given) != len(all_values):
                raise InputError(f"{len(given)} {what} were given for {len(all_values)} series")
        width = all_values[0].shape[1]
        channels = tuple(channels) if channels is not None else tuple(f"channel_{c + 1}" for c in range(width))
        notes: list[str] = []
        dated = False
        series = []
        for i, (v, t, y) in enumerate(zip(all_values, all_times, all_targets, strict=True)):
            name = str(names[i]) if names is not None else str(i)
            if t is None:
                seconds = np.arange(len(v), dtype=np.float64)
            else:
                t = np.asarray(t)
                dated = dated or np.issubdtype(t.dtype, np.datetime64)
                seconds = _seconds(t) if np.issubdtype(t.dtype, np.datetime64) else _numbers(t, f"times of series {i}")
                seconds = seconds.reshape(-1)
                if not np.isfinite(seconds).all():
                    raise InputError(f"series {name!r}: time {int(np.argmin(np.isfinite(seconds)))} is missing")
            series.append(Series(seconds, v, None if y is None else as_targets(y), name))
        unit = "samples" if times is None else "s" if dated else time_unit or "units"
        recording = cls(tuple(series), channels, None if targets is None else target, unit, dated=dated)
        return tidy(recording, notes)

    @classmethod
    def from_aeon(
        cls, X: Any, y: Any = None, channels: Sequence[str] | None = None, target: str = "class"
    ) -> Recording:
        """Take aeon's collections: an array (N, C, T), or a list of arrays (C, T) of different lengths, one y each.

        Raises:
            InputError: as :meth:`from_arrays`.
        """
        values = [np.asarray(x).reshape(-1, np.shape(x)[-1]).T for x in X]
        return cls.from_arrays(values, targets=None if y is None else list(y), channels=channels, target=target)

    # -- known of it

    @property
    def n_series(self) -> int:
        return len(self.series)

    @property
    def n_samples(self) -> int:
        return sum(len(s) for s in self.series)

    def gaps(self) -> Array:
        """All spans between a sample and the one before it in its series, zeros included."""
        return np.concatenate([np.empty(0), *(np.diff(s.times) for s in self.series)])

    def median_gap(self) -> float:
        """Median span between distinct times; 1 where no series has two."""
        gaps = self.gaps()
        gaps = gaps[gaps > 0]
        return float(np.median(gaps)) if len(gaps) else 1.0

    def missing_share(self) -> Array:
        """(C,) the share of samples in which each channel was not observed."""
        missing = sum((np.isnan(s.values).sum(0) for s in self.series), np.zeros(len(self.channels)))
        return missing / max(self.n_samples, 1)

    # -- parts of it

    def select(self, indices: Iterable[int]) -> Recording:
        """The series at these places, in this order."""
        return replace(self, series=tuple(self.series[i] for i in indices))

    @staticmethod
    def concat(recordings: Sequence[Recording]) -> Recording:
        """One recording with the series of all, which must have the same channels, target and time unit.

        Raises:
            InputError: they have not.
        """
        first = recordings[0]
        for other in recordings[1:]:
            for what in ("channels", "target", "time_unit"):
                if getattr(other, what) != getattr(first, what):
                    raise InputError(
                        f"recordings differ in their {what}: {getattr(first, what)!r} and {getattr(other, what)!r}"
                    )
        notes = tuple(dict.fromkeys(note for r in recordings for note in r.notes))
        return replace(first, series=tuple(s for r in recordings for s in r.series), notes=notes)


# What one sample may be before it cannot have been measured: this many times the size of nine tenths of the channel's
# other readings, or beyond any unit at all.
IMPLAUSIBLE_RATIO = 1e9
IMPLAUSIBLE = 1e30


def tidy(
    recording: Recording,
    notes: list[str],
    rows: Sequence[Array] | None = None,
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
        InputError: less than two samples, times that stand still, a channel without any value, an implausible value.
    """
    n, many = recording.n_samples, recording.n_series > 1
    if n < 2:
        raise InputError(
            f"the recording has {'no rows' if n == 0 else 'one row'}: at least two samples are needed, check the file"
        )
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
            + (f" in column {recording.time_name!r}" if recording.time_name else "")
            + "; name another time column, or none for samples in a row"
        )
    _refuse_implausible(recording, numbers, where)
    empty = [c for c, share in zip(recording.channels, recording.missing_share(), strict=True) if share == 1]
    if empty and not may_be_empty:
        raise InputError(
            f"{_columns(empty)} no value at all; leave {'it' if len(empty) == 1 else 'them'} out "
            f"(ignore={empty!r}, or --ignore for each)"
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
        notes.append(f"{_columns(empty)} no value at all.")
    missing = float(recording.missing_share().mean())
    if missing > 0:
        notes.append(f"{missing:.1%} of the readings are missing; they stay missing (NaN) in the recording.")
    return replace(recording, notes=tuple(notes))


def as_targets(targets: Any) -> Array:
    """Targets as float64 (NaN: no label), or as text (None: no label) when any of them is text."""
    array = np.asarray(targets)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64)
    flat = [None if v is None or v != v else v for v in array.reshape(-1).tolist()]
    if any(isinstance(v, str) for v in flat):
        text = np.empty(len(flat), dtype=object)
        text[:] = [None if v is None else str(v) for v in flat]
        return text.reshape(array.shape)
    numbers = np.array([np.nan if v is None else float(v) for v in flat], dtype=np.float64)
    return numbers.reshape(array.shape)


def _numbers(values: Any, what: str) -> Array:
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: not an array of numbers ({error})") from None
    return array if array.ndim == 2 else array.reshape(len(array), -1) if array.ndim else array.reshape(1, 1)


def _seconds(times: Array) -> Array:
    """datetime64 as seconds since 1970; float64 keeps a quarter of a microsecond there."""
    seconds = times.astype("datetime64[ns]").astype(np.int64) / 1e9
    return np.where(np.isnat(times), np.nan, seconds)


def _refuse_implausible(recording: Recording, rows: Sequence[Array], where: str) -> None:
    for c, channel in enumerate(recording.channels):
        size = np.concatenate([np.abs(s.values[:, c]) for s in recording.series])
        known = size[size > 0]  # drops NaN as well
        if not len(known):
            continue
        usual = np.quantile(known, 0.9, method="lower")
        limit = min(IMPLAUSIBLE, max(usual, np.finfo(np.float64).tiny) * IMPLAUSIBLE_RATIO)
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


def _columns(names: Sequence[str]) -> str:
    listed = ", ".join(repr(n) for n in names)
    return f"column {listed} has" if len(names) == 1 else f"columns {listed} have"
