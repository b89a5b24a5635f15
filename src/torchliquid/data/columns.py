"""What one column of a table means: numbers, labels or times, found from all of its rows."""

from __future__ import annotations

import datetime as dt
import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Literal

import numpy as np
import polars as pl

from torchliquid.errors import InputError

MISSING_LABELS = frozenset({"", "?", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "Null", "NULL"})
"""Text that stands for "not observed". Not "Na": that is sodium."""
MISSING_NUMBERS = MISSING_LABELS | {"-", "--", "none", "None", "Na"}
"""The same among numbers, where these cannot be labels."""
TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "on": 1.0, "off": 0.0}
"""Words, in any case, that are 1 and 0 in a channel."""
MOSTLY = 0.8
"""A text column of which this share reads as numbers is a column of numbers with something stray in it."""

DAY_AND_MONTH_FIRST = (
    r"^(\d{1,2})[/.-](\d{1,2})[/.-](\d{4}|\d{2})"
    r"(?:[ T,]+(\d{1,2}):(\d{2})(?::(\d{2})(\.\d+)?)?(?: *([AaPp])\.?[Mm]\.?)?)?$"
)

THOUSANDS = r"^[-+]?\d{1,3}(,\d{3})+\.\d+$|^[-+]?\d{1,3}(\.\d{3})+,\d+$|^[-+]?\d{1,3}([,.' \u00a0\u202f]\d{3})+$"
SEPARATORS = "write numbers without thousands separators"
OFFSET = r":\d{2}(?:\.\d+)? *([-+]\d{2}:?\d{2})$"
DAY = 86400.0

Row = Callable[[int], str]
"""Names a row, given its place in the column, the way its user counts."""

