"""Recordings from tables: wide (one row per sample) or long (one row per reading: time, parameter, value)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from torchliquid.data import columns, dates, order, roles
from torchliquid.data.contents import Table
from torchliquid.data.dates import ORDERS, Order
from torchliquid.data.numerals import Mark, Marks
from torchliquid.data.recording import Recording, Series
from torchliquid.data.tidy import tidy
from torchliquid.errors import InputError, first_line, listed

ON_RESTART = ("sort", "split")
OF_TEXT = ("skip", "comment", "header", "encoding")
"""Options for text files."""
LIKE = ("time", "parameter", "value", "missing", "time_unit", "time_format", "on_restart")
"""Options that ``like`` sets as if they were given."""


def completed(meaning: dict[str, Any], like: Mapping[str, Any] | None) -> dict[str, Any]:
    """The given options, completed by those of ``like``. A single name stands for a list of one."""
    for role in ("channels", "ignore", "keep"):
        if (names := meaning.get(role)) is not None:
            meaning = {**meaning, role: [names] if isinstance(names, str) else [str(name) for name in names]}
    if not like:
        return meaning
    known = {name: like[name] for name in LIKE if name in like and meaning.get(name) in (None, (), [])}
    if meaning.get("series") is not None:  # groups of ``like`` belong to its series
        like = {name: value for name, value in like.items() if name != "group"}
    return {**meaning, **known, "like": like}


def asked_for(meaning: dict[str, Any]) -> list[str]:
    """The columns that the options name, which help to find the header of a text file."""
    roles_named = ("series", "group", "parameter", "value") + (() if meaning.get("parameter") else ("target",))
    named = [str(meaning[role]) for role in roles_named if meaning.get(role)]
    if meaning.get("time") and "," not in str(meaning["time"]):  # which may be two columns
        named.append(str(meaning["time"]))
    return named + ([] if meaning.get("parameter") else [str(c) for c in meaning.get("channels") or () if "=" not in c])


def from_frame(frame: Any, *, first_row: int = 1, notes: Sequence[str] = (), **meaning: Any) -> Recording:
    """Create a recording from a table.

    In a wide table every row is a sample; rows with equal times have a span of zero. In a long table, the readings with
    the same time and series become one sample. If a parameter has several values for one time, the last row is used,
    and the notes count such readings.

    Columns that count the rows, and additional clocks, are left out with a note. A column of few different words (open,
    closed) becomes one input per word, ``door=open`` and ``door=closed``: 1 where the word occurs, else 0.

    Args:
        frame: a Polars or pandas data frame. If the index of a pandas frame contains dates, it is the time.
        first_row: number of the first row in messages.
        notes: from earlier steps of reading.

    The other options are those of :func:`torchliquid.read`, except for those of text files.

    Raises:
        InputError: a column does not exist, numbers contain text, dates cannot be read, numbers or dates are ambiguous,
            there are fewer than two rows, or times do not increase. Without ``channels``: a channel has no values, or a
            reading is impossible.
    """
    of_text = [name for name in OF_TEXT if name in meaning]
    meaning = {name: given for name, given in meaning.items() if name not in OF_TEXT}
    check_options(meaning)
    meaning = completed(meaning, meaning.pop("like", None))
    if of_text:
        notes = (*notes, f"{', '.join(of_text)}: for text files only; ignored for a data frame.")
    meaning |= {
        r: _name(meaning[r], r) for r in ("time", "target", "series", "group", "parameter", "value") if r in meaning
    }
    index = [meaning.get(role) for role in ("time", "series", "group")]
    table, time, more = _as_polars(frame, *index)
    if time is not None:
        meaning["time"] = time
    numbers = np.arange(first_row, first_row + len(table))
    return from_table(Table(table, numbers, (*notes, *more)), **meaning)


def from_table(
    read: Table,
    *,
    time: str | None = None,
    target: str | None = None,
    series: str | None = None,
    group: str | None = None,
    parameter: str | None = None,
    value: str | None = None,
    channels: Sequence[str] | None = None,
    ignore: Sequence[str] = (),
    keep: Sequence[str] = (),
    missing: Sequence[float | str] = (),
    time_unit: str | None = None,
    time_format: str | None = None,
    date_order: Order | None = None,
    decimal: Mark | None = None,
    on_restart: str | None = None,
    like: Mapping[str, Any] | None = None,
) -> Recording:
    """Create a recording from a table that was read; see :func:`from_frame`."""
    table = read.frame
    before = like or {}
    long = parameter is not None
    if long != (value is not None) or (long and time is None):
        raise InputError("a long table needs three columns: time, parameter and value")
    if decimal not in (None, ".", ","):
        raise InputError(f"the decimal mark must be '.' or ',', not {decimal!r}")
    if date_order not in (None, *ORDERS):
        raise InputError(f"date_order must be 'day first', 'month first' or 'year first', not {date_order!r}")
    if on_restart not in (None, *ON_RESTART):
        raise InputError(f"on_restart must be 'sort' or 'split', not {on_restart!r}")
    found = list(read.notes)
    missing = [missing] if isinstance(missing, str | int | float) else list(missing)
    series = series or _still_there(table, before.get("series"), "series", found)
    group = group or _still_there(table, before.get("group"), "group", found)
    target = target or _still_there(table, before.get("target"), "target", found, parameter)
    if read.file is not None and read.file not in (series, group, target):
        table = table.drop(read.file)  # the file's name is not a reading
    given_series, series = series, series or (read.series if group is None else None)
    clocks = _clock_columns(table, time)
    apart = None if group == series else group
    named: dict[str, str | None] = {"series": series, "group": apart, "parameter": parameter, "value": value}
    named |= {"time": clocks[0] if clocks else time, "target": None if long else target}
    _check_names(table, **named)  # type: ignore[arg-type]
    for name in clocks[1:]:
        _check_names(table, time=name)
    for name in () if long else (*ignore, *keep):
        _check_names(table, channel=name)
    for name in () if long else keep:
        _check_names(table, **{**named, "channel": name})  # type: ignore[arg-type]
        if name not in ignore and channels is None and (roles.holds_dates(table[name])):
            raise InputError(
                f"column {name!r} contains dates, which cannot be an input; leave it out of keep= (--keep), and give "
                "what matters as numbers, such as the hour of the day"
            )
    known, spoken_for = set(table.columns), {n for n in named.values() if n is not None}
    for name in channels or ():
        if long and name == target:
            raise InputError(f"parameter {name!r} cannot be both target and channel")
        if not long and (name in spoken_for or roles.column_of(name, known) is None):
            column, equals, _ = name.partition("=")
            role = f"channel {name!r}" if equals else "channel"
            _check_names(table, **{**named, role: column})  # type: ignore[arg-type]

    places = np.arange(len(table))

    def row(place: int) -> str:
        return read.row(int(places[place]))

    def keep_rows(rows: np.ndarray, of: str) -> None:
        nonlocal table, places
        if not rows.all():
            gone = read.numbers[places[~rows]]
            found.append(f"{len(gone)} {of} were left out: {listed(gone)}.")
            table, places = table.filter(pl.Series(rows)), places[rows]

    if table.width:
        keep_rows(~_blank(table, read), "blank rows")
    if len(table) < (2 if channels is None else 1):
        rows = "no rows" if len(table) == 0 else "one row"
        needed = "at least two samples are" if channels is None else "at least one sample is"
        raise InputError(f"the table has {rows} below its header; {needed} needed, check the file")
    taken = {*clocks, series, group, target, parameter, value, *ignore}
    marks = Marks(
        [c for c in table.get_columns() if c.dtype == pl.String], decimal, before=before.get("decimal"), hint=read.mark
    )
    reader = _Reader(missing, row, marks, found)
    if time is None:
        moments = columns.Moments(np.arange(len(table), dtype=np.float64), "samples", "number")
        times = moments.times
    else:
        when = table[clocks[0]] if len(clocks) == 1 else _together_in_text(table, clocks, found)
        when = columns.without_marks(when, missing)
        hint = dates.OrderHint(date_order, before.get("date_order"))
        moments = columns.times(when, time_unit, time_format, row, hint, marks)
        found += moments.notes
        if date_order is not None and moments.order is None:
            found.append(f"Column {time!r} contains no dates that can be read {date_order}; the option is ignored.")
        timely = ~np.isnan(moments.times)
        keep_rows(timely, "rows without a time")
        times = moments.times[timely]
    kind = moments.kind
    files = None if read.files is None else read.files[places]
    codes, of = _series_codes(table, series, group, files, read.labels, row, found)
    if kind == "clock":
        half = columns.twelve_hours(times, codes)
        times, rounds = columns.over_midnight(times, codes, 12 if half else 24)
        if half:
            found.append(
                f"Column {time!r} contains times of a twelve-hour clock without AM or PM; it was assumed to pass noon "
                f"or midnight {rounds} times."
            )
        elif rounds:
            found.append(f"Column {time!r} passes midnight {rounds} times; each time a new day begins.")
    dated = kind in ("local", "zoned")
    of_parameter = None if parameter is None else columns.as_objects(columns.stripped(table[parameter], {""}, ()))
    kinds = 0 if of_parameter is None else np.unique(of_parameter.astype(str), return_inverse=True)[1]
    if on_restart == "split":
        codes, of = _stretches(times, codes * len(table) + kinds, codes, of, dated, found)
    runs = codes * len(table) + kinds
    if time is not None:
        found += _order_notes(times, codes, runs, kind, row, on_restart == "split")
    free = table.select(c for c in table.columns if c not in taken)
    asked = None if channels is None else set(channels)
    wide = [] if long else [c for c in free.columns if asked is None or c in asked]
    plain = {} if decimal == "," else _plain_numbers(free.select(wide), missing)
    dated_columns = {c for c in free.columns if c not in plain and roles.holds_dates(free[c])}
    _note_unnamed_clocks(table.select(dated_columns), clocks, table, time, found)

    targets = None
    if parameter is not None and value is not None and of_parameter is not None:
        sample, first = _together(times, codes)
        wanted = None if channels is None else list(channels)
        readings, words, labels = _readings(table[value], of_parameter, reader, target, ignore, wanted)
        used, values = _pivot(of_parameter, readings, sample, len(first), found)
        spelled = {name.partition("=")[0] for name in words}
        if target is not None and labels is not None:
            spelled.add(target)
        kept = [i for i, name in enumerate(used) if name not in spelled or not np.isnan(values[:, i]).all()]
        used = [*(used[i] for i in kept), *words]
        indicators = [_last_label(word, sample, len(first))[:, None] for word in words.values()]
        values = np.concatenate([values[:, kept], *indicators], axis=1)
        if target is not None and target in table.columns:
            labels = reader.targets(table[target])
        if labels is not None:
            targets = _last_label(labels, sample, len(first))
        elif target is not None:
            _check_names(table, used, target=target)
            targets = values[:, used.index(target)]
        for name in ignore:
            _check_names(table, [*used, *spelled], channel=name)
        wanted = wanted if wanted is not None else [c for c in used if c != target and c not in ignore]
        padded = np.concatenate([values, np.full((len(values), 1), np.nan)], axis=1)
        values = padded[:, [used.index(c) if c in used else len(used) for c in wanted]]
        unused = [c for c in table.columns if c not in taken]
        if unused:
            found.append(f"Columns not used: {', '.join(unused)}.")
        used, times, codes, numbered = wanted, times[first], codes[first], None
    else:
        if channels is None:
            used, values = _inputs(free.drop(dated_columns), plain, reader, set(keep), codes, time is not None)
        else:
            used, values = list(channels), _asked(table, plain, reader, channels)
        targets = None if target is None else reader.targets(table[target])
        numbered = read.numbers[places]

    if targets is not None:
        unlabelled = sum(t is None for t in targets) if targets.dtype == object else int(np.isnan(targets).sum())
        if unlabelled:
            found.append(f"{unlabelled} samples have no {target!r}; they are not scored.")
        if targets.dtype == object:
            groups = columns.alike(pl.Series(targets.tolist(), dtype=pl.String).drop_nulls().unique().to_list())
            found += [
                f"Classes differ only in case or spaces: {', '.join(map(repr, group))}; they are separate classes."
                for group in groups
            ]
    options = {
        "time": time,
        "series": given_series or group,
        "group": group,
        "parameter": parameter,
        "value": value,
        "missing": [m for m in missing if isinstance(m, str) or np.isfinite(m)] or None,
        "time_unit": time_unit,
        "time_format": time_format,
        "date_order": moments.order or date_order,
        "decimal": decimal or (marks.used.pop() if len(marks.used) == 1 else None),
        "on_restart": on_restart,
    }
    understood = {name: given for name, given in options.items() if given is not None}
    recording = Recording(
        _apart(Series(times, values, targets, rows=numbered), codes, of),
        tuple(used),
        target,
        moments.unit,
        columns=understood,
        dated=dated,
        zoned=kind == "zoned",
        origin=moments.origin,
    )
    if recording.origin:
        found.append(f"Times are relative to {recording.origin} {moments.unit}, so that no digit is lost.")
    return tidy(recording, found, for_model=channels is not None)


OPTIONS = tuple(name for name in inspect.signature(from_table).parameters if name != "read")
"""The options of :func:`from_frame`."""


# The signature shows the options of from_table.
from_frame.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [
        *list(inspect.signature(from_frame).parameters.values())[:-1],
        *list(inspect.signature(from_table).parameters.values())[1:],
    ]
)


def check_options(meaning: dict[str, Any], *more: str) -> None:
    for name in meaning:
        if name not in (*OPTIONS, *more):
            raise InputError(f"there is no option {name!r}; {columns.nearest(name, (*OPTIONS, *more))}")


def _blank(table: pl.DataFrame, read: Table) -> np.ndarray:
    """Rows without any value, apart from the name of their file."""
    bare = table.drop(read.file) if read.file in table.columns else table
    empty = [
        pl.col(c).is_null() | (pl.col(c).str.strip_chars() == "") if kind == pl.String else pl.col(c).is_null()
        for c, kind in bare.schema.items()
    ]
    blank = bare.select(empty[0]).to_series().to_numpy(writable=True)
    if blank.any():
        blank[blank] = bare.filter(blank).select(pl.all_horizontal(empty)).to_series().to_numpy()
    return blank


def _clock_columns(table: pl.DataFrame, time: str | None) -> list[str]:
    """The column of the times, or the two columns of date and time of day."""
    if time is None or time in table.columns or "," not in time:
        return [] if time is None else [time]
    pairs = [list(pair) for pair in roles.pairs_in(time)]
    return next((pair for pair in pairs if set(pair) <= set(table.columns) and pair[0] != pair[1]), pairs[0])


def _together_in_text(table: pl.DataFrame, clocks: Sequence[str], notes: list[str]) -> pl.Series:
    """Date and time of day as one text; the time of day may be a number: the hour (13), 1330 or 133000."""

    def text(name: str) -> pl.Series:
        column = table[name]
        if column.dtype == pl.Datetime:
            column = column.dt.date()
        return columns.stripped(column, columns.MISSING_NUMBERS, ())

    day, clock = text(clocks[0]), text(clocks[1])
    for part, other in ((day, clocks[1]), (clock, clocks[0])):
        if len(part) and part.null_count() == len(part):
            raise InputError(f"column {part.name!r} is empty; use {other!r} alone as the time")
    # Spreadsheets add this to a date.
    day = day.str.replace(r"[ T]00:00:00(\.0+)?$", "")
    clock = clock.str.replace(r"^(\d{1,2})\.(\d{2})\.(\d{2})$", "$1:$2:$3").str.replace(r"^1899-12-\d\d[ T]", "")
    clock, how = _hours(clock)
    if how is not None:
        notes.append(f"Column {clocks[1]!r} was read as {how}.")
        day = day.str.replace(r"^(\d{4})(\d{2})(\d{2})$", "$1-$2-$3")
    return (day + " " + clock).alias(", ".join(clocks))


def _hours(clock: pl.Series) -> tuple[pl.Series, str | None]:
    """Convert times of day that are whole numbers to clock times; also their format, None if they are not numbers."""
    text = clock.str.replace(r"\.0+$", "")
    if not text.str.contains(r"^\d{1,6}$").all() or text.null_count() == len(text):
        return clock, None
    numbers = text.cast(pl.Int64)
    how, seconds = "the hour of the day", numbers * 10000
    if (numbers > 2400).any():
        how, seconds = "HHMMSS", numbers
    elif (numbers > 24).any():
        how, seconds = "HHMM", numbers * 100
    digits = seconds.cast(pl.String).str.zfill(6)
    if not digits.str.contains(r"^([01]\d|2[0-4])[0-5]\d[0-5]\d$").all():
        return clock, None
    return digits.str.replace(r"^(..)(..)(..)$", "$1:$2:$3"), how


def _order_notes(
    times: np.ndarray, codes: np.ndarray, runs: np.ndarray, kind: columns.Kind, row: columns.Row, split: bool
) -> list[str]:
    """Notes on rows whose times go back: how many in each series; where, in each run of one parameter."""

    def parts(of: np.ndarray) -> list[np.ndarray]:
        ordered = np.argsort(of, kind="stable") if (np.diff(of) < 0).any() else np.arange(len(of))
        return np.split(ordered, np.flatnonzero(np.diff(of[ordered])) + 1)

    places = parts(runs)
    return order.describe(
        [times[p] for p in parts(codes)],
        [times[p] for p in places],
        local=kind == "local",
        dated=kind in ("local", "zoned"),
        where=lambda run, place: row(int(places[run][place])),
        split=split,
    )


def _stretches(
    times: np.ndarray, runs: np.ndarray, codes: np.ndarray, of: list[_Of], dated: bool, notes: list[str]
) -> tuple[np.ndarray, list[_Of]]:
    """A series for each stretch between restarts of the clock: their numbers and names."""
    stretch = np.zeros(len(times), dtype=np.int64)
    for run in np.unique(runs):
        of_run = np.flatnonzero(runs == run)
        stretch[of_run] = order.stretches(times[of_run], dated)
    apart, unique = _numbered(pl.DataFrame({"series": codes, "stretch": stretch}))
    if len(unique) == len(of):
        return codes, of
    notes.append(f"The clock restarts: {len(unique)} stretches became separate series.")
    several = len(of) > 1
    return apart, [
        of[c]._replace(name=f"{of[c].name}/{k + 1}" if several or of[c].name else str(k + 1)) for c, k in unique.rows()
    ]


def _numbered(keys: pl.DataFrame) -> tuple[np.ndarray, pl.DataFrame]:
    """The number of each row's keys, in order of appearance, and the different keys."""
    unique = keys.unique(maintain_order=True)
    rows = keys.join(unique.with_row_index("\0"), on=keys.columns, how="left", maintain_order="left")
    return rows["\0"].cast(pl.Int64).to_numpy(), unique


