"""Read files of tables, in any supported format, as Polars frames."""

from __future__ import annotations

import bz2
import csv
import difflib
import gzip
import importlib.util
import io
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from torchliquid.data import limits
from torchliquid.data.contents import Contents, Table, all_of, opened, size_of, start_of
from torchliquid.data.text import EMPTY, HEAD, Form, read_text
from torchliquid.data.workbook import WorkbookError, rows_of
from torchliquid.errors import InputError, first_line, listed

STDIN = ("-", "/dev/stdin")
PACKED: dict[bytes, Callable[..., Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
"""First bytes of compressed files, and the functions that open them."""
PACKED_TWICE = "the file is compressed more than once, so its size is unknown; unpack it first"
NOT_READ = {".txt", ".md", ".json", ".html", ".pdf", ".py", ".safetensors", ".png", ".log"}
"""Suffixes of files in a folder that are not tables."""
FILE = "file"
Source = str | PathLike[str]


def read_table(path: Source | Sequence[Source], form: Form | None = None, named: Sequence[str] = ()) -> Table:
    """Read one file, several, or all tables of a folder.

    Args:
        path: text (separated by commas, semicolons, tabs, bars or spaces), Parquet, Arrow or Feather, JSON lines, ARFF,
            the archives' ``.ts``, a spreadsheet; also packed by gzip, bz2, xz or zip; ``-`` is the standard input.
            Several files, which must have the same columns, become one table with a column ``file``.
        form: options for text files.
        named: columns that are used, which help to find the header.
    """
    form = form or Form()
    if not isinstance(path, (str, PathLike)):
        paths = [one for p in path for one in _inside(Path(p))]
        if not paths:
            raise InputError("no file was given")
        return _one(paths[0], form, named) if len(paths) == 1 else _several(paths, form, named)
    return _one(Path(path), form, named)


def _one(path: Path, form: Form, named: Sequence[str]) -> Table:
    if path.is_dir():
        return _several(_inside(path), form, named)
    check_there(path)
    try:
        if str(path) in STDIN:
            return _read(sys.stdin.buffer.read(), Path(), form, named)
        return _read(path if path.is_file() else path.read_bytes(), path, form, named)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the file cannot be read ({reason}); check it and its permissions") from None


def check_there(path: Path) -> None:
    """Check that the file or folder exists. The error does not name it."""
    if str(path) not in STDIN and not path.exists():
        beside: list[str] = []
        with suppress(OSError):
            beside = [p.name for p in path.parent.iterdir()]
        near = difflib.get_close_matches(path.name, beside, n=1)
        raise InputError("no such file" + (f"; did you mean {near[0]!r}?" if near else "; check the path"))


def _inside(path: Path) -> list[Path]:
    """The tables in a folder, or the file itself."""
    if not path.is_dir():
        return [path]
    inside = _tables(sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")))
    if not inside:
        raise InputError("this folder contains no tables; name a file, or a folder of CSV, Parquet or other tables")
    return inside


def _tables(paths: Sequence[Path]) -> list[Path]:
    """The files that are tables; if there are none, the text files."""
    tables = [path for path in paths if path.suffix.lower() not in NOT_READ]
    return tables or [path for path in paths if path.suffix.lower() in (".txt", ".log")]


def _several(paths: list[Path], form: Form, named: Sequence[str]) -> Table:
    """Concatenate the rows of several files."""
    tables = []
    for path in paths:
        try:
            tables.append(_one(path, form, named))
        except InputError as error:
            raise InputError(f"{path.name}: {error}") from None
    columns = tables[0].frame.columns
    for path, table in zip(paths, tables, strict=True):
        if set(table.frame.columns) != set(columns):
            differ = sorted(set(table.frame.columns) ^ set(columns))
            raise InputError(
                f"{path.name} has other columns than {paths[0].name}: {', '.join(map(repr, differ[:5]))} "
                f"{'is' if len(differ) == 1 else 'are'} only in one of them; give files with the same columns"
            )
    frames = [table.frame.select(columns) for table in tables]
    if any(frame.schema != frames[0].schema for frame in frames):
        text = [name for name in columns if any(f.schema[name] == pl.String for f in frames)]
        frames = [frame.with_columns(pl.col(text).cast(pl.String)) for frame in frames]
    labels = _labels(paths)
    lengths = [len(frame) for frame in frames]
    files = np.repeat(np.arange(len(paths)), lengths)
    try:
        frame = pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        raise InputError(f"the columns of the files have different types ({first_line(error)})") from None
    column = FILE
    while column in frame.columns:
        column += "_"
    frame = frame.with_columns(pl.Series(column, np.array(labels, dtype=object)[files].tolist(), dtype=pl.String))
    notes = [f"{len(paths)} files were read, each as one series: {listed(labels)}."]
    notes += [f"{name}: {note}" for name, table in zip(labels, tables, strict=True) for note in table.notes]
    numbers = np.concatenate([table.numbers for table in tables])
    return replace(
        tables[0],
        frame=frame,
        numbers=numbers,
        notes=tuple(notes),
        files=files,
        names=tuple(p.name for p in paths),
        labels=labels,
        file=column,
    )


def _labels(paths: Sequence[Path]) -> tuple[str, ...]:
    """A name for each file, all different."""
    labels = [path.stem for path in paths]
    if len(set(labels)) < len(labels):
        labels = [str(path) for path in paths]
    again = [labels[:i].count(label) for i, label in enumerate(labels)]
    return tuple(f"{label} ({n + 1})" if n else label for label, n in zip(labels, again, strict=True))


def _read(source: Contents, path: Path, form: Form, named: Sequence[str], packed: bool = False) -> Table:
    head = start_of(source, HEAD)
    for start, unpack in PACKED.items():
        if head.startswith(start):
            if packed:
                raise InputError(PACKED_TWICE)
            return _read(limits.unpacked(source, unpack), path.with_suffix(""), form, named, packed=True)
    suffix = path.suffix.lower()
    reader: Callable[[Contents], Table] | None = None
    if head[:4] == b"PAR1" or suffix in (".parquet", ".pq"):
        reader = _parquet
    elif head[:6] == b"ARROW1" or suffix in (".arrow", ".feather", ".ipc"):
        reader = _arrow
    elif head[:4] == b"PK\x03\x04":
        if packed:
            raise InputError(PACKED_TWICE)
        inside = _entries(source)
        if "[Content_Types].xml" not in inside and "mimetype" not in inside:
            return _zip(source, inside, form, named)
        return _spreadsheet(source, form, named)
    elif head[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        return _spreadsheet(source, form, named)
    elif head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"[") and suffix not in (".csv", ".tsv", ".txt", ".dat"):
        reader = _json
    elif suffix == ".arff":
        reader = _arff
    elif suffix == ".ts" and b"@data" in head.lower():
        reader = _archive
    if packed and reader in (_parquet, _arrow):
        raise InputError(PACKED_TWICE)
    if reader is not None:
        if form.asked:
            raise InputError(f"{', '.join(form.asked)}: only for text files, which this is not; leave them out")
        return reader(source)
    if not head.strip():
        raise InputError(EMPTY)
    if head.lstrip(b"\xef\xbb\xbf")[:1] == b"{" and b'":' in head.split(b"\n")[0]:
        return _json(source)
    return read_text(source, form, named)


def _counted(frame: pl.DataFrame, **more: Any) -> Table:
    return Table(frame, np.arange(1, len(frame) + 1), **more)


def _parquet(source: Contents) -> Table:
    return _columnar("Parquet", pl.scan_parquet, source)


def _arrow(source: Contents) -> Table:
    return _columnar("Arrow", pl.scan_ipc, source)


def _columnar(name: str, scan: Callable[..., pl.LazyFrame], source: Contents) -> Table:
    try:
        table = scan(source, glob=False)
        limits.check_rows(table, source)
        frame = table.collect()
        limits.check_text(frame, source)
        return _counted(frame)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(
            f"the {name} file is damaged or truncated ({first_line(error)}); copy or write it again"
        ) from None


def _json(source: Contents) -> Table:
    """Read JSON lines, or an array of objects. Names of nested values are joined with a point."""
    data = all_of(source)
    try:
        if data.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"[":
            frame = pl.read_json(data, infer_schema_length=None)
        else:
            frame = pl.read_ndjson(data, infer_schema_length=None)
        while structs := [name for name, kind in frame.schema.items() if isinstance(kind, pl.Struct)]:
            apart = (pl.col(name).name.map_fields(_field_of(name)) for name in structs)
            frame = frame.with_columns(apart).unnest(structs)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise InputError(
            f"the JSON cannot be read as rows ({first_line(error)}); write one object per line, each one row"
        ) from None
    lists = [name for name, kind in frame.schema.items() if kind.is_nested()]
    notes = (f"Lists cannot be columns and were left out: {', '.join(lists)}.",) if lists else ()
    return _counted(frame.drop(lists), notes=notes, mark=".")


def _field_of(name: str) -> Callable[[str], str]:
    return lambda field: f"{name}.{field}"


def _arff(source: Contents) -> Table:
    from scipy.io import arff

    data = all_of(source)
    if b" relational" in data[:HEAD].lower():
        raise InputError(
            "this ARFF file contains tables in its rows, as in time series archives; give the archive's .ts file"
        )
    text = data.decode("utf-8", errors="replace")
    try:
        rows, about = arff.loadarff(io.StringIO(text))
    except (arff.ArffError, NotImplementedError, ValueError, StopIteration, IndexError) as error:
        raise InputError(f"the ARFF file cannot be read ({first_line(error)}); save the table as CSV") from None
    columns = {
        name: rows[name].astype("datetime64[us]")
        if rows[name].dtype.kind == "M"
        else [v.decode() if isinstance(v, bytes) else v for v in rows[name].tolist()]
        if rows[name].dtype == object or rows[name].dtype.kind == "S"
        else rows[name]
        for name in about.names()
    }
    return _counted(pl.DataFrame(columns), mark=".")


def _archive(source: Contents) -> Table:
    """Read ``.ts`` of the time series archives: each line is a series, with its class at all samples."""
    try:
        from aeon.datasets import load_from_ts_file
    except ImportError:
        raise InputError("reading .ts files needs aeon: pip install 'torchliquid[demo]'") from None
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "archive.ts"
        path.write_bytes(all_of(source))
        try:
            cases, classes = load_from_ts_file(str(path))
        except Exception as error:  # whatever its parser stumbles over
            raise InputError(f"the .ts file cannot be read ({first_line(error)}); download it again") from None
    width = len(cases[0])
    frames = [
        pl.DataFrame({f"dim_{c + 1}": np.asarray(case[c], dtype=np.float64) for c in range(width)}).with_columns(
            pl.lit(str(i)).alias("case"), pl.lit(str(label)).alias("class")
        )
        for i, (case, label) in enumerate(zip(cases, classes, strict=True))
    ]
    return _counted(pl.concat(frames), series="case", mark=".")


def _entries(source: Contents) -> list[str]:
    try:
        with opened(source) as file, zipfile.ZipFile(file) as archive:
            inside = [info for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise InputError(
            f"the zip archive or workbook is damaged ({first_line(error)}); copy it again, or save the table as CSV"
        ) from None
    limits.check_ratio(sum(info.file_size for info in inside), size_of(source), limits.GZIP)
    return [info.filename for info in inside]


def _zip(source: Contents, inside: list[str], form: Form, named: Sequence[str]) -> Table:
    tables = _tables([Path(name) for name in inside if not name.startswith("__MACOSX/")])
    if len(tables) != 1:
        raise InputError(
            f"the zip archive contains {len(tables)} tables ({listed(tables)}); unpack it and name one, or the folder"
        )
    with opened(source) as file, zipfile.ZipFile(file) as archive:
        return _read(archive.read(tables[0].as_posix()), tables[0], form, named, packed=True)


def _spreadsheet(source: Contents, form: Form, named: Sequence[str]) -> Table:
    """Read the first sheet with rows as a text table, so that titles and rows of units are detected."""
    if importlib.util.find_spec("python_calamine") is None:
        raise InputError(
            "reading spreadsheets needs python-calamine: pip install 'torchliquid[excel]', or save the table as CSV"
        )
    if start_of(source, 2) == b"PK":
        limits.check_workbook(source)
    size = size_of(source)
    try:
        found = rows_of(all_of(source), limits.WORKBOOK + 2 * limits.GZIP * size, 25 + size / 5e4)
    except WorkbookError as error:
        raise InputError(f"the workbook cannot be read ({first_line(error)}); save it again, or as CSV") from None
    if found is None:
        raise InputError(EMPTY)
    rows, name, filled = found
    table = read_text(rows, form, named)
    first = [f"The first of {filled} sheets was read, {name!r}."] if filled > 1 else []
    return replace(table, notes=(*first, *table.notes), mark=".")
