"""Recordings from tables: wide (one row a sample) or long (one row a reading: time, parameter, value)."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from torchliquid.data import columns
from torchliquid.data.files import read_table
from torchliquid.data.recording import Recording, Series
from torchliquid.data.tidy import out_of_order, tidy
from torchliquid.errors import InputError


def read(path: str | PathLike[str], **meaning: Any) -> Recording:
    """Read a CSV or Parquet file; ``meaning`` says what its columns are, as in :func:`from_frame`.

    Raises:
        InputError: the file cannot be read, or as :func:`from_frame`; the message starts with the path.
    """
    try:
        table = read_table(Path(path))
        return from_frame(table.frame, **meaning, first_row=table.first_row, notes=table.notes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def from_frame(
    frame: Any,
    *,
    time: str | None = None,
    target: str | None = None,
    series: str | None = None,
    group: str | None = None,
    parameter: str | None = None,
    value: str | None = None,
    channels: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    missing: Sequence[float | str] = (),
    time_unit: str | None = None,
    time_format: str | None = None,
    first_row: int = 1,
    notes: Sequence[str] = (),
) -> Recording:
    """Make a recording of a table.

    Wide tables keep every row as a sample, rows of equal time too (a span of zero apart). Long tables put the
    readings of one time (and series) together into one sample; where one parameter was read twice at one time with
    different values, the last row wins and the notes count it.

    Args:
        frame: a Polars or pandas data frame.
        time: column of the times; None: each row one after the one above it.
        target: column of what is to be predicted, numbers or labels (in a long table, also a parameter); not a channel.
        series: column that tells which series a row belongs to; None: all rows are one.
        group: column that tells what series have in common, e.g. the person measured: series of one group are never in
            two parts of a split. A series is then what has one name within one group; without ``series`` each group
            is one.
        parameter: column of a long table that names what was read.
        value: its column of readings.
        channels: the channels to take, in this order, as a model knows them; None: all other columns of numbers.
            Where they are named one row is enough, a channel may be empty of values, and a value that no sensor
            measures is taken as not observed.
        ignore: columns (parameters of a long table) to leave out.
        missing: values that stand for "not observed" besides empty fields and the marks NA, N/A, NaN, null, None, ?, -.
        time_unit: unit of times that are numbers, e.g. ``"ms"``; dates are in seconds.
        time_format: form of dates in text, as in ``strptime``; None: found out.
        first_row: number of the first row in messages.
        notes: of the reading before.

    Raises:
        InputError: a column that is not there, text among numbers, dates that cannot be read, fewer than two rows,
            times that stand still; without ``channels`` also a channel without a value, or a value that no sensor
            measures.
    """
    table = _as_polars(frame, time, series, group)
    long = parameter is not None
    if long != (value is not None) or (long and time is None):
        raise InputError("a long table needs its time, its parameter and its value column, all three")
    found = list(notes)
    if channels is not None and group is not None and group not in table.columns:
        found.append(f"There is no column {group!r} for the groups; series were taken as independent.")
        group = None
    apart = None if group == series else group
    _check_names(
        table,
        time=time,
        series=series,
        group=apart,
        parameter=parameter,
        value=value,
        target=None if long else target,
    )
    for name in () if long else ignore:
        _check_names(table, channel=name)
    for name in channels or ():
        if long and name == target:
            raise InputError(f"parameter {name!r} is named for two things, target and channel")
        if not long:
            _check_names(table, time=time, series=series, group=apart, target=target, channel=name)

    places = np.arange(first_row, first_row + len(table))

    def row(place: int) -> str:
        return f"row {places[place]}"

    def keep(rows: np.ndarray, of: str) -> None:
        nonlocal table, places
        if not rows.all():
            found.append(f"{int((~rows).sum())} {of} were left out.")
            table, places = table.filter(pl.Series(rows)), places[rows]

    if table.width:
        keep(~table.select(pl.all_horizontal(pl.all().is_null())).to_series().to_numpy(), "blank rows")
    if len(table) < (2 if channels is None else 1):
        rows = "no rows" if len(table) == 0 else "one row"
        needed = "at least two samples are" if channels is None else "at least one sample is"
        raise InputError(f"the table has {rows} below its header; {needed} needed, check the file")
    kind: columns.Kind = "number"
    if time is None:
        moments, unit = np.arange(len(table), dtype=np.float64), "samples"
        found += [
            f"Column {c!r} holds dates, but no time column was named: samples were taken as one apart."
            for c in table.columns
            if columns.looks_like_dates(table[c])
        ]
    else:
        moments, unit, kind = columns.times(table[time], time_unit, time_format, row)
        timely = ~np.isnan(moments)
        keep(timely, "rows without a time")
        moments = moments[timely]
    codes, names, of_group = _series_codes(table, series, group, row, found)
    if kind == "clock":
        moments, midnights = columns.over_midnight(moments, codes)
        if midnights:
            found.append(f"Column {time!r} passes midnight {midnights} times; each begins the next day.")

    targets = None
    if parameter is not None and value is not None:
        sample, first = _together(moments, codes)
        by_series = np.argsort(codes, kind="stable")
        ends = np.flatnonzero(np.diff(codes[by_series])) + 1
        found += out_of_order(np.split(moments[by_series], ends), local=kind == "local")
        readings = columns.numbers(table[value], missing, row)
        if readings is None:
            raise InputError(f"column {value!r} holds text, no readings; name the column with the values")
        used, values = _pivot(columns.labels(table[parameter]), readings, sample, len(first), found)
        if target is not None and target in table.columns:
            targets = _last_label(_targets(table[target], missing, row), sample, len(first))
        elif target is not None:
            _check_names(table, used, target=target)
            targets = values[:, used.index(target)]
        for name in ignore:
            _check_names(table, used, channel=name)
        wanted = list(channels) if channels is not None else [c for c in used if c != target and c not in ignore]
        padded = np.concatenate([values, np.full((len(values), 1), np.nan)], axis=1)
        values = padded[:, [used.index(c) if c in used else len(used) for c in wanted]]
        unused = [c for c in table.columns if c not in (time, series, group, parameter, value, target)]
        if unused:
            found.append(f"Columns not used: {', '.join(unused)}.")
        used, moments, codes, numbered = wanted, moments[first], codes[first], None
    else:
        used, values = _wide(table, channels, {time, series, group, target, *ignore}, missing, row, found)
        targets = None if target is None else _targets(table[target], missing, row)
        numbered = places

    if targets is not None:
        unlabelled = sum(t is None for t in targets) if targets.dtype == object else int(np.isnan(targets).sum())
        if unlabelled:
            found.append(f"{unlabelled} samples have no {target!r}; they are not scored.")
        if targets.dtype == object:
            groups = columns.alike(t for t in targets if t is not None)
            found += [
                f"Classes differ only in case or blanks: {', '.join(map(repr, group))}; they are kept apart."
                for group in groups
            ]
    parts, rows_of = _apart(moments, codes, names, of_group, values, targets, numbered)
    where = "row {}" if numbered is not None else "time {:g}"
    told = {
        "time": time,
        "series": series or group,
        "group": group,
        "parameter": parameter,
        "value": value,
        "missing": [m for m in missing if isinstance(m, str) or np.isfinite(m)] or None,
        "time_unit": time_unit,
        "time_format": time_format,
    }
    understood = {name: given for name, given in told.items() if given is not None}
    dated = kind in ("local", "zoned")
    recording = Recording(parts, tuple(used), target, unit, columns=understood, dated=dated)
    return tidy(recording, found, rows_of, where, for_model=channels is not None, local=kind == "local")


def _as_polars(frame: Any, *index: str | None) -> pl.DataFrame:
    if isinstance(frame, pl.LazyFrame):
        return frame.collect()
    if isinstance(frame, pl.DataFrame):
        return frame
    if hasattr(frame, "reset_index") and hasattr(frame, "columns"):  # pandas, whose index often holds the times
        if set(index) & set(frame.index.names) - set(frame.columns) - {None}:
            frame = frame.reset_index()
        try:
            return pl.from_pandas(frame.rename(columns=str))
        except ImportError:
            raise InputError("this pandas frame can only be read with pyarrow: pip install pyarrow") from None
        except (TypeError, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"this pandas frame cannot be read ({reason}); give each column one name and type"
            ) from None
    raise InputError(f"a Polars or pandas data frame is needed, not {type(frame).__name__}")


def _check_names(table: pl.DataFrame, more: Sequence[str] = (), **named: str | None) -> None:
    known = [*table.columns, *more]
    taken: dict[str, str] = {}
    for role, name in named.items():
        if name is None:
            continue
        if name not in known:
            raise InputError(f"no column {name!r} for the {role}; {columns.nearest(name, known)}")
        if name in taken:
            raise InputError(f"column {name!r} is named for two things, {taken[name]} and {role}")
        taken[name] = role


def _series_codes(
    table: pl.DataFrame, series: str | None, group: str | None, row: columns.Row, notes: list[str]
) -> tuple[np.ndarray, list[str], list[str | None]]:
    """A number for each row's series, and the series' names and groups, in the order in which they appear."""
    if series is None and group is None:
        return np.zeros(len(table), dtype=np.int64), [""], [None]
    for role, name in (("series", series), ("group", group)):
        if name is not None and table[name].null_count():
            raise InputError(
                f"{row(table[name].is_null().arg_max() or 0)} has no value in the {role} column {name!r}; mend it"
            )
    keys = [name for name in dict.fromkeys((series, group)) if name is not None]
    unique = table.select(keys).unique(maintain_order=True).with_row_index("\0")
    codes = table.select(keys).join(unique, on=keys, how="left", maintain_order="left")["\0"]
    names = [str(name) for name in unique[keys[0]].to_list()]
    groups: list[str | None] = [None] * len(names)
    if group is not None:
        groups = [str(name) for name in unique[group].to_list()]
    if len(set(names)) < len(names):
        notes.append(f"Names in {series!r} come in more than one of {group!r}; they are a series in each.")
        names = [f"{of}/{name}" for name, of in zip(names, groups, strict=True)]
    return codes.cast(pl.Int64).to_numpy(), names, groups


def _wide(
    table: pl.DataFrame,
    channels: Sequence[str] | None,
    taken: set[str | None],
    missing: Sequence[float | str],
    row: columns.Row,
    notes: list[str],
) -> tuple[list[str], np.ndarray]:
    """The channels' names and values (N, C): those asked for, or every column of numbers."""
    used: list[str] = []
    parts, text = [], []
    for name in channels if channels is not None else [c for c in table.columns if c not in taken]:
        read = columns.numbers(table[name], missing, row)
        if read is not None:
            used.append(name)
            parts.append(read)
        elif channels is not None:
            raise InputError(
                f"column {name!r} holds text, not numbers ({columns.described(table[name])}); a channel must be numbers"
            )
        else:
            text.append(f"{name} ({columns.described(table[name])})")
    if text and not used:
        raise InputError(
            f"no column of numbers is left to learn from, but {', '.join(text)}; check the delimiter and the columns "
            "left out"
        )
    if text:
        notes.append(f"Columns without numbers are not used: {', '.join(text)}.")
    return used, np.stack(parts, axis=1) if parts else np.empty((len(table), 0))