def _note_unnamed_clocks(
    dated: pl.DataFrame, clocks: Sequence[str], table: pl.DataFrame, time: str | None, notes: list[str]
) -> None:
    for name in dated.columns:
        if time is None:
            notes.append(f"Column {name!r} contains dates, but no time column was named; samples are 1 apart.")
        elif len(clocks) == 1 and _are_clocks(dated[name]) and not _are_clocks(table[clocks[0]]):
            notes.append(
                f"Column {name!r} contains times of day; if they belong to {clocks[0]!r}, name both "
                f"(time='{clocks[0]},{name}', --time {clocks[0]},{name})."
            )
        else:
            notes.append(f"Column {name!r} is a second clock and was left out.")


def _are_clocks(column: pl.Series) -> bool:
    if column.dtype == pl.Time:
        return True
    if not columns.is_text(column):
        return False
    return columns.are_clocks(column.drop_nulls().head(100).cast(pl.String))


def _name(given: Any, role: str) -> Any:
    """A column's name as text; it may be given as a number or as a list of one."""
    if isinstance(given, list | tuple) and role == "time" and len(given) == 2:
        return ",".join(map(str, given))
    if isinstance(given, list | tuple):
        if len(given) != 1:
            raise InputError(
                f"one column is needed for the {role}, not {len(given)}; use Recording.from_arrays for several"
            )
        given = given[0]
    return given if given is None or isinstance(given, str | list | tuple) else str(given)


