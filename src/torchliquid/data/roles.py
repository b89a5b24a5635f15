"""What an unnamed column of a table is: an input, a row number, a clock, or words."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import polars as pl

from torchliquid.data import dates
from torchliquid.data.columns import MISSING_LABELS, are_clocks, is_text, stripped

COUNTER = re.compile(
    r"(_duplicated_\d+)?|unnamed: ?\d+|#|_?id|index|idx|level_0|n|rn|no\.?|nr\.?|lfd\.? ?nr\.?|num(ber)?|"
    r"count(er)?|entry|"
    r"(entry|row|record|rec|line|sample|scan|seq|sequence|reading|measurement|point|frame|packet|msg|message)s?"
    r"[ _]?(id|idx|index|no\.?|nr\.?|num(ber)?|count(er)?|#)?",
    re.IGNORECASE,
)
"""Names of columns that count rows."""
CLOCK_NAME = re.compile(
    r"((unix|epoch|date|device|local|utc|gps|log|elapsed|relative|system|boot|up)[ _]?)*"
    r"(t|ts|time|timestamp|datetime|epoch|unix|ms|millis|micros|nanos|seconds|secs|elapsed|uptime|minutes|hours)"
    r"([ _]?[\[(]?(ms|us|ns|s|sec|utc|seconds|millis|epoch|unix|min|h)[\])]?)?",
    re.IGNORECASE,
)
"""Names of columns that are clocks."""
ENOUGH = 10
"""Minimum number of rows to detect a counter or a clock by its values."""
WORDS = 20
"""Maximum number of different words in a column that become inputs, each used twice on average."""


def counts(name: str, values: np.ndarray, codes: np.ndarray) -> bool:
    """Whether a column (N,) counts the rows, given their series (N,); each may be counted separately."""
    known = ~np.isnan(values)
    if known.sum() < 3 or (values[known] != np.round(values[known])).any():
        return False
    steps = _steps(values, codes)
    if COUNTER.fullmatch(name):
        return bool(len(steps) and (steps > 0).mean() >= 0.9)
    return values[known][0] in (0, 1) and rises_evenly(values, codes)


def rises_evenly(values: np.ndarray, codes: np.ndarray) -> bool:
    """Whether a column increases by one in each row of a series, for enough rows."""
    steps = _steps(values, codes)
    return bool(len(values) >= ENOUGH and len(steps) and not np.isnan(values).any() and (steps == 1).all())


def tells_time(name: str, values: np.ndarray, codes: np.ndarray) -> bool:
    """Whether an increasing column is a clock, by its name, or as seconds (or ms, µs, ns) since 1970."""
    known = ~np.isnan(values)
    if known.sum() < 3:
        return False
    steps = _steps(values, codes)
    moved = steps[steps != 0]
    if len(moved) < 2 or (moved > 0).mean() < 0.9:
        return False
    if CLOCK_NAME.fullmatch(name):
        return True
    if known.sum() < ENOUGH:
        return False
    size = values[known]
    return any((size >= 1e9 * unit).all() and (size < 2.2e9 * unit).all() for unit in (1, 1e3, 1e6, 1e9))


def _steps(values: np.ndarray, codes: np.ndarray) -> np.ndarray:
    steps = np.diff(values)[np.diff(codes) == 0]
    return steps[~np.isnan(steps)]


def holds_dates(column: pl.Series) -> bool:
    """Whether a column contains dates or times of day."""
    if column.dtype in (pl.Date, pl.Datetime, pl.Time, pl.Duration):
        return True
    if not is_text(column):
        return False
    head = stripped(column, MISSING_LABELS, ()).drop_nulls().head(100)
    return len(head) > 0 and (are_clocks(head) or dates.are_dates(head))


def words(text: pl.Series) -> list[str] | None:
    """The words of a column that can be inputs, sorted; None if they are too many or only one."""
    found = text.drop_nulls().unique().sort().to_list()
    return found if 1 < len(found) <= WORDS and len(text) - text.null_count() >= 2 * len(found) else None


def indicators(text: pl.Series, known: Sequence[str]) -> list[np.ndarray]:
    """For each known word: 1 where it occurs, else 0; NaN where none of them occurs."""
    none = ~text.is_in(known).fill_null(False).to_numpy()
    return [np.where(none, np.nan, (text == word).fill_null(False).to_numpy()) for word in known]


def named_for(column: str, word: str) -> str:
    """Name of the channel for a word of a column."""
    return f"{column}={word}"


def pairs_in(name: str) -> Iterator[tuple[str, str]]:
    """The ways to read a text such as ``"Date,Time"`` as two names."""
    return ((name[:i].strip(), name[i + 1 :].strip()) for i, letter in enumerate(name) if letter == ",")


def column_of(channel: str, known: Collection[str]) -> tuple[str, str | None] | None:
    """The column, and the word if any, from which a channel is made; None if there is no such column."""
    if channel in known:
        return channel, None
    cuts = [i for i, letter in enumerate(channel) if letter == "="]
    return next(((channel[:i], channel[i + 1 :]) for i in cuts if channel[:i] in known), None)
