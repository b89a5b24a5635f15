"""``torchliquid.read``: reads a table as a recording."""

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
    """Read one or more tables: CSV and other text, Parquet, Arrow, JSON lines, spreadsheets, ARFF, ``.ts``.

    Args:
        path: a file, a folder, or a list of files, each one series; ``"-"`` is standard input.
        target: column to predict, numbers or labels.
        time: column of the times, or ``"Date,Time"`` for two columns; None: rows are 1 apart.
        series: column that names the series of a row; None: all rows are one series.
        group: column that names what series share, e.g. the person measured.
        parameter, value: columns of a long table, with what was read and its reading.
        channels: columns to use as inputs; None: all numeric columns without another meaning.
        ignore: columns to leave out.
        keep: columns to use as inputs even if they look like row numbers or clocks.
        missing: values that mean "not observed".
        time_unit: unit of numeric times.
        time_format: format of dates, as for ``strptime``.
        date_order: ``"day first"``, ``"month first"`` or ``"year first"``, for ambiguous dates.
        decimal: decimal mark in text.
        on_restart: where a clock restarts: ``"sort"`` all rows, or ``"split"`` them into series.
        skip, comment, header, encoding: for text files; see :func:`torchliquid.data.tables.read`.
        like: how another table was read, a recording's ``columns``.

    Raises:
        InputError: the file is missing or not a table, or a column does not exist. The message starts with the path.
    """
    given = {name: value for name, value in locals().items() if name != "path" and value is not None}
    return read_any(path, **given)
