"""Numbers in text: decimal mark, thousands separator and unit."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl

Mark = Literal[".", ","]

SIGNS = "\u2212\u2013\ufe63\uff0d"
"""Other characters for minus: the mathematical minus, a dash, small and full-width hyphens."""
BLANKS = " '\u2019\u00a0\u202f\u2009"
"""Other thousands separators."""
CURRENCY = "$€£¥"

NUMBER = (
    rf"^[{CURRENCY}]?\s*([-+]?[{CURRENCY}]?\d[\d.,{BLANKS}]*(?:[eE][-+]?\d+)?|[-+]?[.,]\d+(?:[eE][-+]?\d+)?)"
    r"(-?)\s*((?:[^\d\s.,;:/-][^\d\s]{0,9}[²³\d]?)?)$"
)
UNITS = frozenset(
    re.findall(
        r"\S+",
        "°C °F C F K degC degF % ‰ V mV µV uV kV A mA µA uA W mW kW MW VA kVA Wh kWh MWh J kJ MJ Pa hPa kPa MPa bar "
        "mbar psi m mm cm µm um nm km in ft mi s ms µs us ns min h d Hz kHz MHz GHz rpm m/s km/h l L ml mL m³ m² ppm "
        "ppb g kg mg µg t dB dBm lx B kB KB MB GB TB KiB MiB GiB",
    )
)
"""Known units. Two of them in a column would need a conversion. With any other suffix a value is a word."""


def is_plain(text: str) -> bool:
    """Whether Python can convert it to a float."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Numbers:
    """The numbers in a column of text.

    Attributes:
        values: float64, null if a value is not a number.
        mark: the decimal mark; None if no value shows it.
        can_be_both: an ambiguous value, which is a different number with a decimal comma and with a decimal point, if
            nothing in the column decides.
        units: units after the numbers.
        grouped: a value with a thousands separator.
        other_mark: a value that is a number only with the other mark, if the user gave this one.
    """

    values: pl.Series
    mark: Mark | None = None
    can_be_both: str | None = None
    units: tuple[str, ...] = ()
    grouped: str | None = None
    other_mark: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What the values of one column show about the decimal mark.

    Attributes:
        mark: the decimal mark, if a value is unambiguous.
        both: an ambiguous value such as 1.050 or 1,050, if all values with a mark are ambiguous.
        likely: the more probable mark of such values; empty or both if the evidence is contradictory.
        by_size: whether only one mark gives numbers of the same size as the whole numbers in the column.
        contradicts: whether the values show both marks.
    """

    mark: Mark | None = None
    both: str | None = None
    likely: tuple[Mark, ...] = ()
    by_size: bool = False
    contradicts: bool = False


@dataclass
class Marks:
    """The decimal mark of a table, given by the user or shown by its other columns.

    Attributes:
        columns: the text columns.
        given: by the user.
        before: that of a similar table that was read before.
        hint: suggested by the format of the file if no column shows it: a comma if semicolons separate fields.
    """

    columns: Iterable[pl.Series] = ()
    given: Mark | None = None
    before: Mark | None = None
    hint: Mark | None = None
    used: set[Mark] = field(default_factory=set)
    """The decimal marks of the numbers read so far."""

    @cached_property
    def _evidence(self) -> list[Evidence]:
        return [evidence(bare(column)[0]) for column in self.columns]

    @property
    def shown(self) -> Mark | None:
        """The mark that is given, or shown by unambiguous columns."""
        if self.given is not None:
            return self.given
        shown = {e.mark for e in self._evidence if e.mark is not None}
        return shown.pop() if len(shown) == 1 else None

    def suggested(self, value: str) -> Mark | None:
        """The mark that the format of the file suggests for an ambiguous value."""
        if self.hint == ",":
            return "," if any("," in both for both in (value, *(e.both or "" for e in self._evidence))) else None
        return self.hint if "." in value else None


def bare(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Numbers without currency and unit, and the units; null if a value is not a number."""
    if text.str.contains(r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?$").all():
        return text, pl.Series([None], dtype=pl.String).new_from_index(0, len(text))
    parts = text.str.replace_all(f"[{SIGNS}]", "-").str.extract_groups(NUMBER).struct.unnest()
    number, after, unit = (parts.to_series(i) for i in range(3))
    # SAP writes the sign at the end.
    negative = after == "-"
    if negative.any():
        number = pl.select(pl.when(negative).then("-" + number).otherwise(number)).to_series()
    return number.str.replace_all(rf"[{BLANKS}{CURRENCY}]", ""), unit


def evidence(numbers: pl.Series) -> Evidence:
    """The evidence of values that contain only digits, points and commas."""
    known = numbers.drop_nulls()
    known = known.filter(known.str.contains(r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?$"))
    separated = known.filter(known.str.contains("[.,]"))
    if not len(separated):
        return Evidence()
    groups = separated.str.contains(r"^[-+]?[1-9]\d{0,2}(?:[.,]\d{3})+$")
    plain = separated.filter(~groups)
    point = int(plain.str.contains(r"^[-+]?(?:\d*|\d{1,3}(?:,\d{2,3})*,\d{3})\.\d*(?:[eE][-+]?\d+)?$").sum())
    comma = int(plain.str.contains(r"^[-+]?(?:\d*|\d{1,3}(?:\.\d{2,3})*\.\d{3}),\d*(?:[eE][-+]?\d+)?$").sum())
    either = separated.filter(groups)
    # A mark that occurs twice separates thousands.
    comma += int(either.str.contains(r"\..*\.").sum())
    point += int(either.str.contains(",.*,").sum())
    point += int(either.str.contains(r"^[^.]*,.*\.").sum())  # 1,234.500
    comma += int(either.str.contains(r"^[^,]*\..*,").sum())
    once = either.filter(either.str.contains(r"^[^.,]*[.,][^.,]*$"))
    if point and comma:
        return Evidence(contradicts=True)
    if point or comma:
        return Evidence("." if point else ",")
    if not len(once):
        return Evidence()
    marks = {mark for mark in ".," if once.str.contains(mark, literal=True).any()}
    if len(marks) == 2:
        return Evidence(both=once[0], contradicts=True)
    mark: Mark = "," if "," in marks else "."
    other: Mark = "." if mark == "," else ","
    whole = known.filter(~known.str.contains("[.,]"))
    if whole.str.contains(r"^[-+]?[1-9]\d{3,}$").any():
        return Evidence(mark)  # thousands are not separated here
    whole = whole.filter(whole.str.contains("[1-9]"))
    if not len(whole):
        return Evidence(both=once[0])
    likely: set[Mark] = set()
    # With whole numbers such as 950, a decimal 1.050 would be written without its last zero.
    if once.str.ends_with("0").any():
        likely.add(other)
    step = _size(once.str.replace(mark, "", literal=True)) - _size(whole)
    by_size = abs(step - 1.5) > 0.6  # the same size as thousands, or a thousand times as large
    if by_size:
        likely.add(mark if step > 1.5 else other)
    return Evidence(both=once[0], likely=tuple(likely), by_size=by_size)


def _size(whole: pl.Series) -> float:
    """The mean power of ten of numbers."""
    return float(np.log10(np.abs(whole.cast(pl.Float64).to_numpy())).mean())


def read(text: pl.Series, marks: Marks) -> Numbers:
    """Convert a column of text, stripped and null if not observed, to numbers, given the marks of the whole table."""
    plain = text.cast(pl.Float64, strict=False)
    pointed = marks.given == "," and bool(text.str.contains(".", literal=True).any())
    if plain.null_count() == text.null_count() and not pointed and not _in_groups(text, "."):
        return Numbers(plain)
    if not text.head(1000).str.contains(r"\d").any() and not text.str.contains(r"\d").any():
        return Numbers(plain)
    numbers, units = bare(text)
    found = evidence(numbers.head(1000))
    if found.mark is None or found.contradicts:
        found = evidence(numbers)
    mark = marks.given or found.mark
    undecided = None
    if mark is None and found.both is not None:
        mark = None if found.contradicts else _of_both(found, marks)
        undecided = found.both if mark is None else None
    values = _values(numbers, mark or ".")
    if mark is not None and numbers.str.contains("[.,]").any():
        marks.used.add(mark)
    named = tuple(u for u in units.filter(values.is_not_null()).drop_nulls().unique(maintain_order=True) if u)
    group: Mark = "." if mark == "," else ","
    apart = numbers.str.contains(group, literal=True) | text.str.contains(rf"\d[{BLANKS}]\d")
    grouped = text.filter(values.is_not_null() & apart)
    others = text.filter(values.is_null() & _values(numbers, group).is_not_null()) if marks.given else grouped[:0]
    # inf and nan
    infinite = values.is_null() & plain.is_not_null() & numbers.is_null()
    values = pl.select(pl.when(infinite).then(plain).otherwise(values)).to_series()
    return Numbers(
        values.alias(text.name),
        mark,
        undecided,
        named,
        str(grouped[0]) if len(grouped) else None,
        str(others[0]) if len(others) else None,
    )


def _of_both(found: Evidence, marks: Marks) -> Mark | None:
    """The decimal mark of a column with ambiguous values only; None if it cannot be decided."""
    likely = found.likely[0] if len(found.likely) == 1 else None
    hint = marks.suggested(found.both or "")
    sure = marks.shown
    if sure is None and hint in (None, marks.before):
        sure = marks.before
    if sure is not None:
        return None if found.by_size and likely not in (None, sure) else sure
    if hint == "," and marks.before == ".":
        return None
    if likely is not None:
        return likely if hint in (None, likely) else None
    # Most programs write decimal points.
    return hint or ("." if "." in (found.both or "") and not found.likely else None)


def _in_groups(text: pl.Series, mark: Mark) -> bool:
    """Whether the mark could be a thousands separator in all values that contain it, and at least one does."""
    for part in (text.head(1000), text):
        separated = part.filter(part.str.contains(mark, literal=True))
        if not separated.str.contains(rf"^[-+]?[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+$").all():
            return False
    return len(separated) > 0


def _values(numbers: pl.Series, mark: Mark) -> pl.Series:
    group = "." if mark == "," else ","
    m, g = re.escape(mark), re.escape(group)
    right = numbers.str.contains(rf"^[-+]?(?:\d+|\d{{1,3}}(?:{g}\d{{2,3}})*{g}\d{{3}})?(?:{m}\d*)?(?:[eE][-+]?\d+)?$")
    clean = numbers.str.replace_all(group, "", literal=True).str.replace(mark, ".", literal=True)
    return pl.select(pl.when(right).then(clean)).to_series().cast(pl.Float64, strict=False)


def either_way(value: str) -> str:
    """Describe a value with a decimal comma and with a decimal point."""
    comma, point = (float(_values(pl.Series([value]), mark)[0]) for mark in (",", "."))
    return f"{comma:.15g} with a decimal comma and {point:.15g} with a decimal point"
