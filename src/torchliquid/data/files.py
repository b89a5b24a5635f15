"""A table's file as a Polars frame, whatever wrote it."""

from __future__ import annotations

import csv
import difflib
import gzip
import io
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from torchliquid.data import limits
from torchliquid.errors import InputError

HEAD = 1 << 16
DELIMITERS = ",;\t|"
EMPTY = "the file is empty; it needs a header and at least two rows"


@dataclass(frozen=True)
class Table:
    """A file's rows, and how its user counts them."""

    frame: pl.DataFrame
    first_row: int
    """The number of the first row of data: in a text file with a header 2."""
    notes: tuple[str, ...] = ()


def read_table(path: Path) -> Table:
    """Read a text table (fields apart by comma, semicolon, tab, bar or blanks; plain or gzip) or a Parquet file.

    Column types come from all rows. Text is UTF-8, UTF-16 with its mark, or else Windows-1252 (noted).

    Raises:
        InputError: no such file, a folder, unreadable, no table, rows wider than the header, no rows.
    """
    if not path.exists():
        near = difflib.get_close_matches(path.name, _names_beside(path), n=1)
        raise InputError("no such file" + (f"; did you mean {near[0]!r}?" if near else "; check the path"))
    if path.is_dir():
        raise InputError(
            "this is a folder; name one CSV or Parquet file in it, or put all into one table with a column that "
            "names each row's file and give it as the series (series='file', --series)"
        )
    try:
        head = _head(path)
        if head[:4] == b"PAR1" or path.suffix.lower() in (".parquet", ".pq"):
            return Table(_read_parquet(path), 1)
        if not head.strip():
            raise InputError(EMPTY)
        if head[:4] == b"PK\x03\x04":
            raise InputError("this is a zip archive or an Excel workbook; save the table as CSV")
        return _read_text(path, head)
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(f"the file cannot be read ({reason}); check it and its permissions") from None


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        limits.check_parquet(path)
        frame = pl.read_parquet(path, glob=False)
        limits.check_text(frame, path)
        return frame
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise InputError(
            f"the Parquet file is broken or cut short ({_first_line(error)}); copy or write it again"
        ) from None


