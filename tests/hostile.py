"""Files from strangers, made from a seed; and a limit on what one of them may take."""

from __future__ import annotations

import gzip
import io
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import polars as pl

SECONDS = 30
"""That a file may take until it is refused or read: ten times what it does take."""
MEMORY = 1 << 30
"""Bytes of memory that it may take on top of what the process has."""


@contextmanager
def limited(seconds: int = SECONDS, memory: int = MEMORY) -> Iterator[None]:
    """What runs inside fails where it takes longer, or more memory."""

    def late(*_: object) -> None:
        raise TimeoutError(f"more than {seconds} s")

    handler = signal.signal(signal.SIGALRM, late)
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _kilobytes("VmRSS")
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, handler)
    used = 1024 * (_kilobytes("VmHWM") - before)
    assert used <= memory, f"{used:,} bytes of memory, more than {memory:,}"


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(name)).split()[1])


def _parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def _gzip_of(line: bytes, size: int) -> bytes:
    return gzip.compress(b"time,x\n" + line * (size // len(line)), 1)


TABLES: dict[str, tuple[Callable[[np.random.Generator], bytes], str]] = {
    "gzip of one line": (lambda r: _gzip_of(b"%d,0\n" % r.integers(10), 1 << 26), "unpacks to more than"),
    "gzip of blanks": (lambda r: _gzip_of(b" ", 1 << 26), "unpacks to more than"),
    "two gzips in a row": (lambda r: gzip.compress(b"a,b\n1,2\n") + _gzip_of(b"1,2\n", 1 << 26), "unpacks to more"),
    "constant Parquet": (
        lambda r: _parquet(pl.DataFrame({f"c{i}": np.full(200_000, r.random()) for i in range(60)})),
        "unpacks to more than",
    ),
    "Parquet of one long text": (
        lambda r: _parquet(pl.DataFrame({"a": pl.Series(["x" * 20_000]).new_from_index(0, 5_000), "b": 1.0})),
        "unpacks to more than",
    ),
    "a million columns": (lambda r: b",".join(b"%d" % v for v in r.integers(10, size=1_000_000)), "1,000,000 columns"),
    "a million names": (lambda r: b";".join(b"c%d" % i for i in range(1_000_000)) + b"\n1;2\n", "1,000,000 columns"),
    "one line": (lambda r: b"%d " % r.integers(10) * 20_000_000, "longer than|columns"),
    "one word": (lambda r: b"x" * 50_000_000, "field larger than|longer than"),
    "a long name": (lambda r: b"time," + b"n" * 100_000 + b"\n1,2\n2,3\n", "name of column 2 has 100,000 characters"),
    "a name in quotes without an end": (lambda r: b'time,"' + b"n\n" * 10_000_000, "field larger than|longer than"),
    "a long row": (lambda r: b"a,b\n1,2\n" + b",".join([b"1"] * 1_000_000), "row 3 has 1,000,000|row 3 has 1000000"),
    "a long Parquet name": (lambda r: _parquet(pl.DataFrame({"n" * 1_000_000: [1.0, 2.0]})), "1,000,000 characters"),
}
"""Tables that must be refused before they are read: what makes the bytes, and words of the error."""
