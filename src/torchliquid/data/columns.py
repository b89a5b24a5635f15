"""Columns of a table as numbers, labels or times, inferred from all rows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from torchliquid.data import dates, numerals
from torchliquid.errors import InputError, listed

DASHES = frozenset({"-", "--", "---"})
MISSING_LABELS = DASHES | {
    *("", "?", "NA", "na", "N/A", "n/a", "#N/A", "NaN", "nan", "NAN", "null", "Null", "NULL", "None", "<NA>", "NaT"),
    *("\\N", "#DIV/0!", "#VALUE!", "#REF!", "#NUM!", "#NAME?", "1.#QNAN", "-1.#IND"),
}
"""Text that means "not observed", as programs write it. Not "Na", which is sodium."""
MISSING_NUMBERS = MISSING_LABELS | {
    *(".", "none", "NONE", "Na", "nil", "missing", "Missing", "unavailable", "unknown"),
}
"""The same in columns of numbers, where these cannot be labels."""
DOUBTFUL = frozenset(
    {"none", "nil", "missing", "unavailable", "unknown", "undefined", "no data", "not available", "n.a.", "invalid"}
)
"""Words that may be labels or mean "not observed"; case is ignored."""
TRUTH = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0, "on": 1.0, "off": 0.0}
"""Words that are 1 and 0 in a channel; case is ignored."""
MOSTLY = 0.8
"""A text column with at least this share of numbers is numeric, and the rest is an error."""
MANY = 20
"""So is one with more different numbers than this, or with fractions, which are not names of classes."""

CLOCK = r"^(\d+):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?$"
DOTTED = r"^(\d{1,2})\.(\d{2})\.(\d{2})$"
"""A time of day as Italians write it, if it is not a date."""
HALF_DAYS = r"^(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d+))?)?\s*([AaPp])\.?\s?[Mm]\.?$"
DAYS = r"^(\d+) days?,? \+?(\d{1,2})(:\d{2}:\d{2}(?:[.,]\d+)?)$"
"""A duration as written by pandas and Python."""
SAY_MARK = "say which is the decimal mark (decimal=',' or '.', --decimal)"
DAY = 86400.0

Row = Callable[[int], str]
"""Names a row as its user counts, given its index in the column."""

Kind = Literal["number", "clock", "local", "zoned"]
"""Type of the times: numbers or durations, times of day, dates without a zone, dates with one."""


@dataclass(frozen=True)
class Moments:
    """A column of times.

    Attributes:
        times: (N,) float64, NaN where there is none; what was taken off them is ``origin``.
        unit: of the times.
        kind: what they were.
        origin: 0, or where single steps would be lost in a float, the whole number that times count from.
        order: of day, month and year, where it was found out.
        notes: on what was taken.
    """

    times: np.ndarray
    unit: str
    kind: Kind
    origin: int = 0
    order: dates.Order | None = None
    notes: tuple[str, ...] = ()


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause for errors about unknown names: the closest known names, or all of them if none is close."""
    known = list(known)
    lower = {k.lower(): k for k in known}
    near = [lower[k] for k in difflib.get_close_matches(name.lower(), lower, n=3, cutoff=0.6)]
    if near:
        return "did you mean " + " or ".join(repr(n) for n in near) + "?"
    return f"there are: {listed(known, 20)}"


def is_text(column: pl.Series) -> bool:
    return column.dtype in (pl.String, pl.Categorical, pl.Enum, pl.Object)


