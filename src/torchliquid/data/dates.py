"""Dates in text. Their format is detected or given; ambiguous dates raise an error.

No library for dates uses a whole column, which alone distinguishes the day from the month, or reports its assumptions.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from torchliquid.errors import InputError

Order = Literal["day first", "month first", "year first"]
ORDERS: tuple[Order, ...] = ("day first", "month first", "year first")
Row = Callable[[int], str]

SECOND = 10**9
DAY = 86400 * SECOND
RECENT = 15
"""Years: of two readings of a two-digit year, one further back than this is the less likely."""

ZONES = {
    "UTC": 0, "GMT": 0, "Z": 0, "UT": 0, "WET": 0, "WEST": 60, "CET": 60, "CEST": 120, "MEZ": 60, "MESZ": 120,
    "EET": 120, "EEST": 180, "MSK": 180, "EST": -300, "EDT": -240, "CDT": -300, "MST": -420, "MDT": -360, "PST": -480,
    "PDT": -420, "AKST": -540, "AKDT": -480, "HST": -600, "JST": 540, "KST": 540, "HKT": 480, "SGT": 480,
    "AEST": 600, "AEDT": 660, "ACST": 570, "ACDT": 630, "AWST": 480, "NZST": 720, "NZDT": 780,
}  # fmt: skip
"""Minutes east of Greenwich, of names that mean one thing; CST, IST, BST and AST mean several."""

MONTHS = (
    "jan ene gen janv",
    "feb fev fév febr",
    "mar mär mrz maa mrt mär",
    "apr abr avr",
    "may mai mag mei maj",
    "jun juin giu",
    "jul juil lug",
    "aug ago aoû aou",
    "sep set",
    "oct okt ott out",
    "nov",
    "dec dez dic déc des",
)
"""The first letters of months in English, German, French, Spanish, Italian, Dutch, Portuguese and Scandinavian."""

WORD = r"[^\W\d_]"
WEEKDAY = rf"(?:{WORD}{{2,10}}\.?,?\s+)?"
TIME = (
    r"(?P<H>\d{1,2})[:.hH](?P<M>\d{2})(?:[:.m](?P<S>\d{2})(?:[.,:](?P<f>\d+))?)?"
    r"(?:\s*(?P<p>[AaPp])\.?\s?[Mm]\.?)?(?:\s*Uhr)?"
)
ZONE = r"(?:\s*(?P<z>[A-Za-z]{1,5}|(?:UTC|GMT)?\s?[-+]\d{1,2}(?::?\d{2})?)(?:\[[^\]]*\]|\s*\([^)]*\))?)?"
BETWEEN = r"(?:\s*[T,;_]\s*|\s+(?:-\s+)?|:)"
MON = rf"(?P<b>{WORD}{{3,12}})\.?"
DATE_FORMS = (
    r"(?P<Y>\d{4})[-/.年](?P<m>\d{1,2})[-/.月](?P<d>\d{1,2})日?",
    r"(?P<a>\d{1,2})[-/.](?P<c>\d{1,2})[-/.](?P<e>\d{4}|\d{2})\.?",
    rf"(?P<d>\d{{1,2}})(?:st|nd|rd|th)?\.?[-/ ]?{MON}[-/, ]*(?P<y>\d{{4}}|\d{{2}})",
    rf"{MON}[-/ ]*(?P<d>\d{{1,2}})(?:st|nd|rd|th)?[-/, ]+(?P<y>\d{{4}}|\d{{2}})",
    rf"(?P<y>\d{{4}})[-/ ]{MON}[-/ ]?(?P<d>\d{{1,2}})",
)
NAMED = rf"(?P<b>(?i:{'|'.join(' '.join(MONTHS).split())}){WORD}*)"
MONTH_FORMS = (
    r"(?P<Y>(?:19|20)\d{2})[-/.年](?P<m>0?[1-9]|1[0-2])月?",
    r"(?P<m>0?[1-9]|1[0-2])[-/.](?P<Y>(?:19|20)\d{2})",
    rf"{NAMED}[-/ ,.]+(?P<y>(?:19|20)\d{{2}})",
    rf"(?P<y>(?:19|20)\d{{2}})[-/ ,.]+{NAMED}",
)
FORMS = (
    *(rf"^{WEEKDAY}{date}(?:{BETWEEN}{TIME}{ZONE})?$" for date in DATE_FORMS),
    r"^(?P<Y>\d{4})-?(?P<m>\d{2})-?(?P<d>\d{2})"
    r"(?:[T _-]?(?P<H>\d{2})(?:(?P<M>\d{2})(?:(?P<S>\d{2})[.,]?(?P<f>\d+)?)?)?)?" + ZONE + "$",
    rf"^{WORD}{{2,10}}\s+{MON}\s+(?P<d>\d{{1,2}})\s+{TIME}{ZONE}\s+(?P<y>\d{{4}})$",  # as of ctime
    *(rf"^{TIME}{ZONE}(?:\s*[,;]\s*|\s+){WEEKDAY}{date}$" for date in DATE_FORMS),
    *(f"^{month}$" for month in MONTH_FORMS),
)

DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d{2})", "m": r"(?P<m>\d{1,2})", "d": r"(?P<d>\d{1,2})",
    "e": r"\s*(?P<d>\d{1,2})",
    "H": r"(?P<H>\d{1,2})", "I": r"(?P<H>\d{1,2})", "k": r"\s*(?P<H>\d{1,2})", "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})", "f": r"(?P<f>\d+)", "p": r"(?P<p>[AaPp])\.?\s?[Mm]\.?", "b": MON, "B": MON, "h": MON,
    "a": rf"{WORD}+\.?", "A": rf"{WORD}+\.?", "%": "%",
    "z": r"(?P<z>Z|[-+]\d{2}(?::?\d{2})?)", ":z": r"(?P<z>Z|[-+]\d{2}(?::?\d{2})?)",
    "s": r"(?P<s>-?\d+)",
}  # fmt: skip
SHORT = {"T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "F": "%Y-%m-%d", ".f": ".%f", "X": "%H:%M:%S", "x": "%m/%d/%y"}


@dataclass(frozen=True)
class OrderHint:
    """The order of day, month and year: given for this column, or that of a similar table."""

    given: Order | None = None
    before: Order | None = None


NOTHING = OrderHint()


@dataclass(frozen=True)
class Dates:
    """The dates in a column.

    Attributes:
        nanoseconds: (N,) int64 since 1970-01-01, in UTC if zoned.
        known: (N,) True if there is a date.
        zoned: whether all have a zone.
        order: of day, month and year, if it was inferred.
        notes: on how dates were interpreted.
    """

    nanoseconds: np.ndarray
    known: np.ndarray
    zoned: bool
    order: Order | None = None
    notes: tuple[str, ...] = ()


def find(text: pl.Series, row: Row, order: OrderHint = NOTHING, comma: Callable[[], bool] = bool) -> Dates | None:
    """Read dates and detect their format; None if the first values have no known format.

    Args:
        text: stripped, null if there is no value.
        row: names a row in an error.
        order: of day, month and year. A given order is used; that of another table takes precedence over a guess.
        comma: whether numbers of the table have decimal commas, which suggests that the day comes first.

    Raises:
        InputError: a value has another format or is not a valid date, or the dates are ambiguous.
    """
    known = text.drop_nulls()
    if not len(known):
        return None
    fast = _as_written_by_programs(text)
    if fast is not None:
        return fast
    head = known.head(20)
    for form in FORMS:
        fits = head.str.contains(form)
        if fits.sum() * 2 > len(head):
            return _read(text, form, row, order, comma=comma)
    return None


def are_dates(text: pl.Series) -> bool:
    """Whether the first values of a column look like dates; numbers do not."""
    head = text.drop_nulls().head(10)
    if not len(head) or head.cast(pl.Float64, strict=False).null_count() < len(head):
        return False
    return any(bool(head.str.contains(form).all()) for form in FORMS)


def digits(text: pl.Series) -> bool:
    """Whether whole numbers are all dates: YYYYMM, or YYYYMMDD with or without a time of day."""
    known = text.drop_nulls()
    widths = known.str.len_chars().unique().to_list()
    if widths == [6]:
        months = known.str.contains(r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])$").all()
        return bool(months and (known.n_unique() > 12 or (known.cast(pl.Int64).diff().drop_nulls() >= 0).all()))
    if len(widths) != 1 or widths[0] not in (8, 10, 12, 14, 17):
        return False
    if not known.str.contains(r"^(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])").all():
        return False
    parts = known.str.extract_groups(FORMS[5]).struct.unnest()
    return bool((_days(*(_number(parts, k) for k in "Ymd"))[1] & _clock(parts)[1]).all())


def given(text: pl.Series, form: str, row: Row) -> Dates:
    """Read dates of a format as in ``strptime``; ``%f`` is a fraction of a second of any length."""
    regex = as_regex(form)
    return _by_python(text, form, row) if regex is None else _read(text, regex, row, NOTHING, form)


def as_regex(form: str) -> str | None:
    """Convert a format of ``strptime`` to a regular expression with a group per part; None if that is not possible."""
    for short, long in SHORT.items():
        form = form.replace(f"%{short}", long)
    pattern = ""
    seen: set[str] = set()
    for literal, name in re.findall(r"([^%]+)|%(:?.)", form):
        if literal:
            pattern += re.sub(r"(?:\\\s|\s)+", r"\\s+", re.escape(literal))
        elif name in DIRECTIVES:
            groups = set(re.findall(r"\?P<(\w)>", DIRECTIVES[name]))
            if groups & seen:
                return None
            seen |= groups
            pattern += DIRECTIVES[name]
        else:
            return None
    return f"^{pattern}$"


def _as_written_by_programs(text: pl.Series) -> Dates | None:
    """Read the format that most programs write, with Polars."""
    one = r"^\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}:[0-5]\d(\.\d{1,9})?$"
    head = text.drop_nulls().head(100)
    if not head.str.contains(one).all() or not text.str.contains(one).all():
        return None
    form = f"%Y-%m-%d{head[0][10]}%H:%M:%S%.f"
    dates = text.str.strptime(pl.Datetime("ns"), form, strict=False)
    if dates.null_count() != text.null_count():
        return None
    years = text.str.slice(0, 4).cast(pl.Int32)
    if ((years < 1678) | (years > 2261)).any():  # nanoseconds would wrap around
        return None
    return Dates(dates.cast(pl.Int64).fill_null(0).to_numpy(), dates.is_not_null().to_numpy(), False)


def _number(parts: pl.DataFrame, name: str, default: int = -1) -> np.ndarray:
    """A part of all dates, or the default if it is missing."""
    if name not in parts.columns:
        return np.full(len(parts), default, dtype=np.int64)
    return parts[name].cast(pl.Int64, strict=False).fill_null(default).to_numpy().astype(np.int64)


def _days(years: np.ndarray, months: np.ndarray, days: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Days since 1970-01-01, and which are valid."""
    right = (months >= 1) & (months <= 12) & (days >= 1) & (years >= 1678) & (years <= 2261)
    month = ((np.where(right, years, 1970) - 1970) * 12 + np.where(right, months, 1) - 1).astype("datetime64[M]")
    first = month.astype("datetime64[D]").astype(np.int64)
    length = (month + 1).astype("datetime64[D]").astype(np.int64) - first
    return first + days - 1, right & (days <= length)


