"""Limits for the files of tables, checked before a file is read. Each check raises an ``InputError``."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zipfile
from collections.abc import Callable
from typing import Any

import polars as pl

from torchliquid.data.contents import Contents, opened, size_of, start_of
from torchliquid.errors import InputError

MAX_COLUMNS = 100_000
MAX_NAME = 1000
"""Maximum number of characters of a channel's, class's or unit's name. C99 compilers need not accept string literals
longer than 4,095 bytes."""
MAX_HEADER = 1 << 24
"""Maximum number of bytes of a text table's first row."""
GZIP = 100
PARQUET = 500
"""Maximum ratio of unpacked to packed size; a tenth of that is usual for text tables."""
HARMLESS = 1 << 24
"""Number of bytes that any file may unpack to."""
WORKBOOK = 1 << 28
"""Number of bytes of memory that reading any spreadsheet may take."""
CHUNK = 1 << 20
CELL = 24
"""Number of bytes of a spreadsheet's cell in memory."""


def unpacked(source: Contents, unpack: Callable[..., Any] = gzip.open) -> bytes:
    """Unpack a compressed file, up to :data:`GZIP` times its size, with the ``open`` of gzip, bz2 or lzma."""
    whole = io.BytesIO()
    with opened(source) as packed, unpack(packed) as file:
        while piece := file.read(CHUNK):
            whole.write(piece)
            check_ratio(whole.tell(), size_of(source), GZIP)
    return whole.getvalue()


def check_first_line(source: Contents) -> None:
    """Check that the first line of a text ends within :data:`MAX_HEADER`."""
    start = start_of(source, MAX_HEADER + 1)
    if len(start) > MAX_HEADER and b"\n" not in start and b"\r" not in start:
        raise _endless()


def check_header(source: Contents, delimiter: str, skipped: int = 0) -> None:
    """Check the first row of a text table, after ``skipped`` rows: whether it ends, and its names."""
    start = start_of(source, MAX_HEADER + 1)
    lines = io.TextIOWrapper(io.BytesIO(start), "utf-8-sig", errors="replace", newline="")
    reader = csv.reader(lines, delimiter=delimiter)
    for _ in range(skipped):
        next(reader, [])
    names = next(reader, [])
    if len(start) > MAX_HEADER and lines.read(1) == "":
        raise _endless()
    check_columns(names)


def _endless() -> InputError:
    return InputError(f"the first row is longer than {MAX_HEADER:,} bytes; this is not a table")


def check_columns(names: list[str]) -> None:
    """Check the number of columns of a table and the length of their names."""
    if len(names) > MAX_COLUMNS:
        raise InputError(f"the table has {len(names):,} columns; at most {MAX_COLUMNS:,} are allowed")
    for i, name in enumerate(names, 1):
        if len(name) > MAX_NAME:
            raise InputError(
                f"the name of column {i} has {len(name):,} characters ({name[:30]!r}...); at most {MAX_NAME:,} are "
                "allowed"
            )


def check_rows(table: pl.LazyFrame, source: Contents) -> None:
    """Check, by its metadata, that a Parquet or Arrow file becomes no more than :data:`PARQUET` times as large."""
    schema = table.collect_schema()
    check_columns(list(schema))
    rows = table.select(pl.len()).collect().item()
    bits = sum(_bits(kind) for kind in schema.values())
    check_ratio(rows * bits // 8, size_of(source), PARQUET)


def check_text(frame: pl.DataFrame, source: Contents) -> None:
    """Check that repeated text in a Parquet file does not exhaust memory when it is expanded."""
    text = frame.select(pl.col(pl.String).str.len_bytes().cast(pl.UInt64).sum())
    check_ratio(sum(text.row(0)) if text.width else 0, size_of(source), PARQUET)


def check_workbook(source: Contents) -> None:
    """Check that the sheets of an .xlsx file are about as large as their content.

    A reader allocates every cell up to the last, and copies a text for each cell that refers to it.
    """
    with opened(source) as file, zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        texts = archive.read("xl/sharedStrings.xml") if "xl/sharedStrings.xml" in names else b""
        longest = max(map(len, re.split(rb"<[^>]*>", texts)))
        for name in names:
            if name.startswith("xl/worksheets/") and name.endswith(".xml"):
                sheet = archive.read(name)
                cells = re.findall(rb'\br="([A-Z]{1,3})([0-9]{1,7})"', sheet)
                width = max((_column(letters) for letters, _ in cells), default=0)
                height = max((int(number) for _, number in cells), default=0)
                room = CELL * width * height + longest * sheet.count(b't="s"')
                check_ratio(room, len(sheet) + len(texts), GZIP)


def _column(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + letter - 64
    return number


def _bits(kind: pl.DataType) -> int:
    if kind == pl.Boolean:
        return 1
    small = {8: (pl.Int8, pl.UInt8), 16: (pl.Int16, pl.UInt16), 32: (pl.Int32, pl.UInt32, pl.Float32)}
    return next((bits for bits, kinds in small.items() if kind in kinds), 64)


def check_ratio(unpacked: int, packed: int, ratio: int) -> None:
    """Check that a file of ``packed`` bytes unpacks to no more than ``ratio`` times as many, or :data:`HARMLESS`."""
    most = max(HARMLESS, ratio * packed)
    if unpacked > most:
        raise InputError(
            f"the file of {packed:,} bytes unpacks to more than {most:,}, unlike any recording; if it is one, give it "
            "uncompressed, as CSV"
        )