def _targets(column: pl.Series, missing: Sequence[float | str], row: columns.Row) -> np.ndarray:
    numbers = columns.numbers(column, missing, row, truth=False)
    return columns.labels(column, {*columns.MISSING_LABELS, *missing}) if numbers is None else numbers


def _together(moments: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For rows of a long table: each row's sample, and each sample's first row; samples ordered by series and time."""
    order = np.lexsort((moments, codes))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(moments[order]) != 0) | (np.diff(codes[order]) != 0)
    sample = np.empty(len(order), dtype=np.int64)
    sample[order] = np.cumsum(new) - 1
    return sample, order[new]


def _pivot(
    parameters: np.ndarray, readings: np.ndarray, sample: np.ndarray, n_samples: int, notes: list[str]
) -> tuple[list[str], np.ndarray]:
    """Parameters in order of appearance, and values (samples, parameters) with NaN where not read."""
    names = list(dict.fromkeys(p for p in parameters.tolist() if p is not None))
    number = {name: i for i, name in enumerate(names)}
    column = np.array([number.get(p, -1) for p in parameters.tolist()], dtype=np.int64)
    known = np.flatnonzero(~np.isnan(readings) & (column >= 0))
    cell = sample[known] * len(names) + column[known]
    order = np.argsort(cell, kind="stable")
    cell, value = cell[order], readings[known][order]
    again = np.diff(cell) == 0
    conflicts = int((again & (np.diff(value) != 0)).sum())
    if conflicts:
        notes.append(
            f"{conflicts} readings differ from another of the same parameter and time; the last row was taken."
        )
    last = np.append(~again, True)[: len(cell)]
    values = np.full(n_samples * len(names), np.nan)
    values[cell[last]] = value[last]
    return names, values.reshape(n_samples, len(names))


def _last_label(targets: np.ndarray, sample: np.ndarray, n_samples: int) -> np.ndarray:
    """One target a sample of a long table: that of its last row that has one."""
    text = targets.dtype == object
    out = np.full(n_samples, None if text else np.nan, dtype=targets.dtype)
    known = np.array([t is not None for t in targets]) if text else ~np.isnan(targets)
    for place in np.flatnonzero(known):
        out[sample[place]] = targets[place]
    return out


def _apart(
    moments: np.ndarray,
    codes: np.ndarray,
    names: Sequence[str],
    groups: Sequence[str | None],
    values: np.ndarray,
    targets: np.ndarray | None,
    numbered: np.ndarray | None,
) -> tuple[tuple[Series, ...], list[np.ndarray] | None]:
    """Rows as series, and each series' row numbers."""
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        moments, codes, values = moments[order], codes[order], values[order]
        targets = None if targets is None else targets[order]
        numbered = None if numbered is None else numbered[order]
    ends = np.flatnonzero(np.diff(codes)) + 1
    bounds = list(zip([0, *ends], [*ends, len(codes)], strict=True))
    parts = tuple(
        Series(moments[a:b], values[a:b], None if targets is None else targets[a:b], name, group)
        for (a, b), name, group in zip(bounds, names, groups, strict=True)
    )
    return parts, [(moments if numbered is None else numbered)[a:b] for a, b in bounds]
