"""Figures as a reader meets them: rounded to what their spread supports, with their unit."""

from __future__ import annotations

import math


def decimals(reach: float, least: int = -12) -> int:
    """Decimal places that a figure with this half interval deserves: the interval's first digit, two if it is 1.

    Args:
        reach: half of the interval.
        least: places to keep at any rate: 0 never rounds to tens.
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
    """With so many significant digits, in plain notation."""
    if not math.isfinite(value) or value == 0:
        return "–" if value != 0 else "0"
    return number(value, digits - 1 - math.floor(math.log10(abs(value))))


def capital(text: str) -> str:
    """With a large first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def duration(seconds: float) -> str:
    """``0.4 s``, ``35 s``, ``12 min``, ``3.1 h``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{significant(seconds, 2)} s"
    return f"{significant(seconds / 60, 2)} min" if seconds < 5400 else f"{significant(seconds / 3600, 2)} h"


def microseconds(value: float) -> str:
    """``42 µs``, ``1.3 ms``."""
    if not math.isfinite(value):
        return "–"
    return f"{significant(value, 2)} µs" if value < 1000 else f"{significant(value / 1000, 2)} ms"


def size(n_bytes: float) -> str:
    """``950 B``, ``14 kB``, ``2.1 MB``; nothing where nothing is saved."""
    if not n_bytes > 0:
        return "–"
    if n_bytes < 1000:
        return f"{number(n_bytes, 0)} B"
    return f"{significant(n_bytes / 1e3, 2)} kB" if n_bytes < 1e6 else f"{significant(n_bytes / 1e6, 2)} MB"


def count(n: float) -> str:
    """A whole number with its thousands set apart."""
    return number(n, 0)


def share(part: float) -> str:
    """``0 %``, ``0.3 %``, ``12 %``."""
    return f"{significant(part * 100, 2)} %"


def time_unit(typical: float, unit: str) -> tuple[str, float]:
    """The unit in which a time of this length reads well, in how many of the given one: seconds may become hours."""
    if unit == "s":
        for name, factor in (("days", 86400.0), ("hours", 3600.0), ("minutes", 60.0)):
            if typical >= 2 * factor:
                return name, factor
    return unit, 1.0