def numbers(
    column: pl.Series,
    missing: Sequence[float | str] = (),
    row: Row = str,
    truth: bool = True,
    marks: numerals.Marks | None = None,
    notes: list[str] | None = None,
) -> np.ndarray | None:
    """Convert a column to float64, NaN if not observed; None if it is not numeric.

    Args:
        column: of any type.
        missing: values that mean "not observed", besides the usual ones.
        row: names a row in an error.
        truth: whether booleans, and words such as yes and no, are 1 and 0; otherwise they are not numbers.
        marks: decimal marks of the table; None: as the column shows.
        notes: assumptions are appended here.

    Raises:
        InputError: most of a text column is numbers, but not all of it, or its numbers can be read in two ways.
    """
    if is_text(column):
        text = stripped(column, MISSING_NUMBERS, missing)
        found = numerals.read(text, marks or numerals.Marks())
        values = found.values
        if truth and values.null_count() > text.null_count():
            known = text.str.to_lowercase().replace_strict(TRUTH, default=None, return_dtype=pl.Float64)
            if known.null_count() == text.null_count():
                values, found = known, numerals.Numbers(known)
        wrong = values.is_null() & text.is_not_null()
        if found.other_mark is not None:
            i = (text == found.other_mark).arg_max() or 0
            raise InputError(
                f"{text[i]!r} in {row(i)} of column {column.name!r} is not a number with the given decimal "
                f"mark {found.mark!r} (decimal=, --decimal); leave the option out, or give the other mark"
            )
        if wrong.any():
            read = values.drop_nulls()
            readings = read.n_unique() > MANY or bool((read != read.round()).any())  # rather than names of classes
            if len(read) < MOSTLY * (len(text) - text.null_count()) and not readings:
                return None
            raise InputError(_stray(text, wrong, row))
        if found.can_be_both is not None:
            i = (text.str.contains(found.can_be_both, literal=True)).arg_max() or 0
            raise InputError(
                f"{text[i]!r} in {row(i)} of column {column.name!r} is {numerals.either_way(found.can_be_both)}; "
                f"{SAY_MARK}"
            )
        if len(found.units) > 1 and not set(found.units) <= numerals.UNITS:
            return None
        if notes is not None:
            notes += _taken(column.name, found, text, row)
    elif column.dtype.is_numeric() or column.dtype == pl.Null or (truth and column.dtype == pl.Boolean):
        values = column.cast(pl.Float64)
    else:
        return None
    array = values.fill_null(np.nan).to_numpy(writable=True)
    for mark in missing:
        with suppress(ValueError):
            array[array == float(mark)] = np.nan
    return array


def _stray(text: pl.Series, wrong: pl.Series, row: Row) -> str:
    """The error for text in a column of numbers."""
    i = wrong.arg_max() or 0
    words = text.filter(wrong).unique(maintain_order=True).to_list()
    marks = "".join(f" --missing {word!r}" for word in words[:3]) + (" ..." if len(words) > 3 else "")
    many = f" ({int(wrong.sum())} such, {len(words)} different)" if wrong.sum() > 1 else ""
    return (
        f"text {short(text[i])} in {row(i)} of column {text.name!r}, which is otherwise numeric{many}; correct it, "
        f"declare it as missing (missing={words[:3]!r},{marks}), or leave the column out"
    )


def _taken(name: str, found: numerals.Numbers, text: pl.Series, row: Row) -> list[str]:
    """Notes on the unit and the thousands separator."""
    notes = []
    if len(found.units) > 1:
        raise InputError(
            f"the numbers in column {name!r} have several units, {', '.join(found.units[:5])} (such as "
            + " and ".join(_with_unit(text, unit, row) for unit in found.units[:2])
            + "); write all of them in one"
        )
    if found.units:
        notes.append(f"Column {name!r} was read as numbers in {found.units[0]}.")
    if found.grouped is not None:
        mark = {".": " and a decimal point", ",": " and a decimal comma"}.get(found.mark or "", "")
        notes.append(f"Numbers in column {name!r} such as {found.grouped!r} have a thousands separator{mark}.")
    return notes


def _with_unit(text: pl.Series, unit: str, row: Row) -> str:
    i = text.str.ends_with(unit).arg_max() or 0
    return f"{text[i]!r} in {row(i)}"