def _read_text(path: Path, head: bytes) -> Table:
    notes: list[str] = []
    utf16 = head[:2] in (b"\xff\xfe", b"\xfe\xff")
    if b"\0" in head and not utf16:
        raise InputError("this is no text table (it holds zero bytes); CSV and Parquet files can be read")
    source: Path | bytes = limits.unpacked(path) if _is_gzip(path) else path
    if utf16:
        source = _decoded(source, "utf-16")
        head = source[:HEAD]
    elif not _is_utf8(head):
        source = _decoded(source, "cp1252")
        head = source[:HEAD]
        notes.append("The file is not UTF-8; its text was read as Windows-1252.")

    limits.check_first_line(source)
    lines = head.decode("utf-8-sig", errors="replace").splitlines()
    lines = [line for line in (lines[:-1] if len(head) >= HEAD and len(lines) > 1 else lines) if line.strip()][:100]
    if not lines:
        raise InputError(EMPTY)
    directive = re.fullmatch(r'"?sep=(.)"?', lines[0])  # Excel's
    if directive:
        lines = lines[1:]
        if not lines:
            raise InputError(EMPTY)
    skipped = 1 if directive else 0
    delimiter = directive[1] if directive else _delimiter(lines)
    if delimiter is None and _by_blanks(lines):
        delimiter = " "
        text = _decoded(source, "utf-8-sig")
        source = re.sub(rb"(?m)^ +| +\r?$", b"", re.sub(rb"[ \t]+", b" ", text))
        lines = [" ".join(line.split()) for line in lines]
    delimiter = delimiter or ","
    limits.check_header(source, delimiter, skipped)
    rows = list(csv.reader(lines, delimiter=delimiter))
    has_header = not all(_is_number(field) for field in rows[0])
    if not has_header:
        notes.append("The file has no header; its columns are called column_1, column_2, ...")
    form: dict[str, Any] = {
        "separator": delimiter,
        "has_header": has_header,
        "skip_lines": skipped,
        "infer_schema_length": None,
        "decimal_comma": _decimal_comma(rows, delimiter),
        "glob": False,
    }
    try:
        frame = pl.read_csv(source, **form)
    except pl.exceptions.PolarsError as error:
        if "utf-8" in str(error):
            source = _decoded(source, "cp1252")
            notes.append("The file is not UTF-8; its text was read as Windows-1252.")
            frame = pl.read_csv(source, **form)
        elif isinstance(error, pl.exceptions.NoDataError):
            raise InputError(EMPTY) from None
        else:
            raise InputError(_what_is_wrong(source, delimiter, skipped, error)) from None
    words = [name for name, kind in frame.schema.items() if kind == pl.Boolean]
    if words:  # True and true are one to Polars, as labels two
        as_text = dict.fromkeys(words, pl.String)
        frame = frame.with_columns(pl.read_csv(source, **form, columns=words, schema_overrides=as_text))
    nameless = [name for name in frame.columns if re.fullmatch(r"\s*(_duplicated_\d+)?", name)]
    nothing = [name for name in nameless if frame[name].null_count() == len(frame)] if has_header else []
    if nothing:
        frame = frame.drop(nothing)
        notes.append(f"{len(nothing)} columns without a name or a value were left out.")
    names = [re.sub('^"(.*)"$', r"\1", " ".join(name.split())).replace('""', '"') for name in frame.columns]
    if not has_header:
        names = [f"column_{i + 1}" for i in range(frame.width)]
    if len(set(names)) == len(names):
        frame.columns = names
    again = [name for name in frame.columns if has_header and "_duplicated_" in name]
    if again:
        notes.append(f"Column names stand more than once in the header; the later ones are {', '.join(again)}.")
    return Table(frame, 1 + skipped + has_header, tuple(notes))


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _head(path: Path) -> bytes:
    with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
        return file.read(HEAD)


def _decoded(source: Path | bytes, encoding: str) -> bytes:
    """The whole text, as UTF-8."""
    data = source if isinstance(source, bytes) else source.read_bytes()
    try:
        return data.decode(encoding).encode()
    except UnicodeError:
        raise InputError("the file's text is in no known encoding; save it as UTF-8") from None


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == HEAD  # cut in the middle of a letter
    return True


def _delimiter(lines: list[str]) -> str | None:
    """The delimiter that cuts almost every line into as many fields as the first, more than one."""
    best, width = None, 1
    for delimiter in DELIMITERS:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        if counts and counts[0] > width and counts.count(counts[0]) >= 0.8 * len(counts):
            best, width = delimiter, counts[0]
    return best


def _by_blanks(lines: list[str]) -> bool:
    counts = {len(line.split()) for line in lines}
    return len(counts) == 1 and max(counts) > 1


def _decimal_comma(rows: list[list[str]], delimiter: str) -> bool:
    fields = [field for row in rows[1:] for field in row]
    comma = any(re.fullmatch(r"\s*[-+]?\d+,\d+\s*", f) for f in fields)
    return delimiter != "," and comma and not any(re.fullmatch(r"\s*[-+]?\d+\.\d+\s*", f) for f in fields)


def _is_number(field: str) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _what_is_wrong(source: Path | bytes, delimiter: str, skipped: int, error: Exception) -> str:
    raw = io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")
    with io.TextIOWrapper(raw, encoding="utf-8", errors="replace", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for _ in range(skipped):
            next(reader, [])
        width = len(next(reader, []))
        for number, row in enumerate(reader, 2 + skipped):
            if len(row) > width:
                return f"row {number} has {len(row)} fields where the header has {width}; mend the row or the header"
    return f"this is no table that can be read ({_first_line(error)}); save it as CSV"


def _names_beside(path: Path) -> Iterable[str]:
    try:
        return [p.name for p in path.parent.iterdir()]
    except OSError:
        return []


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
