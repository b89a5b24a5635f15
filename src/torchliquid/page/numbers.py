"""Figures for readers: rounded to the precision that their spread supports, with their unit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median


def decimals(reach: float, least: int = -12) -> int:
    """Decimal places for a figure with this half interval: those of the interval's first digit, or of two if it is 1.

    Args:
        reach: half of the interval.
        least: minimum number of places; 0 never rounds to tens.
    """
    if not math.isfinite(reach) or reach <= 0:
        return 3
    places = -math.floor(math.log10(reach))
    if reach * 10.0**places < 2:
        places += 1
    return max(min(places, 6), least)


def number(value: float, places: int) -> str:
    """With a fixed number of decimal places (negative ones round tens, hundreds, ...) and a real minus sign."""
    if not math.isfinite(value):
        return "–"
    text = f"{round(value, places) + 0.0:,.{max(places, 0)}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) != 0 else text.lstrip("-")


def significant(value: float, digits: int = 3) -> str:
    """With this many significant digits, in plain notation."""
    if not math.isfinite(value) or value == 0:
        return "–" if value != 0 else "0"
    return number(value, digits - 1 - _power(value, digits))


def _power(value: float, digits: int) -> int:
    """The power of ten of a value's first digit, after rounding to this many digits: 1 for 9.96 with two."""
    return int(f"{value:.{digits - 1}e}".partition("e")[2])


def column_places(values: Sequence[float], digits: int = 4) -> int:
    """Decimal places for a column of figures, so that a typical one has this many digits."""
    usual = [abs(v) for v in values if math.isfinite(v) and v != 0]
    return digits - 1 - _power(median(usual), digits) if usual else 0


def capital(text: str) -> str:
    """With a capital first letter, the others unchanged."""
    return text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """``42 µs``, ``1.3 ms``, ``0.40 s``, ``35 s``, ``12 min``, ``3.1 h``, ``2.4 days``."""
    if not math.isfinite(seconds):
        return "–"
    for least, unit, length in (
        (172_800, "days", 86_400),
        (5400, "h", 3600),
        (60, "min", 60),
        (0.1, "s", 1),
        (1e-3, "ms", 1e-3),
        (0, "µs", 1e-6),
    ):
        if float(f"{seconds:.1e}") >= least:
            return f"{significant(seconds / length, 2)} {unit}"
    return "–"


def size(n_bytes: float) -> str:
    """``950 B``, ``14 kB``, ``2.1 MB``; empty if nothing is saved."""
    if not n_bytes > 0:
        return "–"
    if n_bytes < 1000:
        return f"{number(n_bytes, 0)} B"
    return f"{significant(n_bytes / 1e3, 2)} kB" if n_bytes < 995_000 else f"{significant(n_bytes / 1e6, 2)} MB"


def count(n: float) -> str:
    """An integer with thousands separators."""
    return number(n, 0)


def share(part: float) -> str:
    """``0 %``, ``0.3 %``, ``12 %``."""
    return f"{significant(part * 100, 2)} %"


SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Units of time with a known length."""


def time_unit(typical: float, unit: str) -> tuple[str, float]:
    """The unit in which a time of this length is easy to read, and its length in the given unit. Seconds may become
    hours or milliseconds. A unit of unknown length stays."""
    if unit not in SECONDS or not typical > 0:
        return unit, 1.0
    for least, name, seconds in (
        (172_800, "days", 86_400),
        (7200, "hours", 3600),
        (120, "minutes", 60),
        (0.1, "s", 1),
        (1e-4, "ms", 1e-3),
    ):
        if typical * SECONDS[unit] >= least:
            return name, seconds / SECONDS[unit]
    return "µs", 1e-6 / SECONDS[unit]


def span(value: float, unit: str) -> str:
    """A length of time in a unit that is easy to read, e.g. ``3.5 minutes``; empty if there is none."""
    if not math.isfinite(value):
        return "–"
    name, factor = time_unit(value, unit)
    return f"{significant(value / factor, 2)} {name}"


def length(value: float, unit: str) -> str:
    """A length of time, or a number of samples, as the user gave it, not rounded."""
    name, factor = time_unit(value, unit)
    text = f"{value / factor:.6g}"
    return f"{text} {name.removesuffix('s') if text == '1' and len(name) > 2 else name}"
