"""The format of a text table: its encoding, its delimiter, where the table begins and ends.

Polars reads the fields as text. Their types are inferred later, from all rows.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from torchliquid.data import dates, limits
from torchliquid.data.columns import CLOCK, HALF_DAYS, MISSING_NUMBERS, short
from torchliquid.data.contents import Contents, Table, all_of, mapped, opened, size_of, start_of
from torchliquid.data.numerals import NUMBER, SIGNS, Mark, is_plain
from torchliquid.errors import InputError, first_line

HEAD = 1 << 16
LINES = 300
LEAST = 8
"""Maximum and minimum number of lines that are used to detect the format."""
DELIMITERS = ";,\t|"
MARKS: dict[str, Mark] = {";": ",", ",": "."}
"""The decimal mark that is usual with a delimiter."""
EMPTY = "the file is empty; it needs a header and at least two rows"
COMMENT = "#"
ANNOTATIONS = ("#datatype,", "#group,", "#default,")
"""Prefixes of the lines about columns above each table of InfluxDB."""
CLOSING = 20
"""Maximum number of rows without data at the end."""
CELLS = 3000
"""Maximum number of fields that are used to detect what columns contain."""
MOSTLY = 0.8

Cells = list[str]


@dataclass(frozen=True)
class Form:
    """Options for the format of a text file, as in :func:`torchliquid.read`; what is not given is detected. ``asked``
    names the options given for this file, which must be a text file then."""

    skip: int = 0
    comment: str | None = None
    header: bool = True
    encoding: str | None = None
    asked: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.skip < 0:
            raise InputError(f"skip must be 0 or more lines, not {self.skip}")


@dataclass(frozen=True)
class Layout:
    """Where the table is among the lines, which are counted from 0.

    Attributes:
        delimiter, names: between the fields, and of the columns.
        header: line of the header; None: there is none.
        first: line of the first row of data.
        units: rows between header and data.
        above: lines above the header that are not data.
        named: whether the file names its columns.
    """

    delimiter: str
    names: tuple[str, ...]
    header: int | None
    first: int
    units: tuple[Cells, ...] = ()
    above: tuple[str, ...] = ()
    named: bool = True


def read_text(source: Contents, form: Form, named: Sequence[str] = ()) -> Table:
    """Read a text table by the user's options. The line with all names in ``named`` is the header."""
    notes: list[str] = []
    source, head = _as_utf8(source, form.encoding, notes)
    whole = len(head) == size_of(source)
    if b"\r" in head and b"\n" not in head:
        source = all_of(source).replace(b"\r", b"\n")
        head = _head(source)
    if not head.strip():
        raise InputError(EMPTY)
    lines = re.split(r"\r?\n", head.decode("utf-8-sig", errors="replace"))
    lines = (lines if whole or len(lines) == 1 else lines[:-1])[:LINES]
    if form.skip >= len(lines):
        raise InputError(f"--skip {form.skip} leaves no line; the file has {len(lines)}")
    for delimiter in DELIMITERS:
        if lines[0].count(delimiter) >= limits.MAX_COLUMNS:
            limits.check_columns(lines[0].split(delimiter))
    layout = _layout(lines, form, named)
    limits.check_header(source, layout.delimiter)
    limits.check_header(source, layout.delimiter, layout.header if layout.header is not None else layout.first)
    source, commented = _without_comments(source, form, layout)
    if layout.delimiter == " ":
        source = re.sub(rb"(?m)^ +| +(?=\r?$)", b"", re.sub(rb"[ \t]+", b" ", all_of(source)))
    frame, extra = _fields(source, layout)
    numbers = np.arange(layout.first + 1, layout.first + 1 + len(frame))
    notes += _layout_notes(layout, form.comment or COMMENT, commented, extra)
    short_rows = _short_rows(source, layout, frame)
    if short_rows is not None:
        notes.append(short_rows)
    keep = _data_rows(frame, layout, notes)
    if not keep.all():
        frame, numbers = frame.filter(pl.Series(keep)), numbers[keep]
    return Table(_named(frame, layout, notes), numbers, tuple(notes), mark=MARKS.get(layout.delimiter))


# -- encoding