def words(column: pl.Series, missing: Iterable[float | str] = (), notes: list[str] | None = None) -> pl.Series:
    """Convert a column of text to words, null if it is empty, a placeholder for "not observed" or one of ``missing``.
    Notes say which words were placeholders, and which others may be."""
    text = stripped(column, {""}, missing)
    found = text.drop_nulls().unique().sort().to_list()
    # Plus and minus are a pair of labels.
    marks = [word for word in found if word in MISSING_LABELS and not (word in DASHES and {"+", "++"} & {*found})]
    if notes is not None and marks:
        notes.append(f"Column {column.name!r}: {_counted(text, marks)} counts as not observed.")
    doubtful = [word for word in found if word.casefold() in DOUBTFUL and word not in marks]
    if notes is not None and doubtful:
        options = "".join(f" --missing {word!r}" for word in doubtful)
        notes.append(
            f"Column {column.name!r}: {_counted(text, doubtful)} counts as an ordinary word; if it means not "
            f"observed, declare it (missing={doubtful!r},{options})."
        )
    return text.set(text.is_in(marks), None)


def _counted(text: pl.Series, words: Sequence[str]) -> str:
    return ", ".join(f"{word!r} ({int((text == word).sum())} times)" for word in words)


def labels(column: pl.Series, missing: Iterable[float | str] = (), notes: list[str] | None = None) -> np.ndarray:
    """Convert a column to labels (dtype object), None if there is none; see :func:`words`."""
    if column.dtype == pl.Boolean:
        column = column.replace_strict({True: "True", False: "False"}, return_dtype=pl.String)
    return as_objects(words(column, missing, notes))


def as_objects(text: pl.Series) -> np.ndarray:
    """Text as an array (dtype object), None for null."""
    array = np.empty(len(text), dtype=object)
    array[:] = text.to_list()
    return array


def times(
    column: pl.Series,
    unit: str | None,
    date_format: str | None,
    row: Row,
    order: dates.OrderHint = dates.NOTHING,
    marks: numerals.Marks | None = None,
) -> Moments:
    """Convert a column to times.

    Dates become seconds since 1970-01-01 (in UTC where they carry a zone), clock times and durations such as 47:37
    or 0:00:01.5 seconds since zero hours. Dates that start with two numbers of two digits are read the way that fits
    all rows best. Whole numbers of 6 to 17 digits that are all dates (202410, 20241001083000) are dates, unless a unit
    is given.

    Args:
        column: dates, durations or numbers, as such or as text.
        unit: of numbers.
        date_format: of dates in text or in digits, as in ``strptime``; None: detected.
        row, order, marks: as in :func:`numbers` and :func:`torchliquid.data.dates.find`.

    Raises:
        InputError: a row that cannot be read, dates that can be read in two ways, or ``%Z`` in their form.
    """
    name = column.name
    if column.dtype in (pl.Date, pl.Datetime):
        zoned = isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None
        if zoned:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        _check_years(column, row)
        nanoseconds = column.cast(pl.Datetime("ns")).cast(pl.Int64)
        dropped = [("its form", date_format), ("the unit", unit)]
        notes = [
            f"Column {name!r} has the type of dates; {what} {given!r} is ignored." for what, given in dropped if given
        ]
        known = nanoseconds.is_not_null().to_numpy()
        return _moments(dates.Dates(nanoseconds.fill_null(0).to_numpy(), known, zoned, None, tuple(notes)))
    if column.dtype in (pl.Duration, pl.Time):
        per = 10**9
        if isinstance(column.dtype, pl.Duration):
            per = {"ns": 10**9, "us": 10**6, "ms": 10**3}[column.dtype.time_unit]
        steps = column.cast(pl.Int64)
        seconds, origin = since(steps.fill_null(0).to_numpy(), steps.is_not_null().to_numpy(), per)
        return Moments(seconds, "s", "clock" if column.dtype == pl.Time else "number", origin)
    text = stripped(column if is_text(column) else _digits_of(column), MISSING_NUMBERS, ())
    if date_format is not None:
        if "%Z" in date_format.replace("%%", ""):
            raise InputError(
                f"the format of the dates {date_format!r} contains %Z, the name of a zone, which does not define "
                "an offset; write each date with its offset, such as +0200, and use %z"
            )
        return _moments(dates.given(text, date_format, row))
    if unit is None and dates.digits(text):
        first = text.drop_nulls()[0]
        form = "%Y%m%d%H%M%S%f"[: {6: 4, 8: 6, 10: 8, 12: 10, 14: 12, 17: 14}[len(first)]]
        note = (
            f"Numbers in column {name!r} such as {first} are all valid dates and were read as dates; use --time-unit "
            "to read them as numbers."
        )
        return _moments(dates.given(text, form, row), (note,))
    if is_text(column):
        if text.str.contains(DAYS).all():
            days, hours, rest = (text.str.extract(DAYS, i) for i in (1, 2, 3))
            text = (days.cast(pl.Int64) * 24 + hours.cast(pl.Int64)).cast(pl.String) + rest
        if are_dotted_clocks(text):
            text = text.str.replace_all(".", ":", literal=True)
        if are_clocks(text):
            return _clock(text, row)
        if text.cast(pl.Float64, strict=False).null_count() > len(text) / 2:
            dated = dates.find(text, row, order, lambda: marks is not None and (marks.shown or marks.before) == ",")
            if dated is not None:
                return _moments(dated)
    exact = _exactly(column, text, unit)
    if exact is not None:
        return exact
    values = numbers(column, (), row, marks=marks)
    if values is None:
        content = short(column.drop_nulls()[0]) if is_text(column) else f"values of type {column.dtype}"
        raise InputError(
            f"column {name!r} does not contain times, but {content}; name another column, or "
            "give the format of the dates (time_format='%d.%m.%Y %H:%M', --time-format)"
        )
    values[np.isinf(values)] = np.nan
    return Moments(values, unit or "units", "number")


