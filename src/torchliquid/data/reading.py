"""``torchliquid.read``: a table as a recording, each option by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torchliquid.data.dates import Order
from torchliquid.data.files import Source
from torchliquid.data.numerals import Mark
from torchliquid.data.recording import Recording
from torchliquid.data.tables import read as read_any


def read(
    path: Source | Sequence[Source],
    *,
    target: str | None = None,
    time: str | None = None,
    series: str | None = None,
    group: str | None = None,
    parameter: str | None = None,
    value: str | None = None,
    channels: Sequence[str] | None = None,
    ignore: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    missing: Sequence[float | str] | None = None,
    time_unit: str | None = None,
    time_format: str | None = None,
    date_order: Order | None = None,
    decimal: Mark | None = None,
    on_restart: str | None = None,
    skip: int | None = None,
    comment: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    like: Mapping[str, Any] | None = None,
) -> Recording:
    """Read a table or several: CSV and other text, Parquet, Arrow, JSON lines, spreadsheets, ARFF, ``.ts``.

    Args:
        path: the file, a folder, or a list of files, a series each; ``"-"`` is the standard input.
        target: column of what is to be learnt, numbers or labels.
        time: column of the times; two as ``"Date,Time"``; None: each row one after the one above it.
        series: column that tells which series a row belongs to; None: all rows are one.
        group: column that tells what series have in common, e.g. a person.
        parameter, value: of a long table, the columns with what was read and its reading.
        channels: the columns to learn from; None: every column of numbers that has no other meaning.
        ignore: columns to leave out.
        keep: columns to learn from even where they look like row numbers or clocks.
        missing: values that stand for "not observed".
        time_unit: of times that are numbers.
        time_format: how dates are written, as ``strptime`` has it.
        date_order: ``"day first"``, ``"month first"`` or ``"year first"``, of dates that are ambiguous.
        decimal: the decimal mark in text.
        on_restart: where a clock begins anew: ``"sort"`` the rows, or ``"split"`` into series.
        skip, comment, header, encoding: of text files; see :func:`torchliquid.data.tables.read`.
        like: how another table was read, a recording's ``columns``.

    Raises:
        InputError: the file is missing or no table, or a column is not there; the message starts with the path.
    """
    given = {name: value for name, value in locals().items() if name != "path" and value is not None}
    return read_any(path, **given)
