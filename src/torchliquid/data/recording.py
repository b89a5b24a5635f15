"""What was measured: samples, each with its time, as they came, holes and all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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
        group: what it has in common with others, e.g. the person measured; None: nothing. Series of one group are never
            in two parts of a split, and count as one where figures get their intervals.
        rows: (T,) the row of each sample in the table that it was read from, as its user counts; None: there is none.
        file: the file that it was read from, where there were several.
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

    @property
    def per_step(self) -> bool:
        """Whether each sample has a target of its own."""
        return self.targets is not None and self.targets.ndim > 0

    def cut(self, start: int, stop: int) -> Series:
        """Samples ``start`` to ``stop`` (exclusive); a target for the whole series stays."""
        targets = self.targets[start:stop] if self.targets is not None and self.targets.ndim else self.targets
        rows = None if self.rows is None else self.rows[start:stop]
        return replace(self, times=self.times[start:stop], values=self.values[start:stop], targets=targets, rows=rows)


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
        columns: how the table that it was read from is to be understood (``time``, ``series``, ``parameter``,
            ``value``, ``group``, ``missing``, ``time_unit``, ``time_format``, ``date_order``, ``decimal``,
            ``on_restart`` of :meth:`from_frame`, where given or found, and what of :meth:`read` was given): plain data,
            for reading the next file alike, as its ``like``.
        dated: times are seconds since 1970-01-01 (UTC, or local where the dates had no zone).
        zoned: they are in UTC.
        origin: what was taken off all times, in their unit, so that nanoseconds are not lost in a float; else 0.
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
            raise InputError(f"channel names must differ: {', '.join(self.channels)}")
        for one in self.series:
            if one.values.shape[1] != len(self.channels):
                raise InputError(f"series {one.name!r} has {one.values.shape[1]} channels, not {len(self.channels)}")

    # -- made from

    @classmethod
    def read(cls, path: str | PathLike[str] | Sequence[str | PathLike[str]], **columns: Any) -> Recording:
        """Read a table's file, or several: CSV and other text, Parquet, Arrow, JSON lines, spreadsheets, ARFF, ``.ts``.

        Args:
            path: the file, a folder, or a list of files, a series each; ``"-"`` is the standard input.
            columns: what its columns mean, as in :func:`torchliquid.data.tables.from_frame`; and of text files
                ``skip``, ``comment``, ``header`` and ``encoding``, as in :func:`torchliquid.data.tables.read`.

        Raises:
            InputError: the file is missing, no table, broken, or as in :meth:`from_frame`.
        """
        from torchliquid.data.tables import read

        return read(path, **columns)

    @classmethod
    def from_frame(cls, frame: Any, **columns: Any) -> Recording:
        """Take a Polars or pandas data frame, one row a sample or, with ``parameter`` and ``value``, one a reading.

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
        """Take one series as an array (T, C) or (T,), or many as a list of such arrays (or one array (N, T, C)).

        Args:
            values: numbers, NaN or masked where not observed. Data frames keep their columns' names, and their index as
                times where it holds dates.
            times: (T,) for each series: numbers; or datetime64, timedelta64, datetimes or dates in ISO's form, which
                become seconds, those with a zone in UTC. None: samples are 1 apart.
            targets: for one series an array of one target a sample; for many a list, each entry an array of one a
                sample or a single target for that series. Numbers or text.
            channels: names; of frames the columns to take; None: a frame's own, else ``channel_1``, ...
            target: the target's name, where targets are given; None: a pandas Series' own, else ``target``.
            time_unit: unit of times that are numbers; None: ``"units"``.
            names: of the series; None: their places, from 0.
            groups: what each series has in common with others, e.g. the person measured; None: nothing. Series of one
                group are never in two parts of a split.
            for_model: a trained model is to answer on it: one sample is enough, a channel may be empty of values, and a
                value that no sensor measures is taken as not observed.

        Raises:
            InputError: shapes or names that do not fit, text or complex numbers among the values, times that stand
                still, dates before 1678 or after 2261; unless ``for_model`` also less than two samples, a channel
                without any value, a value that no sensor measures.
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
        """Take aeon's collections: an array (N, C, T), or a list of arrays (C, T) of different lengths, one y each, and
        ``groups`` as in :meth:`from_arrays`.

        Raises:
            InputError: as :meth:`from_arrays`.
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