def _clock(parts: pl.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Nanoseconds since midnight, and which are valid."""
    hours, minutes, seconds = (_number(parts, name, 0) for name in "HMS")
    right = (minutes < 60) & (seconds < 60)
    if "p" in parts.columns and parts["p"].is_not_null().any():
        half, marked = parts["p"].str.to_lowercase().fill_null("").to_numpy(), parts["p"].is_not_null().to_numpy()
        right &= ~marked | ((hours >= 1) & (hours <= 12))
        hours = np.where(marked, hours % 12 + 12 * (half == "p"), hours)
    fraction = np.zeros(len(parts), dtype=np.int64)
    if "f" in parts.columns and parts["f"].is_not_null().any():
        fraction = parts["f"].str.slice(0, 9).str.pad_end(9, "0").cast(pl.Int64).fill_null(0).to_numpy()
    midnight = (hours == 24) & (minutes == 0) & (seconds == 0) & (fraction == 0)
    right &= (hours < 24) | midnight
    return ((hours * 60 + minutes) * 60 + seconds) * SECOND + fraction, right


def _read(
    text: pl.Series, form: str, row: Row, order: OrderHint, given: str | None = None, comma: Callable[[], bool] = bool
) -> Dates:
    parts = text.str.replace_all("\u2212", "-", literal=True).str.extract_groups(form).struct.unnest()
    known = text.is_not_null().to_numpy()
    if "s" in parts.columns:
        seconds = parts["s"].cast(pl.Int64, strict=False)
        _check(text, known & seconds.is_null().to_numpy(), row, given)
        return Dates(seconds.fill_null(0).to_numpy() * SECOND, known, True)
    notes: list[str] = []
    clock, right = _clock(parts)
    years, months, days = (_number(parts, name) for name in ("Y", "m", "d"))
    if not {"a", "d"} & set(parts.columns):  # months
        days = np.ones_like(months)
    if "y" in parts.columns:
        years = _whole_year(_number(parts, "y"), parts["y"])
    if "b" in parts.columns:
        months = _months(parts["b"])
    if given is not None:  # defaults for missing parts, as in Python
        years, months, days = (
            np.full_like(part, default) if (part == -1).all() else part
            for part, default in ((years, 1900), (months, 1), (days, 1))
        )
    found: Order | None = None
    if "a" in parts.columns:
        found, years, months, days, note = _numbers_apart(text, parts, known, order, comma)
        notes += note
        given = order.given
    date, valid = _days(years, months, days)
    read = parts.select(~pl.all_horizontal(pl.all().is_null())).to_series().to_numpy()
    _check(text, known & ~(valid & right & read), row, given)
    nanoseconds = np.where(known, date * DAY + clock, 0)
    zoned = False
    if "z" in parts.columns and parts["z"].is_not_null().any():
        zones = parts["z"]
        without = known & zones.is_null().to_numpy()
        if without.any():
            i, j = int(without.argmax()), int(zones.is_not_null().arg_max() or 0)
            raise InputError(
                f"{text[i]!r} in {row(i)} of column {text.name!r} has no zone, {text[j]!r} in {row(j)} has one; give "
                "all dates a zone, or none"
            )
        minutes, zone_notes = _offsets(zones, text, row)
        nanoseconds, zoned = nanoseconds - np.where(known, minutes, 0) * 60 * SECOND, True
        notes += zone_notes
    return Dates(nanoseconds, known, zoned, found, tuple(notes))


def _whole_year(years: np.ndarray, text: pl.Series) -> np.ndarray:
    short = (text.str.len_chars() <= 2).fill_null(False).to_numpy()
    return np.where(short, years + np.where(years < 70, 2000, 1900), years)


def _months(names: pl.Series) -> np.ndarray:
    number = {}
    for name in names.drop_nulls().unique().to_list():
        begins = [name.casefold().startswith(tuple(starts.split())) for starts in MONTHS]
        number[name] = begins.index(True) + 1 if any(begins) else -1
    return names.replace_strict(number, default=-1, return_dtype=pl.Int64).to_numpy()


def _offsets(zones: pl.Series, text: pl.Series, row: Row) -> tuple[np.ndarray, list[str]]:
    """Minutes east of Greenwich of each zone, and a note on those that are names."""
    minutes: dict[str, int] = {}
    named = {}
    for zone in zones.drop_nulls().unique(maintain_order=True).to_list():
        offset = re.fullmatch(r"(?:UTC|GMT)?\s?([-+])(\d{1,2}):?(\d{2})?", zone)
        if offset:
            minutes[zone] = int(f"{offset[1]}1") * (int(offset[2]) * 60 + int(offset[3] or 0))
        elif zone.upper() in ZONES:
            minutes[zone] = ZONES[zone.upper()]
            if zone.upper() not in ("Z", "UTC", "GMT", "UT"):
                named[zone] = minutes[zone]
        else:
            i = (zones == zone).arg_max() or 0
            raise InputError(
                f"{text[i]!r} in {row(i)} of column {text.name!r} contains {zone!r}, which is not the name of one "
                "zone; write each date with its offset, such as +0200"
            )
    notes = []
    if named:
        zone_list = ", ".join(f"{zone} as {m // 60:+03d}:{m % 60:02d}" for zone, m in named.items())
        notes.append(f"Names of zones in column {text.name!r} were interpreted: {zone_list}.")
    known = zones.replace_strict(minutes, default=0, return_dtype=pl.Int64)
    return known.to_numpy(), notes


def _numbers_apart(
    text: pl.Series, parts: pl.DataFrame, known: np.ndarray, hint: OrderHint, comma: Callable[[], bool]
) -> tuple[Order, np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Decide which of three numbers are day, month and year: the order that fits the whole column best. Returns it,
    the years, months and days, and notes; an error if two orders fit equally well."""
    a, c, e = (_number(parts, name) for name in "ace")
    last, first = _whole_year(e, parts["e"]), _whole_year(a, parts["a"])
    readings: dict[Order, tuple[np.ndarray, ...]] = {"day first": (last, c, a), "month first": (last, a, c)}
    if not (e > 31).any():
        readings["year first"] = (first, c, e)
    example = str(text.drop_nulls()[0])
    dotted = re.search(r"\d\.\d{1,2}\.\d", re.sub(r"\d+:\S*", "", example)) is not None
    if hint.given is not None:
        if hint.given not in readings:
            raise InputError(f"dates in column {text.name!r}, such as {example!r}, cannot be read {hint.given}")
        year, month, day = readings[hint.given]
        return hint.given, year, month, day, []
    if dotted and hint.before != "month first":
        del readings["month first"]
    wrong = {order: int((known & ~_days(*reading)[1]).sum()) for order, reading in readings.items()}
    fitting = [order for order, count in wrong.items() if count == min(wrong.values())]
    distinct: list[Order] = []
    for order in fitting:
        if not any(
            all(np.array_equal(x[known], y[known]) for x, y in zip(readings[order], readings[other], strict=True))
            for other in distinct
        ):
            distinct.append(order)
    notes: list[str] = []
    if hint.before in distinct:
        distinct = [hint.before]
    if len(distinct) > 1:
        clock = _clock(parts)[0]
        against = {order: _against(readings[order], clock, known) for order in distinct}
        if dotted and "year first" in against:
            against["year first"] += 1
        best = [order for order in distinct if against[order] == min(against.values())]
        half_days = "p" in parts.columns and parts["p"].is_not_null().any()
        if set(best) == {"day first", "month first"} and half_days and "/" in example:
            best = ["month first"]  # usual with AM and PM
        elif set(best) == {"day first", "month first"} and comma():
            best = ["day first"]
        if len(best) > 1:
            ways = " or ".join(best)
            forms = {"day first": "%d/%m/%Y ...", "month first": "%m/%d/%Y ...", "year first": "%y/%m/%d ..."}
            named = " or ".join(f"'{forms[order]}'" for order in best)
            raise InputError(
                f"dates in column {text.name!r}, such as {example!r}, can be read {ways}; choose one "
                f"(date_order={best[0]!r}, --date-order {best[0].replace(' ', '-')}; or time_format={named}, "
                "--time-format)"
            )
        distinct = best
        date = "{}-{:02d}-{:02d}".format(*(int(part[known][0]) for part in readings[distinct[0]]))
        notes.append(
            f"Dates in column {text.name!r} such as {example!r} were read {distinct[0]}, as {date}; if this is "
            "wrong, give their format (time_format=, --time-format)."
        )
    order = distinct[0]
    year, month, day = readings[order]
    return order, year, month, day, notes


def _against(reading: tuple[np.ndarray, ...], clock: np.ndarray, known: np.ndarray) -> int:
    """Evidence against an order: times that go back, years that change while the day does not, years long ago."""
    days, _ = _days(*reading)
    moments = (days * DAY + clock)[known]
    year, day = reading[0][known], reading[2][known]
    this = dt.datetime.now(dt.UTC).year
    back = np.diff(moments) < 0
    newest_first = bool((np.diff(moments) <= 0).all())
    out_of_order = 0 if not back.any() else 1 if newest_first else 2
    years_run = len(np.unique(year)) > len(np.unique(day))
    return out_of_order + int(years_run) + int(year.max() < this - RECENT or year.max() > this + 1)


def _check(text: pl.Series, wrong: np.ndarray, row: Row, form: str | None) -> None:
    if not wrong.any():
        return
    i = int(wrong.argmax())
    offset = re.search(r":\d{2}(?:\.\d+)? *([-+]\d{2}:?\d{2})$", text[i])
    raise InputError(
        f"{text[i]!r} in {row(i)} of column {text.name!r} cannot be read as a date"
        + (f" {form}" if form in ORDERS else f" of the format {form!r}" if form else "")
        + never(text[i])
        + "; correct it, or give the format of the dates (time_format='%d.%m.%Y %H:%M', --time-format"
        + (f"; %z is an offset such as {offset[1]})" if offset else ")")
    )


def never(date: str) -> str:
    """What to do about a date outside the supported years."""
    year = re.search(r"(?<!\d)\d{4}(?!\d)", date)
    if year is None or 1678 <= int(year[0]) <= 2261:
        return ""
    return (
        f": years must be from 1678 to 2261; if it means 'never', declare it as missing (missing=[{date!r}], --missing "
        f"{date!r})"
    )


def _by_python(text: pl.Series, form: str, row: Row) -> Dates:
    """Read formats with other parts, such as the week of the year, with Python."""
    values: list[dt.datetime | None] = []
    zoned = False
    for written in text:
        value = None
        with suppress(ValueError):
            value = None if written is None else dt.datetime.strptime(written, form)
        if value is None or not 1678 <= value.year <= 2261:
            values.append(None)
            continue
        zoned |= value.tzinfo is not None
        values.append(value.astimezone(dt.UTC).replace(tzinfo=None) if value.tzinfo is not None else value)
    known = text.is_not_null().to_numpy()
    _check(text, known & np.array([value is None for value in values]), row, form)
    return Dates(np.array(values, dtype="datetime64[us]").astype(np.int64) * 1000 * known, known, zoned)
