"""What a device sends, line by line, as samples; and names and texts from outside as quoted data."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from time import time as seconds
from typing import Any

from torchliquid.data.roles import column_of
from torchliquid.errors import printable

LONGEST = 65_536
"""Bytes of a line; a longer one is no sample."""

SHOWN = 120
"""Characters of a text from outside that are shown."""

TIMES = ("time", "timestamp", "datetime", "t")
"""Names under which a device may send the time of a sample, besides the name that the model was trained with."""

ANSWER = re.compile(r"(answer|lower|upper)\[(\d+)\]")
"""Under such names the exported C sends its own outputs, and the ends of their intervals (``make live``)."""


def quoted(text: object, longest: int = SHOWN) -> str:
    """A text from outside, as data: in quotation marks, without characters that are not seen, and short."""
    return json.dumps(printable(text, longest=longest), ensure_ascii=False)


@dataclass(frozen=True)
class Sample:
    """What a device sent at once.

    Attributes:
        values: readings by the channels' names, as they were sent.
        time: as it was sent; None: the time at which it arrived counts.
        answers: the device's own outputs; empty where it sent none.
        arrived: seconds since 1970 on this machine.
    """

    values: Mapping[str, Any]
    time: Any = None
    answers: tuple[float, ...] = ()
    arrived: float = field(default_factory=seconds)


class NoSample(ValueError):
    """What came is no sample; the message says why."""


class Lines:
    """Reads a device's lines: JSON objects by name, or rows of CSV with the names in a first line, or without names in
    the order of the model's channels, with or without the time before them.

    Args:
        channels: of the model.
        time: the name of the column of times that the model was trained with.
    """

    def __init__(self, channels: tuple[str, ...], time: str | None = None) -> None:
        self.channels = channels
        self.times = tuple(name for name in (time, *TIMES) if name is not None and name not in channels)
        self.header: list[str] = []

    def read(self, line: bytes) -> Sample | None:
        """A sample, or None for an empty line and for one of names.

        Raises:
            NoSample: it is neither.
        """
        if len(line) > LONGEST:
            raise NoSample(f"a line of more than {LONGEST:,} bytes")
        try:
            text = line.decode().strip("\r\n\0 ")
        except UnicodeDecodeError:
            raise NoSample("bytes that are no text") from None
        if not text:
            return None
        return self._object(text) if text.startswith("{") else self._row(text)

    def named(self, values: Mapping[str, Any]) -> Sample:
        """A sample of values by name.

        Raises:
            NoSample: none of the names is known.
        """
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
    """The whole lines in chunks of bytes: what is cut off before its end is none. Of one that is too long only the
    beginning, one byte more than is allowed."""
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
