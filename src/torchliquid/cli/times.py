"""Parsing of lengths of time: a number and a unit, converted to the recording's unit."""

from __future__ import annotations

import re

from torchliquid.errors import InputError


def amount(option: str, text: str, wanted: str) -> tuple[float, str]:
    """``30min`` as 30 and ``min``; the unit may be missing.

    Raises:
        InputError: it has another form; ``wanted`` describes the right one.
    """
    match = re.fullmatch(r"\s*((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([^\W\d]*)\s*", text)
    if match is None:
        raise InputError(f"{option} {text}: give {wanted}")
    return float(match[1]), match[2]


def in_units(option: str, text: str, unit: str, time_unit: str) -> float:
    """The length of a unit in the recording's unit of time.

    Raises:
        InputError: it is unknown.
    """
    from torchliquid.data.given import MICROSECONDS

    if unit == time_unit:
        return 1.0
    if unit in MICROSECONDS and time_unit in MICROSECONDS:
        return MICROSECONDS[unit] / MICROSECONDS[time_unit]
    if time_unit in MICROSECONDS:
        raise InputError(f"{option} {text}: {unit!r} is not a unit of time; use {', '.join(MICROSECONDS)}")
    named = f", or name their unit with --time-unit: {', '.join(MICROSECONDS)}" if time_unit == "units" else ""
    what = option.removeprefix("--").replace("-", " ")
    raise InputError(f"{option} {text}: the recording's times are in {time_unit!r}; give the {what} in it{named}")


def seconds(option: str, text: str) -> float:
    """``90s``, ``10m`` or ``2h`` as seconds.

    Raises:
        InputError: it has another form.
    """
    wanted = "a time with its unit, such as 90s, 10m or 2h"
    value, unit = amount(option, text, wanted)
    size = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}.get(unit, 0)
    if not value * size > 0:
        raise InputError(f"{option} {text}: give {wanted}")
    return value * size
