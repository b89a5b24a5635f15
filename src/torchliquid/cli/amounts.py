"""Sizes, times, shares and limits in the values of options. Text of another form raises an ``InputError``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torchliquid.errors import InputError

BYTES = {
    letter + rest: size
    for letters, size in (([""], 1), ("kK", 1024), ("mM", 1024**2))
    for letter in letters
    for rest in ("", "b", "B", "ib", "iB")
}
MICROSECONDS = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def refusal(option: str, text: str, wanted: str) -> InputError:
    """The error for a value of another form than the one that is wanted."""
    return InputError(f"{option} {text}: give {wanted}")


def amount(option: str, text: str, wanted: str) -> tuple[float, str]:
    """``30min`` as 30 and ``min``; the unit may be missing."""
    match = re.fullmatch(r"\s*((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?)\s*([^\W\d]*|%)\s*", text)
    if match is None:
        raise refusal(option, text, wanted)
    return float(match[1]), match[2]


def _in_smallest(option: str, text: str, units: Mapping[str, float], wanted: str) -> float:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(\D*?)\s*", text)
    if match is None or match[2] not in units:
        raise refusal(option, text, wanted)
    return float(match[1]) * units[match[2]]


def whole_numbers(option: str, text: str, wanted: str, most: int | None = None) -> list[int]:
    """``32,16`` as numbers, at most ``most``."""
    parts = text.split(",")
    if not all(re.fullmatch(r"\s*\d{1,9}\s*", part) for part in parts) or len(parts) > (most or len(parts)):
        raise refusal(option, text, wanted)
    return [int(part) for part in parts]


def bytes_of(text: str, option: str) -> int:
    """``32k`` in bytes."""
    return int(_in_smallest(option, text, BYTES, "a number of bytes, such as 4096 or 32k"))


def microseconds_of(text: str, option: str) -> float:
    """``2ms`` in microseconds."""
    return _in_smallest(option, text, MICROSECONDS, "a time with its unit, such as 2ms or 500us")


def seconds(option: str, text: str) -> float:
    """``90s``, ``10m`` or ``2h`` as seconds."""
    wanted = "a time with its unit, such as 90s, 10m or 2h"
    value, unit = amount(option, text, wanted)
    found = value * SECONDS.get(unit, 0)
    if not found > 0:
        raise refusal(option, text, wanted)
    return found


def device_limits(flash: str | None, ram: str | None, step: str | None) -> tuple[int | None, int | None, float | None]:
    """The values of ``--flash-limit``, ``--ram-limit`` and ``--step-limit``: bytes, bytes and microseconds."""
    return (
        None if flash is None else bytes_of(flash, "--flash-limit"),
        None if ram is None else bytes_of(ram, "--ram-limit"),
        None if step is None else microseconds_of(step, "--step-limit"),
    )


def share_of(option: str, text: str, wanted: str = "a share such as 1% or 0.01") -> float:
    """``1%`` or ``0.01`` as a share."""
    value, unit = amount(option, text, wanted)
    if unit not in ("", "%"):
        raise refusal(option, text, wanted)
    return value / 100 if unit else value


def part_of_one(option: str, text: str | None, advice: str = "") -> float | None:
    """A share between 0 and 1, or None; ``advice`` is what else the option takes."""
    if text is None:
        return None
    wanted = f"a share between 0 and 1, such as 0.9 or 90%{advice}"
    share = share_of(option, text, wanted)
    if not 0 < share < 1:
        raise refusal(option, text, wanted)
    return share


def in_units(option: str, text: str, unit: str, time_unit: str) -> float:
    """The length of a unit in the recording's unit of time."""
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


def duration(option: str, text: str, time_unit: str) -> float:
    """``30s`` in the recording's unit; a number without a unit is in it already."""
    number, unit = amount(option, text, "a time with its unit, such as 30s")
    return number * in_units(option, text, unit or time_unit, time_unit)


def rate(text: str, time_unit: str, per: str) -> float:
    """``1/day`` per unit of time of the recording; ``0.05/series`` unchanged."""
    wanted = "a number per series, such as 0.05/series" if per == "series" else "a number per time, such as 1/day"
    number, slash, unit = text.partition("/")
    count, rest = amount("--false-alarms", number, wanted)
    unit = unit.strip()
    if not slash or rest or not unit or (unit == "series") != (per == "series"):
        raise InputError(f"--false-alarms {text}: the task has one answer per {per}; give {wanted}")
    return count if unit == "series" else count / in_units("--false-alarms", text, unit, time_unit)


def limits_of(texts: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``temperature=-20:60`` as limits of a channel."""
    found = {}
    for text in texts:
        channel, equals, both = text.rpartition("=")
        try:
            low, high = (float(part) for part in both.split(":"))
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"--plausible {text!r}: give a channel and its limits, such as temperature=-20:60")
        found[channel] = (low, high)
    return found