def _as_polars(frame: Any, time: str | None, *names: str | None) -> tuple[pl.DataFrame, str | None, list[str]]:
    """A Polars frame; the name of the time column if it comes from a pandas index; notes."""
    if isinstance(frame, pl.LazyFrame):
        return frame.collect(), None, []
    if isinstance(frame, pl.DataFrame):
        return frame, None, []
    if hasattr(frame, "reset_index") and hasattr(frame, "columns"):  # pandas, whose index often holds the times
        for name, dtype in zip(frame.columns, frame.dtypes, strict=True):
            if getattr(dtype, "kind", "") == "c":
                raise InputError(
                    f"column {str(name)!r} holds complex numbers; give their real and imaginary parts as columns"
                )
        notes: list[str] = []
        known = {str(c) for c in frame.columns}
        of_index = getattr(frame.index, "inferred_type", "") in ("datetime64", "datetime", "timedelta64", "period")
        if of_index and (time is None or time not in known | set(frame.index.names)):
            if str(frame.index.inferred_type) == "period":
                frame = frame.set_axis(frame.index.to_timestamp())
            if time is None:
                time = next(n for n in (frame.index.name, "time", "index", "time_") if n is not None and n not in known)
                notes.append(f"The frame's index contains the times; it was used as the time, {str(time)!r}.")
            frame = frame.rename_axis(index=time).reset_index()
        elif {time, *names} & set(frame.index.names) - set(frame.columns) - {None}:
            frame = frame.reset_index()
        try:
            return pl.from_pandas(frame.rename(columns=str)), None if time is None else str(time), notes
        except ImportError:
            raise InputError("this pandas frame can only be read with pyarrow: pip install pyarrow") from None
        except (TypeError, ValueError) as error:
            raise InputError(
                f"this pandas frame cannot be read ({first_line(error)}); give each column one name and one type"
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
            raise InputError(f"column {name!r} cannot be both {taken[name]} and {role}")
        taken[name] = role


class _Of(NamedTuple):
    """The name, group and file of a series."""

    name: str
    group: str | None = None
    file: str | None = None


def _still_there(
    table: pl.DataFrame, name: str | None, role: str, notes: list[str], parameter: str | None = None
) -> str | None:
    """A column, or a parameter of a long table, from ``like``, if this table has it too."""
    if name is None or name in table.columns:
        return name
    if parameter in table.columns and (table[parameter].cast(pl.String) == name).any():
        return name
    if role == "series":
        notes.append(f"There is no column {name!r} for the series; it was not used.")
    elif role == "group":
        notes.append(f"There is no column {name!r} for the groups; series are treated as independent.")
    return None


def _series_codes(
    table: pl.DataFrame,
    series: str | None,
    group: str | None,
    files: np.ndarray | None,
    labels: Sequence[str],
    row: columns.Row,
    notes: list[str],
) -> tuple[np.ndarray, list[_Of]]:
    """The series number of each row, and the names of the series, in order of appearance.

    Args:
        files: index of each row's file in ``labels``, if there are several; each has its own series.
    """
    for role, name in (("series", series), ("group", group)):
        if name is not None and table[name].null_count():
            raise InputError(
                f"{row(table[name].is_null().arg_max() or 0)} has no value in the {role} column {name!r}; correct it"
            )
    keys = [name for name in dict.fromkeys((series, group)) if name is not None]
    if files is None and not keys:
        return np.zeros(len(table), dtype=np.int64), [_Of("")]
    codes, unique = _numbered(table.select(*keys, *([] if files is None else [pl.Series("\0file", files)])))
    groups = [None] * len(unique) if group is None else [str(name) for name in unique[group].to_list()]
    of_files = [None] * len(unique) if files is None else [labels[i] for i in unique["\0file"].to_list()]
    if not keys:
        return codes, [_Of(str(file), None, file) for file in of_files]
    names = [str(name) for name in unique[keys[0]].to_list()]
    if files is not None and len(labels) > 1:
        notes.append(f"Series are distinguished by file and {keys[0]!r}: {len(names)} in all.")
    if files is not None and len(set(zip(names, groups, strict=True))) < len(names):
        names = [f"{file}/{name}" for file, name in zip(of_files, names, strict=True)]
    if len(set(names)) < len(names):
        notes.append(f"Names in {series!r} occur in more than one {group!r}; they are separate series in each.")
        names = [f"{of}/{name}" for name, of in zip(names, groups, strict=True)]
    return codes, [_Of(*each) for each in zip(names, groups, of_files, strict=True)]


@dataclass(frozen=True)
class _Reader:
    """How columns are read: what means "not observed", how rows are named, the decimal marks, and where notes go."""

    missing: Sequence[float | str]
    row: columns.Row
    marks: Marks
    notes: list[str]

    def numbers(self, column: pl.Series) -> np.ndarray | None:
        return columns.numbers(column, self.missing, self.row, True, self.marks, self.notes)

    def words(self, column: pl.Series) -> tuple[pl.Series | None, list[str]]:
        """The words of a column of text, and notes on them."""
        notes: list[str] = []
        return (columns.words(column, self.missing, notes) if columns.is_text(column) else None), notes

    def targets(self, column: pl.Series) -> np.ndarray:
        names = columns.are_names(column, self.missing)
        numbers = None if names else columns.numbers(column, self.missing, self.row, False, self.marks, self.notes)
        return columns.labels(column, self.missing, self.notes) if numbers is None else numbers

    def described(self, column: pl.Series) -> str:
        """What in a column is not a number, and where."""
        return f"{column.name} ({columns.described(column, self.row)})"


def _inputs(
    table: pl.DataFrame,
    plain: Mapping[str, np.ndarray],
    reader: _Reader,
    wanted: set[str],
    codes: np.ndarray,
    timed: bool,
) -> tuple[list[str], np.ndarray]:
    """Names and values (N, C) of all columns that are inputs."""
    notes = reader.notes
    used: list[str] = []
    parts: list[np.ndarray] = []
    text, spelled, counters, clocks = [], [], {}, {}
    for name in table.columns:
        read = plain[name] if name in plain else reader.numbers(table[name])
        if read is None:
            words, word_notes = reader.words(table[name])
            found = None if words is None else roles.words(words)
            if words is not None and found is not None:
                notes += word_notes
                used += [roles.named_for(name, word) for word in found]
                parts += roles.indicators(words, found)
                spelled.append(f"{name} ({', '.join(found)})")
                continue
            if name in wanted:
                raise InputError(
                    f"column {name!r} cannot be kept: it contains neither numbers nor few different words, but "
                    f"{columns.described(table[name], reader.row)}"
                )
            text.append(reader.described(table[name]))
        elif name not in wanted and roles.counts(name, read, codes):
            counters[name] = read
        elif name not in wanted and roles.tells_time(name, read, codes):
            clocks[name] = read
        else:
            if name not in wanted and roles.rises_evenly(read, codes):
                notes.append(
                    f"Column {name!r} increases by 1 in each row; if it counts rows, leave it out (--ignore {name})."
                )
            used.append(name)
            parts.append(read)
    left_out = {**counters, **clocks}
    if not used and left_out:  # there are no other inputs
        used, parts = list(left_out), list(left_out.values())
        counters, clocks = {}, {}
    if text and not used:
        raise InputError(
            f"there is no numeric column left as an input, only {', '.join(text)}; check the delimiter and the columns "
            "left out"
        )
    if text:
        notes.append(f"Columns without numbers are not used: {', '.join(text)}.")
    if spelled:
        notes.append(f"Columns of words became one input per word: {'; '.join(spelled)}.")
    if counters:
        notes.append(
            f"Columns that count the rows were left out: {', '.join(map(repr, counters))}; use keep=[...] (--keep) to "
            "keep them."
        )
    for name in clocks:
        hint = "" if timed else f" If it is the time, name it (time={name!r}, --time {name})."
        notes.append(f"Column {name!r} is a clock and was left out; use keep=[...] (--keep) to keep it.{hint}")
    return used, np.stack(parts, axis=1) if parts else np.empty((len(codes), 0))


def _asked(
    table: pl.DataFrame, plain: Mapping[str, np.ndarray], reader: _Reader, channels: Sequence[str]
) -> np.ndarray:
    """The values of the given channels."""
    parts = []
    words: dict[str, dict[str, np.ndarray]] = {}
    existing = set(table.columns)
    sources = {name: roles.column_of(name, existing) or (name, None) for name in channels}
    for name, (column, word) in sources.items():
        if word is not None:
            if column not in words:
                known = [w for c, w in sources.values() if c == column and w is not None]
                words[column] = _known_words(table[column], reader, known)
            parts.append(words[column][word])
            continue
        read = plain[name] if name in plain else reader.numbers(table[name])
        if read is None:
            raise InputError(
                f"column {name!r} contains text, not numbers ({columns.described(table[name], reader.row)}); a channel "
                "must be numeric"
            )
        parts.append(read)
    return np.stack(parts, axis=1) if parts else np.empty((len(table), 0))


def _known_words(column: pl.Series, reader: _Reader, known: list[str]) -> dict[str, np.ndarray]:
    """The inputs for the words of a column that a model knows; other words are not observed, with a note."""
    text = columns.words(column, reader.missing)
    new = text.filter(~text.is_in(known)).drop_nulls()
    if len(new):
        reader.notes.append(
            f"{len(new)} rows have a word in column {column.name!r} that the model does not know, such as "
            f"{columns.short(new[0])}; it counts as not observed."
        )
    return dict(zip(known, roles.indicators(text, known), strict=True))


def _plain_numbers(table: pl.DataFrame, missing: Sequence[float | str]) -> dict[str, np.ndarray]:
    """All text columns that are plain numbers, read at once, since wide tables have thousands."""
    text = table.select(pl.selectors.string())
    if missing or not text.width or not len(text):
        return {}
    bare = pl.all().str.strip_chars()
    clean = text.select(pl.when(~bare.is_in([*columns.MISSING_NUMBERS])).then(bare))
    read = clean.select(pl.all().cast(pl.Float64, strict=False))
    pointed = pl.all().str.contains(".", literal=True)
    in_groups = clean.select((pl.all().str.contains(r"\.\d{3}$") | ~pointed).all() & pointed.any()).row(0)
    return {
        values.name: values.fill_null(np.nan).to_numpy(writable=True)
        for values, text, suspect in zip(read.get_columns(), clean.get_columns(), in_groups, strict=True)
        if values.null_count() == text.null_count() and not suspect
    }


def _readings(
    column: pl.Series,
    parameters: np.ndarray,
    reader: _Reader,
    target: str | None,
    ignore: Sequence[str],
    channels: list[str] | None,
) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray | None]:
    """The readings of a long table.

    Returns:
        The number in each row; indicators of words by channel, NaN in rows of other parameters; the labels in each row
        if the target is a parameter with words.
    """
    missing, notes = reader.missing, reader.notes
    plain = None if reader.marks.given == "," else _plain_numbers(column.to_frame(), missing).get(column.name)
    if plain is None and not columns.is_text(column):
        plain = reader.numbers(column)
    if plain is not None:
        return plain, {}, None
    values = np.full(len(column), np.nan)
    extra: dict[str, np.ndarray] = {}
    labels: np.ndarray | None = None
    unread = []
    for name in dict.fromkeys(p for p in parameters.tolist() if p is not None):
        if name in ignore:
            continue
        rows = np.flatnonzero(parameters == name)
        part = column[rows].alias(f"{column.name} of {name}")
        where = partial(_at, rows, reader.row)
        read = columns.numbers(part, missing, where, name != target, reader.marks, notes)
        if read is not None:
            values[rows] = read
        elif name == target:
            labels = np.full(len(column), None, dtype=object)
            labels[rows] = columns.labels(part, missing, notes)
        else:
            known = [c[len(name) + 1 :] for c in channels or () if c.startswith(f"{name}=")]
            word_notes: list[str] = []
            text = columns.words(part, missing, word_notes)
            spelled = known or (roles.words(text) if channels is None else None) or []
            if not spelled:
                unread.append(f"{name} ({columns.described(part, where)})")
            for word, indicator in zip(spelled, roles.indicators(text, spelled), strict=True):
                extra[roles.named_for(name, word)] = np.full(len(column), np.nan)
                extra[roles.named_for(name, word)][rows] = indicator
            if spelled and channels is None:
                notes += word_notes
                notes.append(f"Words of parameter {name!r} became one input each: {', '.join(spelled)}.")
    if np.isnan(values).all() and not extra:
        raise InputError(f"column {column.name!r} contains text, not readings; name the column with the values")
    if unread and channels is None:
        notes.append(f"Parameters without numbers are not used: {', '.join(unread)}.")
    return values, extra, labels


