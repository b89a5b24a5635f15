"""A file that is read as a table: its contents, which are its path or its bytes, and the rows in it."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import polars as pl

from torchliquid.data.numerals import Mark

Contents = Path | bytes


@dataclass(frozen=True)
class Table:
    """Rows of a table, and how the user counts them.

    Attributes:
        frame: values of text files are text, those of other files have their types.
        numbers: (N,) row numbers: the line of a text file, else from 1.
        files: for each row the index of its file in ``names``, if there are several.
        names: of the files.
        labels: names of the series of the files.
        file: the column with these labels.
        series: the column of series, if the format has one.
        mark: the decimal mark that the format suggests.
    """

    frame: pl.DataFrame
    numbers: np.ndarray
    notes: tuple[str, ...] = ()
    files: np.ndarray | None = None
    names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    file: str | None = None
    series: str | None = None
    mark: Mark | None = None

    def row(self, place: int) -> str:
        """Name a row, as its user counts."""
        of = f" of {self.names[self.files[place]]}" if self.files is not None else ""
        return f"row {self.numbers[place]}{of}"


def opened(contents: Contents) -> IO[bytes]:
    """A binary file with the contents."""
    return io.BytesIO(contents) if isinstance(contents, bytes) else contents.open("rb")


def start_of(contents: Contents, size: int) -> bytes:
    """The first ``size`` bytes, or fewer if there are not as many."""
    with opened(contents) as file:
        return file.read(size)


def all_of(contents: Contents) -> bytes:
    return contents if isinstance(contents, bytes) else contents.read_bytes()


def size_of(contents: Contents) -> int:
    return len(contents) if isinstance(contents, bytes) else contents.stat().st_size


@contextmanager
def mapped(contents: Contents) -> Iterator[bytes | mmap.mmap]:
    """The contents to be searched; a file is mapped into memory."""
    if isinstance(contents, bytes) or not contents.stat().st_size:
        yield all_of(contents)
        return
    with contents.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
