"""Parsing of sizes, times and shares."""

from __future__ import annotations

import re
from collections.abc import Iterable

from torchliquid.errors import InputError


def bytes_of(words: str, option: str) -> int:
    """``32k`` in bytes."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(k|K|m|M)?(?:i?[bB])?\s*", words)
    if match is None:
        raise InputError(f"{option} {words}: give a number of bytes, such as 4096 or 32k")
    return int(float(match[1]) * {"k": 1024, "m": 1024**2, "": 1}[(match[2] or "").lower()])


def microseconds_of(words: str, option: str) -> float:
    """``2ms`` in microseconds."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(us|µs|ms|s)\s*", words)
    if match is None:
        raise InputError(f"{option} {words}: give a time with its unit, such as 2ms or 500us")
    return float(match[1]) * {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}[match[2]]


def device_limits(flash: str | None, ram: str | None, step: str | None) -> tuple[int | None, int | None, float | None]:
    """The values of ``--flash-limit``, ``--ram-limit`` and ``--step-limit``: bytes, bytes and microseconds."""
    return (
        None if flash is None else bytes_of(flash, "--flash-limit"),
        None if ram is None else bytes_of(ram, "--ram-limit"),
        None if step is None else microseconds_of(step, "--step-limit"),
    )


def share_of(words: str, option: str) -> float:
    """``1%`` or ``0.01`` as a share."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(%?)\s*", words)
    if match is None:
        raise InputError(f"{option} {words}: give a share such as 1% or 0.01")
    return float(match[1]) * (0.01 if match[2] else 1.0)


def limits_of(words: Iterable[str]) -> dict[str, tuple[float, float]]:
    """``temperature=-20:60`` as limits of a channel.

    Raises:
        InputError: it has another form.
    """
    found = {}
    for one in words:
        channel, equals, both = one.rpartition("=")
        try:
            low, high = (float(part) for part in both.split(":"))
        except ValueError:
            equals = ""
        if not equals:
            raise InputError(f"--plausible {one!r}: give a channel and its limits, such as temperature=-20:60")
        found[channel] = (low, high)
    return found