def _together(moments: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The sample of each row of a long table, and the first row of each sample, ordered by series and time."""
    order = np.lexsort((moments, codes))
    new = np.ones(len(order), dtype=bool)
    new[1:] = (np.diff(moments[order]) != 0) | (np.diff(codes[order]) != 0)
    sample = np.empty(len(order), dtype=np.int64)
    sample[order] = np.cumsum(new) - 1
    return sample, order[new]


def _at(rows: np.ndarray, row: columns.Row, i: int) -> str:
    return row(int(rows[i]))


def _pivot(
    parameters: np.ndarray, readings: np.ndarray, sample: np.ndarray, n_samples: int, notes: list[str]
) -> tuple[list[str], np.ndarray]:
    """Parameters in order of appearance, and values (samples, parameters), NaN if not read."""
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
        notes.append(f"{conflicts} readings differ from another of the same parameter and time; the last row was used.")
    last = np.append(~again, True)[: len(cell)]
    values = np.full(n_samples * len(names), np.nan)
    values[cell[last]] = value[last]
    return names, values.reshape(n_samples, len(names))


def _last_label(targets: np.ndarray, sample: np.ndarray, n_samples: int) -> np.ndarray:
    """One target per sample of a long table: that of the last row with a target."""
    text = targets.dtype == object
    out = np.full(n_samples, None if text else np.nan, dtype=targets.dtype)
    known = np.array([t is not None for t in targets]) if text else ~np.isnan(targets)
    for place in np.flatnonzero(known):
        out[sample[place]] = targets[place]
    return out


def _apart(whole: Series, codes: np.ndarray, of: Sequence[_Of]) -> tuple[Series, ...]:
    """Split rows into series."""
    if (np.diff(codes) < 0).any():
        order = np.argsort(codes, kind="stable")
        whole, codes = whole.take(order), codes[order]
    ends = np.flatnonzero(np.diff(codes)) + 1
    parts = zip([0, *ends], [*ends, len(codes)], of, strict=True)
    return tuple(replace(whole.cut(a, b), name=one.name, group=one.group, file=one.file) for a, b, one in parts)
