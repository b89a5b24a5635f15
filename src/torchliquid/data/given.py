"""Convert user input to plain arrays: masked, typed, named, as text or as objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import polars as pl

from torchliquid.data import columns, dates, numerals
from torchliquid.data.columns import MISSING_LABELS, TRUTH
from torchliquid.data.numerals import Mark, is_plain
from torchliquid.data.roles import column_of, named_for, pairs_in
from torchliquid.errors import InputError

NOTHING: Mapping[str, Any] = MappingProxyType({})

MICROSECONDS = {
    "us": 1,
    "ms": 1000,
    **dict.fromkeys(("s", "sec", "second", "seconds"), 10**6),
    **dict.fromkeys(("min", "minute", "minutes"), 60 * 10**6),
    **dict.fromkeys(("h", "hour", "hours"), 3600 * 10**6),
    **dict.fromkeys(("d", "day", "days"), 86400 * 10**6),
}
"""Units of time."""

EXACT = 2**53
"""From here on, a float does not represent every whole number."""


def unmasked(values: Any, what: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Values as an array, and its mask if it has one."""
    masked = isinstance(values, np.ma.MaskedArray)
    try:
        return np.asarray(values.data if masked else values), np.ma.getmaskarray(values) if masked else None
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: not an array ({error})") from None


def floats(values: Any, what: str) -> np.ndarray:
    """Convert readings to float64 of the same shape, NaN if masked, None or ``pd.NA``. Text, complex numbers and times
    raise an error, which starts with ``what``."""
    array, mask = unmasked(values, what)
    if array.dtype.kind == "O":
        # Comparisons of pd.NA are neither true nor false.
        plain = [np.nan if is_missing(v) else v for v in array.reshape(-1).tolist()]
        array = np.array(plain, dtype=object).reshape(array.shape)
        if any(isinstance(v, complex) for v in array.reshape(-1).tolist()):
            array = array.astype(complex)
    if array.dtype.kind == "c":
        raise InputError(f"{what}: complex numbers; give their real and imaginary parts as separate channels")
    if array.dtype.kind in "mM":
        raise InputError(f"{what}: {array.dtype} are times, not readings; pass them as times, or as plain numbers")
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: not an array of numbers ({error})") from None
    if mask is not None:
        numbers[mask] = np.nan
    return numbers


def is_missing(value: Any) -> bool:
    """Whether a value is missing: None, NaN, NaT, ``pd.NA`` or masked."""
    if value is None or value is np.ma.masked:
        return True
    try:
        return bool(value != value)
    except (TypeError, ValueError):  # pd.NA
        return True


def names_of(values: Any) -> list[str] | None:
    """The column names of a data frame; None for other values."""
    columns = getattr(values, "columns", None)
    if columns is None or callable(columns) or list(columns) == list(range(len(columns))):
        return None
    return [str(c) for c in columns]


def by_name(given: Sequence[str], wanted: Sequence[str], what: str) -> list[int]:
    """Indices of the wanted names among the given ones, which must be the same."""
    missing = [name for name in wanted if name not in given]
    more = [name for name in given if name not in wanted]
    if missing or more:
        differences = [
            f"{word} {', '.join(map(repr, names[:5]))}" for word, names in (("no", missing), ("also", more)) if names
        ]
        raise InputError(f"{what} has {' and '.join(differences)}; all need the same columns")
    return [list(given).index(name) for name in wanted]


