"""Recordings: series of samples with their times and missing values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import numpy as np

from torchliquid import notebook
from torchliquid.errors import InputError

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Series:
    """One continuous run of samples.

    Attributes:
        times: (T,) float64, not decreasing, in the recording's time unit. Equal times have a span of zero.
        values: (T, C) float64, NaN if not observed; uint8 where they are pictures alone.
        targets: (T,) or (T, K) per sample, or () for the whole series. Numbers are float64 with NaN for "no label",
            labels are text (dtype object) with None for "no label".
        name: name of the series, e.g. an engine's number.
        group: what it shares with other series, e.g. the person measured; None: nothing. A group is never split over
            two parts, and counts as one block in intervals.
        rows: (T,) row number of each sample in its table, as the user counts; None: it has no table.
        file: the file it was read from, if there were several.
    """

    times: Array
    values: Array
    targets: Array | None = None
    name: str = ""
    group: str | None = None
    rows: Array | None = None
    file: str | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.times.shape != self.values.shape[:1]:
            raise InputError(
                f"series {self.name!r}: times {self.times.shape} and values {self.values.shape} must be (T,) and (T, C)"
            )
        if self.targets is not None and self.targets.ndim and len(self.targets) != len(self.values):
            raise InputError(f"series {self.name!r}: {len(self.targets)} targets for {len(self.values)} samples")

    def __len__(self) -> int:
        return len(self.times)

    def __repr__(self) -> str:
        samples, channels = self.values.shape
        return f"<Series {self.name!r}: {samples:,} samples of {channels:,} channels>"

    @property
    def per_step(self) -> bool:
        """Whether there is a target for each sample."""
        return self.targets is not None and self.targets.ndim > 0

    def take(self, which: Array | slice) -> Series:
        """The samples with these indices, in this order. A target for the whole series is kept."""
        targets = self.targets[which] if self.targets is not None and self.targets.ndim else self.targets
        rows = None if self.rows is None else self.rows[which]
        return replace(self, times=self.times[which], values=self.values[which], targets=targets, rows=rows)

    def cut(self, start: int, stop: int) -> Series:
        """Samples ``start`` to ``stop`` (exclusive). A target for the whole series is kept."""
        return self.take(slice(start, stop))


@dataclass(frozen=True, eq=False)
class Recording:
    """Series with the same channels.

    Attributes:
        series: one or more.
        channels: C names, in the order of the columns of ``values``.
        target: name of the target; None if there is none (in forecasting the target is a channel).
        time_unit: ``"s"`` if times were dates or times of day, else the unit the user named; ``"samples"`` if there are
            no times, ``"units"`` for numbers without a named unit.
        notes: sentences about what was found or repaired while reading.
        columns: how the table was read, plain data: ``time``, ``series``, ``parameter``, ``value``, ``group``,
            ``missing``, ``time_unit``, ``time_format``, ``date_order``, ``decimal``, ``on_restart`` of
            :meth:`from_frame`, if given or inferred, and the options of :meth:`read`. Pass it as ``like`` to read
            another file in the same way.
        dated: whether times are seconds since 1970-01-01 (UTC, or local time if the dates have no zone).
        zoned: whether times are in UTC.
        origin: subtracted from all times, in their unit, so that nanoseconds are not lost in a float; else 0.
    """

    series: tuple[Series, ...]
    channels: tuple[str, ...]
    target: str | None = None
    time_unit: str = "samples"
    notes: tuple[str, ...] = ()
    columns: Mapping[str, Any] = field(default_factory=dict)
    dated: bool = False
    zoned: bool = False
    origin: int = 0

    def __post_init__(self) -> None:
        if len(set(self.channels)) != len(self.channels):
            raise InputError(f"channel names must be unique: {', '.join(self.channels)}")
        for one in self.series:
            if one.values.shape[1] != len(self.channels):
                raise InputError(f"series {one.name!r} has {one.values.shape[1]} channels, not {len(self.channels)}")

    def __repr__(self) -> str:
        target = "" if self.target is None else f"; target {self.target}"
        return f"<Recording: {self._samples()}; channels {notebook.some(self.channels)}{target}>"

    def _samples(self) -> str:
        gap = f", usually {self.median_gap():.4g} {self.time_unit} apart" if self.time_unit != "samples" else ""
        return f"{self.n_samples:,} samples in {self.n_series:,} series{gap}"

    def _repr_html_(self) -> str:
        """A summary for notebooks."""
        values = sum(s.values.size for s in self.series)
        missing = sum(s.values.size - np.isfinite(s.values).sum() for s in self.series) / max(values, 1)
        rows = [
            ("size", self._samples()),
            ("channels", notebook.some(self.channels)),
            ("missing", f"{missing:.1%} of the readings"),
            ("target", self.target or "none"),
            *(("note", note) for note in self.notes),
        ]
        return notebook.table("Recording", rows)

    # -- made from

    @classmethod
    def read(cls, path: str | PathLike[str] | Sequence[str | PathLike[str]], **columns: Any) -> Recording:
        """Read one or more tables: CSV and other text, Parquet, Arrow, JSON lines, spreadsheets, ARFF, ``.ts``.

        Args:
            path: a file, a folder, or a list of files, each one series; ``"-"`` is standard input.
            columns: the other arguments of :func:`torchliquid.read`.

        Raises:
            InputError: the file is missing, damaged or not a table, or as for :meth:`from_frame`.
        """
        from torchliquid.data import reading, tables

        tables.check_options(columns, *tables.OF_TEXT)
        return reading.read(path, **columns)

    @classmethod
    def from_frame(cls, frame: Any, **columns: Any) -> Recording:
        """Convert a Polars or pandas data frame with one row per sample or, with ``parameter`` and ``value``, per
        reading.

        Args: see :func:`torchliquid.data.tables.from_frame`.

        Raises:
            InputError: see there.
        """
        from torchliquid.data.tables import from_frame

        return from_frame(frame, **columns)

    @classmethod
    def from_arrays(
        cls,
        values: Any,
        times: Any = None,
        targets: Any = None,
        channels: Sequence[str] | None = None,
        target: str | None = None,
        time_unit: str | None = None,
        names: Sequence[str] | None = None,
        groups: Sequence[Any] | None = None,
        for_model: bool = False,
    ) -> Recording:
        """Create a recording from one array (T, C) or (T,), or from a list of such arrays or an array (N, T, C).

        Args:
            values: numbers, NaN or masked if not observed. The columns of a data frame give the channels, and its index
                the times if it contains dates.
            times: (T,) for each series. Numbers keep their unit; datetime64, timedelta64, datetimes and ISO strings
                become seconds, those with a zone in UTC. None: samples are 1 apart.
            targets: for one series an array with one target per sample; for several a list with an array or a single
                target for each. Numbers or text.
            channels: names; for data frames the columns to use; None: all columns, else ``channel_1``, ...
            target: name of the target; None: that of a pandas Series, else ``target``.
            time_unit: unit of numeric times; None: ``"units"``.
            names: of the series; None: their indices.
            groups: what each series shares with others, e.g. the person measured; None: nothing. A group is never split
                over two parts.
            for_model: whether the data are input for a trained model. Then one sample is enough, a channel may have no
                values, and impossible readings count as not observed.

        Raises:
            InputError: shapes or names do not match, values are text or complex, times do not increase, or dates are
                before 1678 or after 2261. Unless ``for_model``: there are fewer than two samples, a channel has no
                values, or a reading is impossible.
        """
        from torchliquid.data.arrays import from_arrays

        return from_arrays(values, times, targets, channels, target, time_unit, names, groups, for_model)

    @classmethod
    def from_aeon(
        cls,
        X: Any,
        y: Any = None,
        channels: Sequence[str] | None = None,
        target: str = "class",
        groups: Sequence[Any] | None = None,
    ) -> Recording:
        """Create a recording from a collection of aeon: an array (N, C, T), or a list of arrays (C, T), with labels
        (N,).

        Args:
            X: the collection.
            y: one label per series.
            channels, target, groups: as in :meth:`from_arrays`.

        Raises:
            InputError: as for :meth:`from_arrays`.
        """
        values = [np.asarray(x).reshape(-1, np.shape(x)[-1]).T for x in X]
        targets = None if y is None else list(y)
        return cls.from_arrays(values, targets=targets, channels=channels, target=target, groups=groups)

    # -- known of it

    @property
    def n_series(self) -> int:
        return len(self.series)

    @property
    def grouped(self) -> bool:
        """Whether any series belongs to a group."""
        return any(s.group is not None for s in self.series)

    @property
    def n_samples(self) -> int:
        return sum(len(s) for s in self.series)

    def gaps(self) -> Array:
        """All spans between consecutive samples of a series, including zeros."""
        return np.concatenate([np.empty(0), *(np.diff(s.times) for s in self.series)])

    def median_gap(self) -> float:
        """Median of the spans that are not zero; 1 if there are none."""
        gaps = self.gaps()
        gaps = gaps[gaps > 0]
        return float(np.median(gaps)) if len(gaps) else 1.0

    def missing_share(self) -> Array:
        """(C,) share of samples in which each channel is not observed."""
        missing = sum((np.isnan(s.values).sum(0) for s in self.series), np.zeros(len(self.channels)))
        return missing / max(self.n_samples, 1)

    # -- parts of it

    def select(self, indices: Iterable[int]) -> Recording:
        """The series with these indices, in this order."""
        return replace(self, series=tuple(self.series[i] for i in indices))

    @staticmethod
    def concat(recordings: Sequence[Recording]) -> Recording:
        """Join recordings with the same channels, target and time unit.

        Raises:
            InputError: these differ, or there are none.
        """
        if not recordings:
            raise InputError("no recordings were given")
        first = recordings[0]
        for other in recordings[1:]:
            for what in ("channels", "target", "time_unit"):
                if getattr(other, what) != getattr(first, what):
                    raise InputError(
                        f"recordings differ in their {what}: {getattr(first, what)!r} and {getattr(other, what)!r}"
                    )
        notes = tuple(dict.fromkeys(note for r in recordings for note in r.notes))
        return replace(first, series=tuple(s for r in recordings for s in r.series), notes=notes)