def are_clocks(text: pl.Series) -> bool:
    """Whether all are times of day, with or without AM and PM."""
    return bool(text.str.contains(CLOCK).all() or text.str.contains(HALF_DAYS).all()) or are_dotted_clocks(text)


def are_dotted_clocks(text: pl.Series) -> bool:
    """Whether 08.00.00 is a time of day: some middle part is not a month."""
    if not len(text) or not text.str.contains(DOTTED).all():
        return False
    minutes = text.str.extract(DOTTED, 2).cast(pl.Int64)
    return bool(((minutes < 1) | (minutes > 12)).any())


CODE = r"^[-+]?0\d+$"
"""Digits that are a code, not a number."""


def are_names(column: pl.Series, missing: Iterable[float | str] = ()) -> bool:
    """Whether a column of possible numbers contains codes: with leading zeros (007), with more digits than a float
    keeps, or, for classes, with one number written in several ways (1E2 and 100)."""
    if column.dtype.is_integer():
        return bool((column.cast(pl.Int128).abs() > 2**53).any())
    if not is_text(column):
        return False
    text = stripped(column, MISSING_NUMBERS, missing).drop_nulls().unique()
    if not len(text) or text.cast(pl.Float64, strict=False).null_count():
        return False
    if text.str.contains(CODE).any():
        return True
    whole = text.filter(text.str.contains(r"^[-+]?\d{16,}$"))
    if any(abs(int(v)) > 2**53 for v in whole.to_list()):
        return True
    values = text.cast(pl.Float64)
    few = len(text) <= MANY and bool((values == values.round()).all())
    return few and bool(text.str.contains("[eE]").any()) and values.n_unique() < len(text)


