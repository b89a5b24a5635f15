"""``torchliquid.read``: reads a table as a recording."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from typing import Any

from torchliquid.data.dates import Order
from torchliquid.data.files import Source, read_table
from torchliquid.data.numerals import Mark
from torchliquid.data.recording import Recording
from torchliquid.data.tables import OF_TEXT, asked_for, completed, from_table
from torchliquid.data.text import Form
from torchliquid.errors import InputError


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
        target: column to predict, numbers or labels (in a long table also a parameter); it is not a channel.
        time: column of the times, or ``"Date,Time"`` for a date and a time of day in two columns; None: rows are 1
            apart.
        series: column that names the series of a row; None: all rows are one series.
        group: column that names what series share, e.g. the person measured. A group is never split over two parts.
            Series of the same name in different groups are separate; without ``series`` each group is one series.
        parameter: column of a long table that names what was read.
        value: column of a long table with the readings.
        channels: the channels to use, in this order, as a model needs them; None: all numeric columns without another
            meaning. If given, one row is enough, a channel may have no values, and impossible readings count as not
            observed.
        ignore: columns (parameters of a long table) to leave out.
        keep: columns to use as inputs even if they look like a row number or a clock.
        missing: values that mean "not observed", besides empty fields and NA, N/A, NaN, null, None, ?, -.
        time_unit: unit of numeric times, e.g. ``"ms"``; dates are in seconds.
        time_format: format of dates in text or digits, as for ``strptime``; ``%f`` is a fraction of a second of any
            length. None: detected.
        date_order: ``"day first"``, ``"month first"`` or ``"year first"``, for ambiguous dates.
        decimal: decimal mark of numbers in text, ``"."`` or ``","``. The other one, spaces and apostrophes separate
            thousands. None: inferred from the whole table.
        on_restart: ``"split"`` starts a new series where the clock restarts; ``"sort"`` or None sorts all rows by time.
        skip: number of lines above the header of a text file; None or 0: detected.
        comment: prefix of comment lines in a text file; None: ``#``, if it is unambiguous.
        header: False: the columns of a text file have no names and are called ``column_1``, ...
        encoding: of a text file, by its name in Python; None: UTF-8, UTF-16 or UTF-32, else Windows-1252, with a note.
        like: how another table was read, the ``columns`` of a recording; used for options that are not given. Its
            series, group and target are dropped if this table lacks them. Its decimal mark and date order are used
            unless this table shows others.

    Raises:
        InputError: the file is missing or not a table, or as for
            :func:`torchliquid.data.tables.from_frame`. The message starts with the path.
    """
    given = {name: value for name, value in locals().items() if name not in ("path", "like") and value is not None}
    of_text = {name: value for name, value in {**(like or {}), **given}.items() if name in OF_TEXT}
    form = {name: value for name, value in of_text.items() if value != getattr(Form, name)}
    meaning = completed({name: value for name, value in given.items() if name not in OF_TEXT}, like)
    try:
        asked = tuple(name for name in given if name in form)
        table = read_table(path, Form(**form, asked=asked), asked_for(meaning))
        recording = from_table(table, **meaning)
        return replace(recording, columns={**recording.columns, **form})
    except InputError as error:
        paths = [path] if isinstance(path, (str, PathLike)) else path
        named = str(paths[0]) if len(paths) == 1 else f"{len(paths)} files"
        raise InputError(f"{'standard input' if named == '-' else named}: {error}") from None
