"""Read the lines of a device as samples, and quote names and texts from outside."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import time as seconds
from typing import Any

import numpy as np

from torchliquid.data.roles import column_of
from torchliquid.errors import printable

LONGEST = 65_536
"""Maximum length of a line, in bytes."""

SHOWN = 120
"""Maximum length of a quoted text, in characters."""

TIMES = ("time", "timestamp", "datetime", "t")
"""Names that a device can use for the time of a sample, besides the name in the training data."""

ANSWER = re.compile(r"(answer|lower|upper)\[(\d+)\]")
"""The names that exported C uses for its own outputs and the ends of their intervals (``make live``)."""


def quoted(text: object, longest: int = SHOWN) -> str:
    """A text from outside as data: shortened, in quotation marks, without invisible characters."""
    return json.dumps(printable(text, longest=longest), ensure_ascii=False)


def rounded(value: float, digits: int = 5) -> float | None:
    """A number with this many digits; None if it is not finite."""
    return float(f"{value:.{digits}g}") if np.isfinite(value) else None


@dataclass(frozen=True)
class Sample:
    """One sample as a device sent it: readings by channel name, the time (None: that of arrival), and its own outputs,
    if any. ``arrived`` is the time of arrival on this machine, in seconds since 1970."""

    values: Mapping[str, Any]
    time: Any = None
    answers: tuple[float, ...] = ()
    arrived: float = field(default_factory=seconds)


class NoSample(ValueError):
    """The data is not a sample; the message says why."""


class Lines:
    """Reads a device's lines for a model with these channels and time column: JSON objects, or rows of CSV.

    Rows can have a header line. Without one, the values are in the order of the model's channels, optionally after the
    time. What is not a sample raises :class:`NoSample`.
    """

    def __init__(self, channels: tuple[str, ...], time: str | None = None) -> None:
        self.channels = channels
        self.times = tuple(name for name in (time, *TIMES) if name is not None and name not in channels)
        self.header: list[str] = []

    def read(self, line: bytes) -> Sample | None:
        """Read a line. Returns None for an empty line and for a header."""
        if len(line) > LONGEST:
            raise NoSample(f"a line of more than {LONGEST:,} bytes")
        try:
            text = line.decode().strip("\r\n\0 ")
        except UnicodeDecodeError:
            raise NoSample("bytes that are not text") from None
        if not text:
            return None
        return self._object(text) if text.startswith("{") else self._row(text)

    def named(self, values: Mapping[str, Any]) -> Sample:
        """A sample from values by name."""
        time = next((values[name] for name in self.times if name in values), None)
        others = {name: value for name, value in values.items() if name not in (*self.times, *self.channels)}
        own = ((found, value) for name, value in others.items() if (found := ANSWER.fullmatch(name)))
        answers = {int(found[2]): value for found, value in own if found[1] == "answer"}
        rest = {n: v for n, v in values.items() if n in self.channels or (n in others and not ANSWER.fullmatch(n))}
        if any(isinstance(value, list | dict) for value in (time, *rest.values())):
            raise NoSample("a value that is neither a number nor a text")
        try:
            outputs = tuple(float(answers[i]) for i in sorted(answers))
        except (TypeError, ValueError):
            outputs = ()
        return Sample(rest, time, outputs)

    def _object(self, text: str) -> Sample:
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            raise NoSample("a broken JSON object") from None
        return self.named(values)

    def _row(self, text: str) -> Sample | None:
        try:
            cells = [cell.strip() for cell in next(csv.reader([text], strict=True))]
        except csv.Error:
            raise NoSample("a broken row") from None
        if any(column_of(channel, cells) for channel in self.channels):
            self.header = cells
            return None
        if self.header:
            names = self.header
        elif len(cells) == len(self.channels):
            names = list(self.channels)
        else:
            names = ["time", *self.channels]
        if len(cells) != len(names):
            raise NoSample(f"a row of {len(cells)} values where {len(names)} are expected")
        return self.named({name: cell or None for name, cell in zip(names, cells, strict=True)})


def split(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The complete lines in chunks of bytes. Of a line that is too long, only the beginning is returned: one byte more
    than is allowed."""
    rest, skipping = b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not skipping:
                yield line[: LONGEST + 1]
            skipping = False
        if len(rest) > LONGEST:
            if not skipping:
                yield rest[: LONGEST + 1]
            rest, skipping = b"", True