Kind = Literal["number", "clock", "local", "zoned"]
"""What times were: numbers or durations, clock times, dates without a zone, dates with one."""


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that helps after "no such ...": the nearest right names, or all of them where none is near."""
    known = list(known)
    lower = {k.lower(): k for k in known}
    near = [lower[k] for k in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return "there are: " + ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")


def is_text(column: pl.Series) -> bool:
    return column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Object)


def numbers(
    column: pl.Series, missing: Sequence[float | str] = (), row: Row = str, truth: bool = True
) -> np.ndarray | None:
    """A column as float64, NaN where not observed; None where it holds something else than numbers.

    Args:
        column: of any type.
        missing: values that mean "not observed", besides the usual marks.
        row: names a row in an error.
        truth: booleans, and words such as yes and no, are 1 and 0; else they are no numbers.

    Raises:
        InputError: most of a text column reads as numbers, but not all.
    """
    if is_text(column):
        text = _text(column, MISSING_NUMBERS, missing)
        values = text.cast(pl.Float64, strict=False)
        if truth and values.null_count() > text.null_count():
            known = text.str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Float64)
            if known.null_count() == text.null_count():
                values = known
        wrong = values.is_null() & text.is_not_null()
        if wrong.any():
            if int(wrong.sum()) > (1 - MOSTLY) * (len(text) - text.null_count()):
                return None
            first = wrong.arg_max() or 0
            raise InputError(
                f"text {text[first]!r} in {row(first)} of column {column.name!r}, which is otherwise numbers; "
                + (f"{SEPARATORS}, " if re.match(THOUSANDS, text[first]) else "mend it, ")
                + f"name it as a missing value (missing=[{text[first]!r}], --missing), or leave the column out"
            )
    elif column.dtype.is_numeric() or column.dtype == pl.Null or (truth and column.dtype == pl.Boolean):
        values = column.cast(pl.Float64)
    else:
        return None
    array = values.fill_null(np.nan).to_numpy(writable=True)
    for mark in missing:
        with suppress(ValueError):
            array[array == float(mark)] = np.nan
    return array


def labels(column: pl.Series, missing: Iterable[float | str] = ()) -> np.ndarray:
    """A column as text (dtype object), None where it is empty or one of ``missing``."""
    if column.dtype == pl.Boolean:
        column = column.replace_strict({True: "True", False: "False"}, return_dtype=pl.String)
    text = _text(column, {""}, missing)
    array = np.empty(len(text), dtype=object)
    array[:] = text.to_list()
    return array


def times(column: pl.Series, unit: str | None, date_format: str | None, row: Row) -> tuple[np.ndarray, str, Kind]:
    """A column as times: float64, NaN where there is none.

    Dates become seconds since 1970-01-01 (in UTC where they carry a zone), clock times and durations such as 47:37
    or 0:00:01.5 seconds since zero hours. Dates that start with day and month are read the way that fits all
    rows, or else the way that keeps them in order.

    Args:
        column: dates, durations or numbers, as such or as text.
        unit: of numbers.
        date_format: of dates in text, as in ``strptime``; None: found out.
        row: names a row in an error.

    Returns:
        The times, their unit, and what they were.

    Raises:
        InputError: a row that cannot be read, dates that can be read in two ways, or ``%Z`` in their form.
    """
    if is_text(column):
        text = _text(column, MISSING_NUMBERS, ())
        if date_format is not None:
            if "%Z" in date_format.replace("%%", ""):
                raise InputError(
                    f"the form of the dates {date_format!r} holds %Z, the name of a zone, which does not tell its "
                    "hours; write each date with its offset, such as +0200, and %z for it"
                )
            return _epoch(_checked(text, _strptime(text, date_format), column.name, row, date_format))
        if text.str.contains(r"^\d+:\d{2}(:\d{2}(\.\d+)?)?$").all():
            seconds = _clock(text, row)
            return seconds, "s", "clock" if (np.nan_to_num(seconds) < DAY).all() else "number"
        if text.str.contains(r"\d\D+\d").any() and text.cast(pl.Float64, strict=False).null_count() > len(text) / 2:
            return _epoch(_checked(text, _dates(text, column.name), column.name, row))
        values = numbers(column, (), row)
    elif column.dtype in (pl.Date, pl.Datetime):
        return _epoch(column)
    elif column.dtype in (pl.Duration, pl.Time):
        nanoseconds = column.cast(pl.Duration("ns")) if column.dtype == pl.Duration else column
        seconds = nanoseconds.cast(pl.Int64).cast(pl.Float64).fill_null(np.nan).to_numpy() / 1e9
        return seconds, "s", "clock" if column.dtype == pl.Time else "number"
    else:
        values = numbers(column, (), row)
    if values is None:
        raise InputError(
            f"column {column.name!r} holds no times, but {_one(column)}; name another column, or "
            "give the form of the dates (time_format='%d.%m.%Y %H:%M', --time-format)"
        )
    values[np.isinf(values)] = np.nan
    return values, unit or "units", "number"


def over_midnight(clock: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, int]:
    """Clock times that go on past midnight: a step back of more than twelve hours begins the next day.

    Args:
        clock: (N,) seconds since zero hours.
        codes: (N,) numbers of the rows' series, each of which has days of its own.

    Returns:
        The times, and how many midnights there were.
    """
    order = np.argsort(codes, kind="stable")
    codes, seconds = codes[order], clock[order]
    midnight = np.zeros(len(clock), dtype=bool)
    midnight[1:] = (np.diff(seconds) < -DAY / 2) & (np.diff(codes) == 0)
    days = np.cumsum(midnight)
    times = np.empty_like(clock)
    times[order] = seconds + DAY * (days - days[np.searchsorted(codes, codes)])
    return times, int(midnight.sum())


def described(column: pl.Series) -> str:
    """A value of a text column, for one line, and what to do where it is a number that cannot be read."""
    known = column.drop_nulls()
    text = str(known[0]).strip() if len(known) else ""
    short = text if len(text) <= 30 else text[:30] + "..."
    return repr(short) + (f"; {SEPARATORS}" if re.match(THOUSANDS, text) else "")


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case or blanks."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _one(column: pl.Series) -> str:
    """A value of the column, on one line."""
    return repr(column.drop_nulls()[0]) if is_text(column) else f"values of type {column.dtype}"


def looks_like_dates(column: pl.Series) -> bool:
    """Whether a column that nobody named as the time holds dates."""
    if column.dtype in (pl.Date, pl.Datetime):
        return True
    if column.dtype != pl.String:
        return False
    head = column.drop_nulls().head(10)
    return len(head) > 0 and bool(head.str.contains(r"^\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}([ T]|$)").all())


def _text(column: pl.Series, marks: Iterable[str], missing: Iterable[float | str]) -> pl.Series:
    text = pl.col(column.name).cast(pl.String).str.strip_chars()
    gone = text.is_in([*marks, *(m if isinstance(m, str) else f"{m:.15g}" for m in missing)])
    return column.to_frame().select(pl.when(~gone).then(text).alias(column.name)).to_series()


def _epoch(dates: pl.Series) -> tuple[np.ndarray, str, Kind]:
    zoned = isinstance(dates.dtype, pl.Datetime) and dates.dtype.time_zone is not None
    if zoned:
        dates = dates.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    nanoseconds = dates.cast(pl.Datetime("ns")).cast(pl.Int64)
    seconds = (nanoseconds // 10**9).cast(pl.Float64) + (nanoseconds % 10**9).cast(pl.Float64) / 1e9
    return seconds.fill_null(np.nan).to_numpy(), "s", "zoned" if zoned else "local"


def _clock(text: pl.Series, row: Row) -> np.ndarray:
    """Seconds of h:mm or h:mm:ss; hours may be more than a day's."""
    wrong = text.str.contains(r":([6-9]\d)").fill_null(False)
    if wrong.any():
        i = wrong.arg_max() or 0
        raise InputError(
            f"{row(i)} has {text[i]!r} in column {text.name!r}, read as hours, minutes and seconds (h:mm or h:mm:ss), "
            "none of which has 60 minutes or seconds; write minutes and seconds as 0:mm:ss"
        )
    parts = text.to_frame("x").select(
        pl.col("x").str.split_exact(":", 2).struct.rename_fields(["h", "m", "s"]).struct.unnest()
    )
    seconds = parts.select(
        pl.col("h").cast(pl.Float64) * 3600
        + pl.col("m").cast(pl.Float64) * 60
        + pl.col("s").cast(pl.Float64).fill_null(0.0)
    )
    return seconds.to_series().fill_null(np.nan).to_numpy()