def _as_utf8(source: Contents, encoding: str | None, notes: list[str]) -> tuple[Contents, bytes]:
    """The source as UTF-8, and its first bytes."""
    limits.check_first_line(source)
    head = _head(source)
    if encoding is None:
        marks = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32"}
        marks |= {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
        encoding = next((name for mark, name in marks.items() if head.startswith(mark)), None) or _wide(head)
    if encoding is not None:
        try:
            source = all_of(source).decode(encoding).encode()
        except UnicodeDecodeError as error:
            row = all_of(source)[: error.start].count(b"\n") + 1
            raise InputError(f"row {row} is not valid {encoding}; give the file's encoding (--encoding)") from None
        except (LookupError, UnicodeError):
            raise InputError(
                f"there is no encoding {encoding!r}; give one that Python supports, such as utf-8 or shift_jis"
            ) from None
    elif not _is_utf8(source):
        _refuse_zeros(source)
        source = _mixed(all_of(source), notes)
    _refuse_zeros(source)
    return source, _head(source)


def _head(source: Contents) -> bytes:
    """The first bytes, at least some lines."""
    head = start_of(source, limits.MAX_HEADER)
    if head[:HEAD].count(b"\n") >= LEAST:
        return head[:HEAD]
    end = -1
    for _ in range(LEAST):
        end = head.find(b"\n", end + 1)
        if end < 0:
            return head
    return head[: max(end + 1, HEAD)]


def _wide(head: bytes) -> str | None:
    """Detect UTF-16 without a byte order mark: every other byte of plain letters is zero."""
    for places, name in ((slice(1, None, 2), "utf-16-le"), (slice(0, None, 2), "utf-16-be")):
        half = head[: len(head) // 2 * 2][places]
        if len(half) > 3 and half.count(0) > 0.9 * len(half) and head.count(0) < 0.6 * len(head):
            return name
    return None


def _refuse_zeros(source: Contents) -> None:
    with mapped(source) as data:
        place = data.find(b"\0")
        if place < 0:
            return
        if sum(byte < 9 for byte in data[:HEAD]) * 100 > len(data[:HEAD]):
            raise InputError("this is not a text table (it contains zero bytes); CSV, Parquet and others can be read")
        row = data[:place].count(b"\n") + 1
        raise InputError(f"row {row} contains a zero byte, which is not text; correct it, or write the file again")


def _is_utf8(source: Contents) -> bool:
    with opened(source) as file:
        try:
            for _ in codecs.iterdecode(iter(lambda: file.read(1 << 22), b""), "utf-8"):
                pass
        except UnicodeDecodeError:
            return False
    return True


def _mixed(data: bytes, notes: list[str]) -> bytes:
    """Decode UTF-8, and invalid bytes as Windows-1252."""
    places: list[int] = []

    def as_windows(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeDecodeError)
        places.append(error.start)
        return error.object[error.start : error.end].decode("cp1252"), error.end

    codecs.register_error("torchliquid.cp1252", as_windows)
    try:
        text = data.decode("utf-8", errors="torchliquid.cp1252")
    except UnicodeError:
        raise InputError(
            "the encoding of the file is unknown; give it (--encoding), or save the file as UTF-8"
        ) from None
    also = any(ord(letter) > 127 for letter in data.decode("utf-8", errors="ignore"))
    if also:
        row = data[: places[0]].count(b"\n") + 1
        notes.append(
            f"{len(places)} letters, the first in row {row}, are not UTF-8 like the rest of the file; they were read "
            "as Windows-1252."
        )
    else:
        notes.append("The file is not UTF-8; its text was read as Windows-1252 (--encoding to change).")
    return text.encode()


# -- layout


def kind_of(cell: str) -> str:
    """The type of a field: number, date, word, or nothing."""
    cell = cell.strip()
    if cell in MISSING_NUMBERS:
        return "nothing"
    if cell.isdecimal() or is_plain(cell):
        return "number"
    if not re.search(r"\d", cell):
        return "word"
    if any(re.match(form, cell) for form in (CLOCK, HALF_DAYS, *dates.FORMS)):
        return "date"
    return "number" if re.match(NUMBER, re.sub(f"[{SIGNS}]", "-", cell)) else "word"


@dataclass
class _Cut:
    """The first lines, split into fields at one delimiter."""

    delimiter: str
    places: list[int]
    rows: list[Cells]
    width: int

    @property
    def share(self) -> float:
        """The lines that are as wide as most, or as a header without its last name."""
        return sum(len(row) in (self.width, self.width - 1) for row in self.rows) / len(self.rows)

    def typed(self) -> list[str]:
        """The most frequent type in each column, in the lower half of the lines."""
        lower = [row for row in self.rows[len(self.rows) // 2 :] if len(row) == self.width]
        return _kinds((lower or self.rows[-1:])[: max(CELLS // self.width, 4)], self.width)


def _layout(lines: list[str], form: Form, named: Sequence[str]) -> Layout:
    skipped = form.skip
    directive = re.fullmatch(r'"?sep=(.)"?', lines[skipped].strip("\r")) if skipped < len(lines) else None  # Excel's
    if directive:
        skipped += 1
    for i, line in enumerate(lines):  # LabVIEW's
        if line.startswith("***End_of_Header***"):
            skipped = i + 1
    comment = form.comment or COMMENT
    places = [i for i in range(skipped, len(lines)) if lines[i].strip()]
    if sum(lines[i].startswith(comment) for i in places) * 2 > len(places) and form.comment is None:
        comment = "\0"  # the first column itself starts with this character
    plain = [i for i in places if not lines[i].startswith(comment)]
    if not plain:
        raise InputError(EMPTY)
    cut = _cut(lines, plain, directive[1] if directive else None)
    for i, row in zip(cut.places[:2], cut.rows[:2], strict=False):
        if row[0].strip() in ("TOA5", "TOACI1"):  # of Campbell's loggers: the names stand below
            cut.places, cut.rows = cut.places[cut.places.index(i) + 1 :], cut.rows[cut.rows.index(row) + 1 :]
            break
    kinds = cut.typed()

    def as_layout(header: int | None, names: Cells, first: int) -> Layout:
        """``first`` is the index of the first row below the header among the split rows."""
        units: list[Cells] = []
        while first < len(cut.rows) - 1 and len(units) < 3 and _no_data(cut.rows[first], kinds):
            units.append(cut.rows[first])
            first += 1
        top = header if header is not None else cut.places[first] if first < len(cut.places) else len(lines)
        below = cut.places[first] if units else top + 1 if header is not None else top
        above = tuple(lines[i] for i in range(top) if lines[i].strip() and not (directive and i == form.skip))
        return Layout(cut.delimiter, tuple(names), header, below, tuple(units), above[form.skip :])

    numbered = [f"column_{i + 1}" for i in range(cut.width)]
    start = next((i for i, row in enumerate(cut.rows) if len(row) == cut.width), 0)
    if not form.header:
        return replace(as_layout(None, numbered, start if form.skip == 0 else 0), named=False)
    if named:
        for i, row in enumerate(cut.rows):
            if set(named) <= {name_of(cell) for cell in row} and not _is_data(row, kinds):
                return as_layout(cut.places[i], row, i + 1)
    top = _header(cut, kinds)
    if top is not None:
        return as_layout(cut.places[top], cut.rows[top], top + 1)
    above = [i for i in places if i < cut.places[start] and lines[i].startswith(comment)]
    if above:  # a header that is a comment: "# t, x, y"
        text = lines[above[-1]].removeprefix(comment)
        names = _split([text], cut.delimiter)[0]
        if len(names) == cut.width and cut.width > 1 and not _is_data(names, kinds):
            if not names[0].strip():
                names[0] = comment
            return as_layout(above[-1], names, start)
    return replace(as_layout(None, numbered, start), named=False)


def _cut(lines: list[str], places: list[int], delimiter: str | None) -> _Cut:
    """Split the lines at the delimiter that gives the most regular columns."""
    best: tuple[tuple[float, ...], _Cut] | None = None
    texts = [lines[i].strip("\r") for i in places]
    for one in delimiter or DELIMITERS:
        rows = _split(texts, one)
        cut = _Cut(one, places, rows, _usual(rows))
        width = cut.width
        if delimiter is not None or (width > 1 and cut.share >= 0.5):
            kinds = [kind_of(cell) for row in rows[len(rows) // 2 :][: max(CELLS // width // 4, 2)] for cell in row]
            typed = sum(kind != "word" for kind in kinds) / max(len(kinds), 1)
            score = (round(cut.share, 1), round(typed, 1), cut.share, -DELIMITERS.find(one))
            if best is None or score > best[0]:
                best = (score, cut)
    if best is not None:
        return best[1]
    by_blanks = [line.split() for line in texts]
    widths = [len(row) for row in by_blanks]
    width = _usual(by_blanks)
    lower = widths[len(widths) // 2 :]
    if width > 1 and lower.count(width) == len(lower) and widths.count(width) >= 0.5 * len(widths):
        return _Cut(" ", places, by_blanks, width)
    rows = _split(texts, ",")
    return _Cut(",", places, rows, _usual(rows))


def _usual(rows: list[Cells]) -> int:
    """The number of fields of most rows, without those above the table."""
    lower = [len(row) for row in (rows[len(rows) // 2 :] if len(rows) > 20 else rows[1:] or rows)]
    first = len(rows[0])
    return max(set(lower), key=lambda width: (lower.count(width), width == first, width))


def _kinds(rows: Sequence[Sequence[str | None]], width: int, share: float = 0.5) -> list[str]:
    """The most frequent type of each column's fields; word if it has less than this share of them."""
    found = []
    for c in range(width):
        kinds = [kind for row in rows if len(row) > c and (kind := kind_of(row[c] or "")) != "nothing"]
        most = max(("date", "number", "word"), key=kinds.count)
        found.append("nothing" if not kinds else most if kinds.count(most) >= share * len(kinds) else "word")
    return found


def _split(texts: list[str], delimiter: str) -> list[Cells]:
    if delimiter == " ":
        return [text.split() for text in texts]
    rows = []
    for text in texts:
        try:
            rows.append(next(csv.reader([text], delimiter=delimiter), []) or [""])
        except csv.Error:
            rows.append([text])
    return rows


def _header(cut: _Cut, kinds: list[str]) -> int | None:
    """Index of the row with the column names; None if there is none."""
    rows, width = cut.rows, cut.width
    start = next((i for i, row in enumerate(rows) if len(row) == width), 0)
    if all(kind in ("word", "nothing") for kind in kinds):
        if start and len(rows[start - 1]) == width - 1:
            return start - 1
        return start if not all(is_plain(cell) for cell in rows[start]) else None
    for i in range(start, len(rows)):
        if len(rows[i]) == width and not _is_data(rows[i], kinds) and any(cell.strip() for cell in rows[i]):
            after = i + 1
            while after < len(rows) - 1 and after - i <= 3 and _no_data(rows[after], kinds):
                after += 1
            if after >= len(rows) or _is_data(rows[after], kinds) or len(rows[after]) < width:
                return i
            if len(rows[after]) > width:
                return i
        elif i == start and _is_data(rows[i], kinds):
            break
    above = rows[start - 1] if start else []
    if len(above) >= max(width - 1, 2) and not any(kind_of(cell) in ("number", "date") for cell in above):
        return start - 1  # rows end with a delimiter, lack fields, or the header lacks a name
    first = rows[start]
    if first[0].strip() == "" and [cell.strip() for cell in first[1:]] in (
        [str(n) for n in range(width - 1)],
        [str(n + 1) for n in range(width - 1)],
    ):
        return start  # numbered columns behind an index
    return None


def _is_data(row: Cells, kinds: list[str]) -> bool:
    """Whether the row's fields match their columns: dates in columns of dates, else numbers in columns of numbers."""
    found = [kind_of(cell) for cell in row]
    dated = [f for f, k in zip(found, kinds, strict=False) if k == "date"]
    counted = [f for f, k in zip(found, kinds, strict=False) if k == "number"]
    if dated and not all(f in ("date", "nothing") for f in dated):
        return False
    if "date" in dated:
        return True
    return bool(counted) and all(f != "word" for f in counted) and "number" in counted


def _no_data(row: Cells, kinds: list[str]) -> bool:
    """Whether a row below the header, or at the end, has values but none that match its columns."""
    found = [kind_of(cell) for cell in row]
    typed = [f for f, k in zip(found, kinds, strict=False) if k in ("number", "date")]
    return (
        any(k in ("number", "date") for k in kinds)
        and all(f not in ("number", "date") for f in typed)
        and any(f == "word" for f in typed)
    )


def name_of(cell: str) -> str:
    """A column's name on one line, without quotes."""
    return re.sub('^"(.*)"$', r"\1", " ".join(cell.split())).replace('""', '"')


# -- rows


def _without_comments(source: Contents, form: Form, layout: Layout) -> tuple[Contents, int]:
    """The lines with the comments among the rows made blank, and the number of comments."""
    mark = (form.comment or COMMENT).encode()
    with mapped(source) as data:
        if data.find(b"\n" + mark) < 0:
            return source, 0
    data, count, width = all_of(source), 0, len(layout.names)
    start = _end_of_lines(data, layout.first)

    def blank(match: re.Match[bytes]) -> bytes:
        nonlocal count
        line = match[0].decode(errors="replace")
        fields = len(_split([line.strip("\r")], layout.delimiter)[0])
        if line.startswith(ANNOTATIONS):
            fields = 0
        if form.comment is None and fields == width and width > 1 and not line[len(mark) :].startswith(" "):
            return match[0]
        count += 1
        return b""

    rest = re.sub(rb"(?m)^" + re.escape(mark) + rb"[^\n]*", blank, data[start:])
    return (data[:start] + rest, count) if count else (source, 0)


def _end_of_lines(data: bytes, count: int) -> int:
    """The place after this many lines, or the end."""
    place = 0
    for _ in range(count):
        place = data.find(b"\n", place) + 1 or len(data)
    return place


def _fields(source: Contents, layout: Layout) -> tuple[pl.DataFrame, int]:
    """All rows below the header as text, and how many columns without a name were left out."""
    width = len(layout.names)
    names = layout.delimiter.join(f"column_{i + 1}" for i in range(width)).encode() + b"\n"
    form = {"separator": layout.delimiter, "has_header": True, "infer_schema": False, "glob": False}
    if layout.header is not None and layout.first == layout.header + 1:
        given: Contents = source
        skip = layout.header
    else:
        data = all_of(source)
        start = _end_of_lines(data, layout.first)
        given, skip = names + data[start:].removeprefix(codecs.BOM_UTF8), 0
    try:
        frame = pl.read_csv(given, **form, skip_lines=skip)  # type: ignore[arg-type]
        return frame, 0
    except pl.exceptions.NoDataError:
        raise InputError(EMPTY) from None
    except pl.exceptions.PolarsError as error:
        wide = _widest(all_of(given), layout.delimiter, skip, width)
        if wide is not None:
            number, fields, empty = wide
            if not empty:
                if given is not source:
                    number += layout.first - 1
                raise InputError(
                    f"row {number} has {fields} fields where the header has {width}; correct the row or the header"
                ) from None
            with suppress(pl.exceptions.PolarsError):
                frame = pl.read_csv(given, **form, skip_lines=skip, truncate_ragged_lines=True)  # type: ignore[arg-type]
                return frame, fields - width
        raise InputError(f"this table cannot be read ({first_line(error)}); save it as CSV") from None


def _widest(data: bytes, delimiter: str, skip: int, width: int) -> tuple[int, int, bool] | None:
    """The first row with more fields than the header: its line and number of fields; whether they are empty."""
    text = data.decode("utf-8", errors="replace")
    lines = iter(text.splitlines(keepends=True))
    for _ in range(skip):
        next(lines, "")
    first, widest = None, width
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), skip + 1):
            if len(row) > width:
                first, widest = first or (number, len(row)), max(widest, len(row))
                if any(cell.strip() for cell in row[width:]):
                    return number, len(row), False
    except csv.Error:
        return None
    return None if first is None else (first[0], widest, True)


def _short_rows(source: Contents, layout: Layout, frame: pl.DataFrame) -> str | None:
    """A note on rows with fewer fields than the header."""
    width = len(layout.names)
    if width < 2 or not len(frame) or not frame.to_series(-1).null_count() or layout.delimiter == " ":
        return None
    try:
        lines = pl.read_csv(
            source, separator="\x01", quote_char=None, has_header=False, skip_lines=layout.first, infer_schema=False,
            new_columns=["line"], glob=False, truncate_ragged_lines=True,
        ).to_series()  # fmt: skip
    except pl.exceptions.PolarsError:
        return None
    if len(lines) != len(frame):  # a field goes over lines
        return None
    cut = lines.is_not_null() & (lines.str.count_matches(layout.delimiter, literal=True) < width - 1)
    if not cut.any():
        return None
    row = layout.first + 1 + (cut.arg_max() or 0)
    return (
        f"{int(cut.sum())} rows have fewer fields than the header, the first row {row}; missing ones are not observed."
    )


def _data_rows(frame: pl.DataFrame, layout: Layout, notes: list[str]) -> np.ndarray:
    """Which rows are data: not repeated headers, and not the footer."""
    keep = np.ones(len(frame), dtype=bool)
    if not frame.width or not len(frame):
        return keep
    if layout.named:
        keep &= ~_repeats(frame, layout, notes)
    first = frame.to_series(0).str.strip_chars()
    of_runtime = (first.str.starts_with("$RT_") & first.str.ends_with("$")).fill_null(False).to_numpy()  # of WinCC
    if of_runtime.any():
        notes.append(f"{int(of_runtime.sum())} rows of the runtime ($RT_...) were left out.")
        keep &= ~of_runtime
    return keep & ~_closing(frame, keep, layout, notes)


def _repeats(frame: pl.DataFrame, layout: Layout, notes: list[str]) -> np.ndarray:
    names = [name_of(name) for name in layout.names]
    named = [name for name in (*names, *layout.names) if name]
    candidates = frame.to_series(0).str.strip_chars().is_in(named)
    if not names[0] and frame.width > 1:
        candidates = frame.to_series(0).is_null() & frame.to_series(1).str.strip_chars().is_in(named)
    places = candidates.fill_null(False).arg_true().to_list()
    again = np.zeros(len(frame), dtype=bool)
    for place in places[:100_000]:
        row = [name_of(cell or "") for cell in frame.row(place)]
        again[place] = row == names
        if not again[place] and sorted(row) == sorted(names):
            raise InputError(
                f"row {layout.first + 1 + place} is a header with the columns in another order; put each part into "
                "its own file"
            )
    if again.any():
        notes.append(
            f"{int(again.sum())} rows repeat the header, the first row {layout.first + 1 + int(again.argmax())}; they "
            "were left out."
        )
    return again


def _closing(frame: pl.DataFrame, keep: np.ndarray, layout: Layout, notes: list[str]) -> np.ndarray:
    """Rows at the end that do not match their columns."""
    closing = np.zeros(len(frame), dtype=bool)
    if len(frame) < 4:
        return closing
    kinds = _kinds(frame[: max(min(200, CELLS // frame.width), 4)].rows(), frame.width, MOSTLY)
    seen: list[str] = []
    for place in range(len(frame) - 1, max(len(frame) - 1 - CLOSING - 200, 0), -1):
        row = [cell or "" for cell in frame.row(place)]
        if not any(cell.strip() for cell in row):
            continue
        if not keep[place]:
            continue
        filled = sum(bool(cell.strip()) for cell in row)
        if not (_no_data(row, kinds) and (filled < len(row) or len(row) == 1)) or len(seen) == CLOSING:
            break
        closing[place] = True
        seen.append(layout.delimiter.join(row).strip(layout.delimiter + " "))
    if seen:
        many = "row at the end contains" if len(seen) == 1 else "rows at the end contain"
        notes.append(
            f"{len(seen)} {many} no data and {'was' if len(seen) == 1 else 'were'} left out: {short(seen[-1])}."
        )
    return closing


def _layout_notes(layout: Layout, comment: str, commented: int, extra: int) -> list[str]:
    notes = []
    if not layout.named:
        notes.append("The file has no header; its columns are called column_1, column_2, ...")
    if layout.above:
        is_comment = sum(line.startswith(comment) for line in layout.above)
        what = "comment lines" if is_comment == len(layout.above) else "lines"
        where = "header" if layout.named else "first row"
        header = f" in row {layout.header + 1}" if layout.header is not None else ""
        one = len(layout.above) == 1
        notes.append(
            f"{len(layout.above)} {what.replace('lines', 'line') if one else what} above the {where}{header} "
            f"{'was' if one else 'were'} skipped: {short(layout.above[0].strip())}{'' if one else ', ...'}."
        )
    if layout.units:
        shown = "; ".join(short(layout.delimiter.join(row)) for row in layout.units)
        notes.append(f"{len(layout.units)} rows below the header contain no data and were skipped: {shown}.")
    if commented:
        notes.append(f"{commented} comment lines between the rows were skipped.")
    if extra:
        notes.append("Rows end with a delimiter that the header lacks; it was ignored.")
    return notes


def _named(frame: pl.DataFrame, layout: Layout, notes: list[str]) -> pl.DataFrame:
    """The columns with their names, without those that have neither name nor values."""
    names: list[str] = []
    again = []
    seen: set[str] = set()
    for i in range(frame.width):
        name = name_of(layout.names[i]) if i < len(layout.names) else ""
        base, n = name, 0
        while name in seen:
            name = f"{base}_duplicated_{n}"
            n += 1
        if n and base:
            again.append(name)
        names.append(name)
        seen.add(name)
    frame.columns = names
    if layout.named:
        nameless = [n for n in names if re.fullmatch(r"(_duplicated_\d+)?", n)]
        nothing = [n for n in nameless if (frame[n].is_null() | (frame[n].str.strip_chars() == "")).all()]
        if nothing:
            frame = frame.drop(nothing)
            notes.append(f"{len(nothing)} columns without a name and without values were left out.")
    if again:
        notes.append(f"Some column names occur more than once; the later ones are now {', '.join(again)}.")
    return frame