def in_seconds(times: np.ndarray) -> np.ndarray:
    """Convert datetime64 (since 1970, from 1678 to 2261) or timedelta64 of any unit to seconds; NaN for NaT."""
    missing = np.isnat(times)
    if times.dtype.kind == "M":
        years = times.astype("datetime64[Y]").astype(np.int64) + 1970
        far = ~missing & ((years < 1678) | (years > 2261))
        if far.any():
            i = int(np.argmax(far))
            raise InputError(
                f"sample {i} has the date {times[i]}, outside of 1678 to 2261; if it means 'never', leave it out"
            )
    unit, _ = np.datetime_data(times.dtype)
    if unit == "generic":
        raise InputError("timedelta64 without a unit; give it one, like timedelta64[ms]")
    if unit in ("Y", "M") and times.dtype.kind == "m":
        raise InputError("timedelta64 in years or months, which differ in length; give days")
    kind = "datetime64" if times.dtype.kind == "M" else "timedelta64"
    if unit in ("Y", "M", "W", "D", "h", "m", "s"):
        return np.where(missing, np.nan, times.astype(f"{kind}[s]").astype(np.int64).astype(np.float64))
    per = {"ms": 10**3, "us": 10**6, "ns": 10**9, "ps": 10**12, "fs": 10**15, "as": 10**18}[unit]
    whole, rest = np.divmod(times.astype(f"{kind}[{unit}]").astype(np.int64), per)
    return np.where(missing, np.nan, whole + rest / per)


def moments(times: Any, what: str) -> tuple[np.ndarray, str | None]:
    """Convert times (T,) to numbers, NaN if missing, and tell their type.

    Times are numbers, datetime64, timedelta64, or dates with or without a zone as objects or ISO strings. Dates
    (``"date"``) become seconds since 1970, in UTC if they have a zone. Durations (``"duration"``) become seconds. Plain
    numbers (None) are unchanged.
    """
    if str(getattr(times, "dtype", "")).startswith("datetime64[") and not isinstance(times, np.ndarray):
        times = np.asarray(times, dtype="datetime64[ns]")  # of pandas, in UTC where there is a zone
    array, mask = unmasked(times, what)
    if array.dtype.kind in "OUST" and array.size:
        flat = [_typed(v) for v in array.reshape(-1).tolist()]
        kinds = {type(v) for v in flat if v is not None}
        if kinds in ({np.datetime64}, {np.timedelta64}):
            unit = "datetime64[us]" if kinds == {np.datetime64} else "timedelta64[us]"
            array = np.array([np.array("NaT", dtype=unit) if v is None else v for v in flat], dtype=unit)
    try:
        numbers = in_seconds(array) if array.dtype.kind in "mM" else floats(array, what)
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(what) else f"{what}: {error}") from None
    if mask is not None:
        numbers = np.where(mask, np.nan, numbers)
    kind = {"m": "duration", "M": "date"}.get(array.dtype.kind)
    return np.array(numbers, dtype=np.float64).reshape(-1), kind