def _strptime(text: pl.Series, date_format: str) -> pl.Series:
    with suppress(pl.exceptions.PolarsError, ValueError):
        dates = text.str.strptime(pl.Datetime("ns"), date_format, strict=False)
        if dates.null_count() == text.null_count():
            return dates

    # Polars wants hours and minutes or neither, Python takes any part of a date.
    def read(value: str) -> dt.datetime | None:
        try:
            return dt.datetime.strptime(value, date_format)
        except ValueError:
            return None

    return pl.Series(text.name, [None if value is None else read(value) for value in text], dtype=pl.Datetime("ns"))


def _dates(text: pl.Series, name: str) -> pl.Series | None:
    """Dates in text, or None where no way of reading them is known."""
    known = text.drop_nulls()
    if known.str.contains(DAY_AND_MONTH_FIRST).sum() < MOSTLY * len(known):
        try:
            return text.str.to_datetime(strict=False, time_unit="ns")
        except pl.exceptions.PolarsError:
            return None
    x = pl.col("x")
    part = {key: x.str.extract(DAY_AND_MONTH_FIRST, i) for i, key in enumerate("abyhmsfp", 1)}
    parts = text.to_frame("x").select(
        *(part[key].cast(pl.Int32).alias(key) for key in "abyhms"),
        part["f"].cast(pl.Float64).alias("f"),
        (part["p"].str.to_lowercase() == "p").alias("p"),
    )
    year = pl.col("y") + pl.when(pl.col("y") < 70).then(2000).when(pl.col("y") < 100).then(1900).otherwise(0)
    hour = pl.col("h").fill_null(0)
    hour = pl.when(pl.col("p").is_null()).then(hour).otherwise(hour % 12 + 12 * pl.col("p").cast(pl.Int32))
    fraction = pl.duration(nanoseconds=(pl.col("f").fill_null(0) * 1e9).round().cast(pl.Int64), time_unit="ns")

    def read(day: str, month: str) -> pl.Series:
        fits = pl.col(month).is_between(1, 12) & pl.col(day).is_between(1, 31)
        date = [year, *(pl.when(fits).then(pl.col(c)) for c in (month, day))]
        time = [hour, *(pl.col(c).fill_null(0) for c in "ms")]
        return parts.select(pl.datetime(*date, *time, time_unit="ns") + fraction).to_series()

    day_first, month_first = read("a", "b"), read("b", "a")
    worse = month_first.null_count() - day_first.null_count()
    if "." in known[0].split()[0] or worse > 0 or day_first.equals(month_first):
        return day_first
    if worse < 0:
        return month_first
    ordered = [dates.drop_nulls().is_sorted() for dates in (day_first, month_first)]
    if ordered[0] != ordered[1]:
        return day_first if ordered[0] else month_first
    raise InputError(
        f"dates in column {name!r}, such as {known[0]!r}, can be read day first or month first; say which "
        "(time_format='%d/%m/%Y ...' or '%m/%d/%Y ...', --time-format)"
    )


def _checked(
    text: pl.Series, dates: pl.Series | None, name: str, row: Row, date_format: str | None = None
) -> pl.Series:
    if dates is None:
        dates = pl.Series([None] * len(text), dtype=pl.Datetime("ns"))
    wrong = dates.is_null() & text.is_not_null()
    if wrong.any():
        first = wrong.arg_max() or 0
        offset = re.search(OFFSET, text[first])
        raise InputError(
            f"{text[first]!r} in {row(first)} of column {name!r} cannot be read as a date"
            + (f" of the form {date_format!r}" if date_format else "")
            + "; mend it, or give the form of the dates (time_format='%d.%m.%Y %H:%M', --time-format"
            + (f"; %z stands for an offset such as {offset[1]})" if offset else ")")
        )
    return dates