def without_marks(column: pl.Series, missing: Sequence[float | str]) -> pl.Series:
    """A column of times without those in ``missing``, such as 9999-12-31 with or without its midnight."""
    marks = [str(mark).strip() for mark in missing]
    if not marks or not (is_text(column) or column.dtype in (pl.Date, pl.Datetime)):
        return column
    text = column.cast(pl.String).str.strip_chars()
    day = text.str.replace(r"[ T]00:00(:00(\.0+)?)?(Z|[-+]00:?00)?$", "")
    gone = text.is_in(marks) | day.is_in(marks)
    return column.to_frame().select(pl.when(~gone).then(pl.first()).alias(column.name)).to_series()


def _check_years(column: pl.Series, row: Row) -> None:
    """Raise an error for dates that do not fit nanoseconds."""
    far = ((column.dt.year() < 1678) | (column.dt.year() > 2261)).fill_null(False)
    if far.any():
        i = far.arg_max() or 0
        date = str(column[i]).removesuffix(" 00:00:00")
        raise InputError(f"{date!r} in {row(i)} of column {column.name!r} cannot be used{dates.never(date)}")


def since(whole: np.ndarray, known: np.ndarray, per: int) -> tuple[np.ndarray, int]:
    """Whole numbers (N,) as floats of a unit ``per`` times as large, NaN where they are not known; and the origin that
    was subtracted, in the large unit: 0 unless single steps would be lost."""
    origin = 0
    there = whole[known]
    if len(there) and np.abs(there).max() >= 2**50:
        gaps = np.diff(np.sort(there))
        gaps = gaps[gaps > 0]
        lost = np.spacing(np.abs(there).max() / per) * per
        if len(gaps) and gaps.min() < 1000 * lost:
            origin = int(there.min() // per)
    whole = whole - origin * per
    times = (whole // per).astype(np.float64) + (whole % per) / per
    return np.where(known, times, np.nan), origin


def over_midnight(clock: np.ndarray, codes: np.ndarray, hours: float = 24) -> tuple[np.ndarray, int]:
    """Continue times of day past midnight: a step back of more than half a round starts the next one.

    Args:
        clock: (N,) seconds since midnight.
        codes: (N,) series of the rows, each of which has days of its own.
        hours: of a round: 24, or 12 if the clock does not distinguish the halves of the day.

    Returns:
        The times, and the number of midnights (or noons).
    """
    order = np.argsort(codes, kind="stable")
    codes, seconds = codes[order], clock[order] % (hours * 3600) if hours < 24 else clock[order]
    midnight = np.zeros(len(clock), dtype=bool)
    midnight[1:] = (np.diff(seconds) < -hours * 1800) & (np.diff(codes) == 0)
    days = np.cumsum(midnight)
    times = np.empty_like(clock)
    times[order] = seconds + hours * 3600 * (days - days[np.searchsorted(codes, codes)])
    return times, int(midnight.sum())


def twelve_hours(clock: np.ndarray, codes: np.ndarray) -> bool:
    """Whether times of day look like those of a twelve-hour clock: from one to below thirteen, with steps back of ten
    to twelve hours."""
    back = -np.diff(clock)[(np.diff(codes) == 0)]
    back = back[back > 0]
    inside = (clock >= 3600).all() and (clock < 13 * 3600).all()
    return bool(inside and len(back) and ((back > 10 * 3600) & (back <= 12 * 3600)).all())


def described(column: pl.Series, row: Row = str) -> str:
    """What in a column is not a number, and where."""
    if not is_text(column):
        return f"type {column.dtype}"
    text = stripped(column, MISSING_NUMBERS, ())
    wrong = numerals.read(text, numerals.Marks()).values.is_null() & text.is_not_null()
    i = wrong.arg_max() or 0
    return f"{short(text[i])} in {row(i)}" if wrong.any() else "no value"


def short(value: object) -> str:
    """A value, shortened for a message."""
    text = str(value)
    return repr(text if len(text) <= 30 else text[:30] + "...")


def alike(names: Iterable[str]) -> list[list[str]]:
    """Groups of names that differ only in case or spaces."""
    groups: dict[str, list[str]] = {}
    for name in sorted(set(names)):
        groups.setdefault("".join(name.casefold().split()), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def stripped(column: pl.Series, marks: Iterable[str], missing: Iterable[float | str]) -> pl.Series:
    """A column as stripped text, null for the placeholders."""
    text = column.cast(pl.String).str.strip_chars()
    return text.set(text.is_in([*marks, *(m if isinstance(m, str) else f"{m:.15g}" for m in missing)]), None)


def _digits_of(column: pl.Series) -> pl.Series:
    """Numbers as text, whole ones without a decimal point."""
    if column.dtype.is_float():
        whole = column.is_null() | column.is_nan() | (column == column.round())
        if whole.all() and column.fill_nan(0).abs().max() is not None:
            return column.fill_nan(None).cast(pl.Int64, strict=False).cast(pl.String)
    return column.cast(pl.String)


def _moments(found: dates.Dates, notes: tuple[str, ...] = ()) -> Moments:
    seconds, origin = since(found.nanoseconds, found.known, 10**9)
    kind: Kind = "zoned" if found.zoned else "local"
    return Moments(seconds, "s", kind, origin, found.order, (*found.notes, *notes))


def _exactly(column: pl.Series, text: pl.Series, unit: str | None) -> Moments | None:
    """Numbers with more digits than a float keeps; None if a float keeps them."""
    if column.dtype.is_float() or column.dtype == pl.Null:
        return None
    if column.dtype.is_integer():
        whole, per = column.cast(pl.Int64, strict=False), 1
        if whole.null_count() > column.null_count():
            return None
    else:
        head = text.drop_nulls().head(100)
        if not len(head) or not (head.str.len_chars() >= 15).any():
            return None
        form = r"^(-?\d{1,19})$|^(\d{1,10})\.(\d{1,9})$"
        if not text.str.contains(form).all():
            return None
        parts = text.str.extract_groups(form).struct.unnest()
        fractions = parts.to_series(2).is_not_null().any()
        per = 10**9 if fractions else 1
        seconds = parts.to_series(1).fill_null(parts.to_series(0)).cast(pl.Int64, strict=False)
        rest = parts.to_series(2).str.pad_end(9, "0").cast(pl.Int64, strict=False).fill_null(0)
        if fractions and (seconds.abs() > 9 * 10**9).any():
            return None
        whole = seconds * per + (rest if fractions else 0)
    known = whole.is_not_null().to_numpy()
    values, origin = since(whole.fill_null(0).to_numpy(), known, per)
    return Moments(values, unit or "units", "number", origin) if origin else None


def _clock(text: pl.Series, row: Row) -> Moments:
    """Convert h:mm or h:mm:ss to seconds; there may be more than 24 hours."""
    half_days = text.str.contains(HALF_DAYS).all() and not text.str.contains(CLOCK).all()
    parts = text.str.extract_groups(HALF_DAYS if half_days else CLOCK).struct.unnest()
    h, m, s, f = (parts.to_series(i) for i in range(4))
    hours, minutes, seconds = (part.cast(pl.Int64).fill_null(0).to_numpy() for part in (h, m, s))
    wrong = (minutes > 59) | (seconds > 59)
    if half_days:
        wrong |= (hours < 1) | (hours > 12)
        hours = hours % 12 + 12 * (parts.to_series(4).str.to_lowercase().fill_null("") == "p").to_numpy()
    if wrong.any():
        i = int(wrong.argmax())
        raise InputError(
            f"{row(i)} has {text[i]!r} in column {text.name!r}, read as hours, minutes and seconds (h:mm or h:mm:ss), "
            "none of which has 60 minutes or seconds; write minutes and seconds as 0:mm:ss"
        )
    fraction = ("0." + f).cast(pl.Float64).fill_null(0.0).to_numpy()
    times = np.where(text.is_null().to_numpy(), np.nan, hours * 3600 + minutes * 60 + seconds + fraction)
    return Moments(times, "s", "clock" if (np.nan_to_num(times) < DAY).all() else "number")
