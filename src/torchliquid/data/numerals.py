"""Numbers in text: which mark stands before the decimals, which groups thousands, and what unit stands behind."""

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
"""What else people write for a minus: the minus of mathematics, a dash, small and full-width hyphens."""
BLANKS = " '\u2019\u00a0\u202f\u2009"
"""What else groups thousands."""
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
"""Units between which numbers would have to be converted; what else stands behind numbers makes words of them."""


def is_plain(text: str) -> bool:
    """Whether Python reads it as a number as it stands."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True)
class Numbers:
    """What a column of text holds.

    Attributes:
        values: float64, null where a value is no number.
        known: the text with unit and currency taken off.
        mark: what stands before the decimals; None where no value tells.
        can_be_both: a value that is one number with a decimal comma and another with a decimal point, where nothing
            in the column tells which.
        units: what stands behind the numbers.
        grouped: a value whose thousands are set apart.
        other_mark: a value that is a number by the other mark alone, where the user said this one.
    """

    values: pl.Series
    mark: Mark | None = None
    can_be_both: str | None = None
    units: tuple[str, ...] = ()
    grouped: str | None = None
    other_mark: str | None = None


@dataclass(frozen=True)
class Evidence:
    """What the values of one column say about the mark before decimals.

    Attributes:
        mark: where a value can be read in one way only.
        both: a value that is a number in either reading, 1.050 or 1,050, where all with a mark are.
        likely: the mark that such values more probably have; none where what speaks for each is against the other.
        by_size: one reading alone makes them numbers of the size of the whole ones beside them.
        contradicts: they show both marks.
    """

    mark: Mark | None = None
    both: str | None = None
    likely: tuple[Mark, ...] = ()
    by_size: bool = False
    contradicts: bool = False


@dataclass
class Marks:
    """The mark before decimals in a table: what its user said, else what its other columns show.

    Attributes:
        columns: those of text.
        said: by the user.
        before: in a table of the same kind that was read before.
        hint: what the form of the file suggests, where no column tells: a comma where fields are apart by semicolons.
    """

    columns: Iterable[pl.Series] = ()
    said: Mark | None = None
    before: Mark | None = None
    hint: Mark | None = None
    used: set[Mark] = field(default_factory=set)
    """Before decimals of numbers that were read so far."""

    @cached_property
    def _evidence(self) -> list[Evidence]:
        return [evidence(bare(column)[0]) for column in self.columns]

    @property
    def shown(self) -> Mark | None:
        """By columns that can be read in one way only."""
        if self.said is not None:
            return self.said
        shown = {e.mark for e in self._evidence if e.mark is not None}
        return shown.pop() if len(shown) == 1 else None

    def suggested(self, value: str) -> Mark | None:
        """By the form of the file, for a value that is a number in either reading."""
        if self.hint == ",":
            return "," if any("," in both for both in (value, *(e.both or "" for e in self._evidence))) else None
        return self.hint if "." in value else None


def bare(text: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Numbers without currency and unit, and the units; null where a value is no number."""
    if text.str.contains(r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?$").all():
        return text, pl.Series([None], dtype=pl.String).new_from_index(0, len(text))
    parts = text.to_frame("x").select(
        pl.col("x").str.replace_all(f"[{SIGNS}]", "-").str.extract_groups(NUMBER).struct.unnest()
    )
    number, after, unit = (parts.to_series(i) for i in range(3))
    # SAP's way: the sign at the end.
    negative = after == "-"
    if negative.any():
        number = pl.select(pl.when(negative).then("-" + number).otherwise(number)).to_series()
    return number.str.replace_all(rf"[{BLANKS}{CURRENCY}]", ""), unit


def evidence(numbers: pl.Series) -> Evidence:
    """What the values say, each with digits, points and commas alone."""
    known = numbers.drop_nulls()
    known = known.filter(known.str.contains(r"^[-+]?[\d.,]+(?:[eE][-+]?\d+)?$"))
    if not len(known):
        return Evidence()
    separated = known.filter(known.str.contains("[.,]"))
    if not len(separated):
        return Evidence()
    groups = separated.str.contains(r"^[-+]?[1-9]\d{0,2}(?:[.,]\d{3})+$")
    plain = separated.filter(~groups)
    point = int(plain.str.contains(r"^[-+]?(?:\d*|\d{1,3}(?:,\d{2,3})*,\d{3})\.\d*(?:[eE][-+]?\d+)?$").sum())
    comma = int(plain.str.contains(r"^[-+]?(?:\d*|\d{1,3}(?:\.\d{2,3})*\.\d{3}),\d*(?:[eE][-+]?\d+)?$").sum())
    either = separated.filter(groups)
    # A mark that comes twice groups thousands.
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
        return Evidence(mark)  # thousands are not set apart here
    whole = whole.filter(whole.str.contains("[1-9]"))
    if not len(whole):
        return Evidence(both=once[0])
    likely: set[Mark] = set()
    # Who writes 950 for a whole number writes no 1.050 for a decimal one: its last zero would be left out.
    if once.str.ends_with("0").any():
        likely.add(other)
    step = _size(once.str.replace(mark, "", literal=True)) - _size(whole)
    by_size = abs(step - 1.5) > 0.6  # the same size as thousands, or a thousand times as large
    if by_size:
        likely.add(mark if step > 1.5 else other)
    return Evidence(both=once[0], likely=tuple(likely), by_size=by_size)


def _size(whole: pl.Series) -> float:
    """The usual power of ten of numbers."""
    return float(np.log10(np.abs(whole.cast(pl.Float64).to_numpy())).mean())


def read(text: pl.Series, marks: Marks) -> Numbers:
    """A column of text as numbers, each value that is one.

    Args:
        text: stripped, null where not observed.
        marks: of the whole table.
    """
    plain = text.cast(pl.Float64, strict=False)
    pointed = marks.said == "," and bool(text.str.contains(".", literal=True).any())
    if plain.null_count() == text.null_count() and not pointed and not _in_groups(text, "."):
        return Numbers(plain)
    if not text.head(1000).str.contains(r"\d").any() and not text.str.contains(r"\d").any():
        return Numbers(plain)
    numbers, units = bare(text)
    found = evidence(numbers.head(1000))
    if found.mark is None or found.contradicts:
        found = evidence(numbers)
    mark = marks.said or found.mark
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
    others = text.filter(values.is_null() & _values(numbers, group).is_not_null()) if marks.said else grouped[:0]
    # inf and nan, which are numbers of another kind
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
    """The mark of a column all of whose values can be read in two ways; None where nothing tells enough."""
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
    # Points before decimals are what most programs write.
    return hint or ("." if "." in (found.both or "") and not found.likely else None)


def _in_groups(text: pl.Series, mark: Mark) -> bool:
    """Whether all values with the mark could be thousands set apart by it, of at least one."""
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
    """What a value is with a decimal comma, and with a decimal point."""
    comma, point = (float(_values(pl.Series([value]), mark)[0]) for mark in (",", "."))
    return f"{comma:.15g} with a decimal comma and {point:.15g} with a decimal point"