def _typed(value: Any) -> Any:
    """A date or a duration as NumPy's, in microseconds; None for none; anything else as it is."""
    if is_missing(value):
        return None
    if isinstance(value, str):
        try:
            value = dt.datetime.fromisoformat(value.strip())
        except ValueError:
            return value
    if isinstance(value, dt.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(dt.UTC).replace(tzinfo=None)
        return np.datetime64(value, "us")
    if isinstance(value, dt.date):
        return np.datetime64(value, "us")
    return np.timedelta64(value, "us") if isinstance(value, dt.timedelta) else value


def is_typed(times: Any) -> bool:
    """Whether times, or one, carry their unit or date themselves."""
    if isinstance(times, dt.timedelta | dt.datetime | dt.date | np.timedelta64 | np.datetime64):
        return True
    return getattr(getattr(times, "dtype", None), "kind", "") in "mM" and hasattr(times, "dtype")


def span(elapsed: Any, time_unit: str) -> Any:
    """A time between samples, or several, as numbers in a unit of time; plain numbers are unchanged."""
    if isinstance(elapsed, np.ma.MaskedArray):
        return floats(elapsed, "elapsed")
    if isinstance(elapsed, Sequence) and not isinstance(elapsed, str) and any(is_typed(e) for e in elapsed):
        return np.array([span(e, time_unit) for e in elapsed], dtype=np.float64)
    if not hasattr(elapsed, "__len__") and np.ndim(elapsed) == 0 and is_missing(elapsed):
        return np.nan
    if isinstance(elapsed, dt.timedelta):  # pandas' as well
        exact = getattr(elapsed, "value", None)
        seconds: Any = exact / 10**9 if isinstance(exact, int) and hasattr(elapsed, "asm8") else elapsed.total_seconds()
    elif getattr(getattr(elapsed, "dtype", None), "kind", "") == "m":
        seconds = in_seconds(np.atleast_1d(np.asarray(elapsed)))
        seconds = seconds if np.ndim(elapsed) else float(seconds[0])
    elif is_typed(elapsed):
        raise InputError(f"{elapsed!r} is a moment, no time since the sample before; give it as time=")
    else:
        return elapsed
    if time_unit not in MICROSECONDS:
        raise InputError(
            f"the model's time is in {time_unit!r}, not in a unit of time; give elapsed as a number of them"
        )
    return seconds * (10**6 / MICROSECONDS[time_unit])


def taken_time(values: Mapping[str, Any], table: Mapping[str, Any]) -> tuple[dict[str, Any], Any]:
    """Split a message into its readings and its time, by the name of the column, or of the two, that held the time in
    training; None if it has no time."""
    name = str(table.get("time"))
    for pair in pairs_in(name) if name not in values else ():
        if all(part in values for part in pair):
            return {k: v for k, v in values.items() if k not in pair}, " ".join(str(values[part]) for part in pair)
    return {k: v for k, v in values.items() if k != name}, values.get(name)


def stamp(time: Any, time_unit: str, table: Mapping[str, Any] = NOTHING) -> np.ndarray:
    """Convert one or more times to numbers in a unit; NaN if missing.

    Args:
        time: numbers, dates, or text in ISO format or in that of the training table.
        time_unit: of the model; dates need a unit of time.
        table: how the training table was read.
    """
    one = isinstance(time, str | dt.date) or np.ndim(time) == 0
    if isinstance(time, str) and isinstance(_typed(time), str):  # not in ISO format
        marks = numerals.Marks(before=table.get("decimal"))
        order = dates.OrderHint(before=table.get("date_order"))
        text = pl.Series("time", [time])
        found = columns.times(text, None, table.get("time_format"), lambda _: "the sample", order, marks)
        numbers, kind = found.times + found.origin, None if found.kind == "number" else "date"
    else:
        numbers, kind = moments([time] if one else time, "time")
    if kind is not None:
        if time_unit not in MICROSECONDS:
            raise InputError(f"the model's time is in {time_unit!r}, which is not a unit of time; give a number")
        numbers = numbers * (10**6 / MICROSECONDS[time_unit])
    return numbers


def readings(
    values: Any, channels: Sequence[str], table: Mapping[str, Any] = NOTHING
) -> tuple[np.ndarray, int, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Put one or more live samples into the order of a model's channels.

    Args:
        values: numbers in that order; or by name, as a mapping, a pandas Series or a data frame; or a list of such.
            A column of words may have its own name, for all of its channels (``valve`` for ``valve=open``).
        channels: of the model.
        table: how the training table was read. Text is read with its decimal mark; by name, its placeholders for
            missing values are not observed.

    Returns:
        float64, NaN if not observed; the number of texts that could not be read, including unknown words; channels
        without a reading, and names without a channel.

    Raises:
        InputError: no name is a channel, or a value is not a reading.
    """
    missing: tuple[str, ...] = ()
    more: tuple[str, ...] = ()
    if isinstance(values, list | tuple) and values and all(_named(v) for v in values):
        parts = [readings(v, channels, table) for v in values]
        lacking = dict.fromkeys(name for _, _, (lack, _) in parts for name in lack)
        extra = dict.fromkeys(name for _, _, (_, more) in parts for name in more)
        return np.stack([p[0] for p in parts]), sum(p[1] for p in parts), (tuple(lacking), tuple(extra))
    if (named := _columns(values)) is not None:
        sources = {c: column_of(c, named) for c in channels}
        missing = tuple(c for c, source in sources.items() if source is None)
        more = tuple(name for name in named if name not in {source[0] for source in sources.values() if source})
        if len(missing) == len(channels):
            raise InputError(
                f"a sample with {', '.join(map(repr, more[:5]))} has none of the model's channels; it needs "
                f"{', '.join(map(repr, channels[:5]))}"
            )
        words: dict[str, list[str]] = {}
        for column, word in (source for source in sources.values() if source is not None):
            if word is not None:
                words.setdefault(column, []).append(word)
        spelled: dict[str, np.ndarray] = {}
        strange = 0
        for column, known in words.items():
            found, unknown = _spelled(named[column], known, table)
            spelled |= {named_for(column, word): found[..., i] for i, word in enumerate(known)}
            strange += unknown
        each = [spelled[c] if c in spelled else _without_marks(named.get(c, np.nan), table) for c in channels]
        depth = max(np.ndim(c) for c in each)
        longest = max(len(c) for c in each if np.ndim(c)) if depth else 0
        values = [c if np.ndim(c) == depth else [c] * longest for c in each]
        found, unread = _read(values, table)
        return (found.T if depth else found), unread + strange, (missing, more)
    found, unread = _read(values, table)
    return found, unread, (missing, more)


def _named(values: Any) -> bool:
    return isinstance(values, Mapping) or (hasattr(values, "index") and not isinstance(values, list | tuple | str))


def _columns(values: Any) -> dict[str, Any] | None:
    """Readings by name; None if there are no names."""
    if isinstance(values, Mapping):
        return {str(name): value for name, value in values.items()}
    if (names := names_of(values)) is not None:
        table = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else values, dtype=object)
        return {name: table[:, i].tolist() for i, name in enumerate(names)}
    index = getattr(values, "index", None)
    if index is None or callable(index) or not all(isinstance(name, str) for name in index):
        return None
    return dict(zip(list(index), list(values), strict=True))


def _spelled(values: Any, known: Sequence[str], table: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Convert one or more words to indicators (..., K) of the K known, NaN if missing or unknown; count the unknown."""
    given = list(values) if np.ndim(values) else [values]
    marks = {"", *MISSING_LABELS, *map(str, table.get("missing") or ())} - set(known)
    words = [None if is_missing(v) else str(v).strip() for v in given]
    # Not by indicators(), as for a table: Polars takes a thousand times as long for the one word of a live sample.
    found = np.full((len(words), len(known)), np.nan)
    for i, word in enumerate(words):
        if word in known:
            found[i] = [word == one for one in known]
    unknown = sum(word is not None and word not in known and word not in marks for word in words)
    return (found if np.ndim(values) else found[0]), unknown


def _without_marks(values: Any, table: Mapping[str, Any]) -> Any:
    """One or more readings of a channel, with placeholders for missing values as NaN."""
    marks = [str(mark) for mark in table.get("missing") or ()]
    if not marks:
        return values
    numbers = {float(mark) for mark in marks if is_plain(mark)}

    def one(value: Any) -> Any:
        gone = value.strip() in marks if isinstance(value, str) else not is_missing(value) and value in numbers
        return np.nan if gone else value

    return [one(v) for v in values] if np.ndim(values) else one(values)


def _number_in(text: str, mark: Mark | None) -> float | None:
    """Read a number from text with this decimal mark; None if it is not a number or is ambiguous."""
    word = text.strip().lower()
    if word in TRUTH:
        return TRUTH[word]
    if is_plain(word) and not (mark == "," and "." in word):
        return float(word)
    found = numerals.read(pl.Series([text.strip()]), numerals.Marks(before=mark))
    return None if found.can_be_both is not None else found.values[0]


def _read(values: Any, table: Mapping[str, Any]) -> tuple[np.ndarray, int]:
    """Convert readings to float64, and count texts that are not numbers."""
    if isinstance(values, list | tuple):  # NumPy warns of a masked one among others
        values = [np.nan if value is np.ma.masked else value for value in values]
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    if array.dtype.kind in "US" and array is not values:  # numbers among text stay numbers
        array = np.asarray(values, dtype=object)
    if array.dtype.kind not in "OUST":
        return floats(array, "a sample"), 0
    numbers = np.full(array.size, np.nan)
    unread = 0
    for i, value in enumerate(array.reshape(-1).tolist()):
        if isinstance(value, str):
            number = _number_in(value, table.get("decimal"))
            unread += number is None
            numbers[i] = np.nan if number is None else number
        elif not is_missing(value):
            numbers[i] = floats(np.asarray(value), "a sample")
    return numbers.reshape(array.shape), unread
