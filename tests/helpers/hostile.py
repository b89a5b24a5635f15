"""Files from strangers, made from a seed; and a limit on what one of them may take."""

from __future__ import annotations

import bz2
import copy
import gzip
import io
import json
import lzma
import math
import signal
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import safetensors.torch
import torch

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


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def workbook(cells: dict[str, str], texts: str = "") -> bytes:
    """An .xlsx file with these cells, as XML."""
    forms = "http://schemas.openxmlformats.org"
    kinds, office, sheet = f"{forms}/package/2006", f"{forms}/officeDocument/2006", f"{forms}/spreadsheetml/2006/main"
    rows = "".join(f'<row r="{"".join(filter(str.isdigit, at))}">{cell}</row>' for at, cell in cells.items())
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{kinds}/content-types"/>',
        "_rels/.rels": f'<Relationships xmlns="{kinds}/relationships"><Relationship Id="r" '
        f'Type="{office}/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{sheet}" xmlns:r="{office}/relationships"><sheets>'
        '<sheet name="S" sheetId="1" r:id="r"/></sheets></workbook>',
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{kinds}/relationships"><Relationship Id="r" '
        f'Type="{office}/relationships/worksheet" Target="worksheets/s.xml"/></Relationships>',
        "xl/worksheets/s.xml": f'<worksheet xmlns="{sheet}"><sheetData>{rows}</sheetData></worksheet>',
        "xl/sharedStrings.xml": f'<sst xmlns="{sheet}"><si><t>{texts}</t></si></sst>',
    }
    return _zip({name: part.encode() for name, part in parts.items()})


def opendocument(rows: str) -> bytes:
    """An .ods file with these rows, as XML."""
    forms = "urn:oasis:names:tc:opendocument:xmlns"
    kind = "application/vnd.oasis.opendocument.spreadsheet"
    content = (
        f'<office:document-content xmlns:office="{forms}:office:1.0" xmlns:table="{forms}:table:1.0" '
        f'xmlns:text="{forms}:text:1.0"><office:body><office:spreadsheet><table:table table:name="S">{rows}'
        "</table:table></office:spreadsheet></office:body></office:document-content>"
    )
    manifest = (
        f'<manifest:manifest xmlns:manifest="{forms}:manifest:1.0"><manifest:file-entry '
        f'manifest:full-path="/" manifest:media-type="{kind}"/></manifest:manifest>'
    )
    parts = {"mimetype": kind, "content.xml": content, "META-INF/manifest.xml": manifest}
    return _zip({name: part.encode() for name, part in parts.items()})


def opendocument_row(values: str, *, rows: int = 1, columns: int = 1) -> str:
    """One row of an .ods file, and how often it and its cells repeat."""
    cells = "".join(
        f'<table:table-cell table:number-columns-repeated="{columns}" office:value-type="float" office:value="{v}"/>'
        for v in values.split()
    )
    return f'<table:table-row table:number-rows-repeated="{rows}">{cells}</table:table-row>'


def binary_workbook(cells: dict[tuple[int, int], float]) -> bytes:
    """An .xlsb file with numbers at (row, column), in order."""

    def record(kind: int, body: bytes = b"") -> bytes:
        number = bytes([kind]) if kind < 128 else bytes([kind & 127 | 128, kind >> 7])
        return number + bytes([len(body)]) + body

    def text(value: str) -> bytes:
        return struct.pack("<I", len(value)) + value.encode("utf-16-le")

    forms = "http://schemas.openxmlformats.org"
    kinds, office = f"{forms}/package/2006", f"{forms}/officeDocument/2006"
    sheet = record(129) + record(148, struct.pack("<4I", 0, 1, 0, 1)) + record(145)
    for (row, column), value in cells.items():
        sheet += record(0, struct.pack("<I", row) + bytes(13)) + record(5, struct.pack("<IId", column, 0, value))
    book = record(131) + record(143) + record(156, struct.pack("<II", 0, 1) + text("r") + text("S")) + record(144)
    related = (
        f'<Relationships xmlns="{kinds}/relationships"><Relationship Id="r" Type="{office}/relationships/worksheet" '
        'Target="worksheets/sheet1.bin"/></Relationships>'
    )
    return _zip(
        {
            "[Content_Types].xml": f'<Types xmlns="{kinds}/content-types"/>'.encode(),
            "xl/workbook.bin": book + record(132),
            "xl/_rels/workbook.bin.rels": related.encode(),
            "xl/worksheets/sheet1.bin": sheet + record(146) + record(130),
        }
    )


def old_workbook(cells: dict[tuple[int, int], float]) -> bytes:
    """An .xls file (BIFF8 in a compound file) with numbers at (row, column)."""

    def record(kind: int, body: bytes) -> bytes:
        return struct.pack("<HH", kind, len(body)) + body

    begin = struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 6)
    sheet_at = 4 + len(begin) + 4 + 9 + 4
    stream = record(0x809, begin) + record(0x85, struct.pack("<IBBBB", sheet_at, 0, 0, 1, 0) + b"S") + record(0xA, b"")
    stream += record(0x809, struct.pack("<HHHHII", 0x600, 16, 0, 0, 0, 6))
    for (row, column), value in cells.items():
        stream += record(0x203, struct.pack("<HHHd", row, column, 0, value))
    stream += record(0xA, b"")
    stream = stream.ljust(4096, b"\0")
    stream += bytes(-len(stream) % 512)
    sectors, end, free = len(stream) // 512, 0xFFFFFFFE, 0xFFFFFFFF
    table = [0xFFFFFFFD, end, *range(3, sectors + 2), end]

    def entry(name: str, kind: int, child: int, first: int, size: int) -> bytes:
        named = (name + "\0").encode("utf-16-le")
        place = struct.pack("<BBIII", kind, 1, free, free, child) + bytes(36)
        return named.ljust(64, b"\0") + struct.pack("<H", len(named)) + place + struct.pack("<IQ", first, size)

    head = bytes.fromhex("d0cf11e0a1b11ae1") + bytes(16) + struct.pack("<HHHHH", 0x3E, 3, 0xFFFE, 9, 6) + bytes(6)
    head += struct.pack("<IIIIIIIII", 0, 1, 1, 0, 4096, end, 0, end, 0) + struct.pack("<109I", 0, *[free] * 108)
    folder = entry("Root Entry", 5, 1, end, 0) + entry("Workbook", 2, free, 2, len(stream)) + bytes(256)
    return head + struct.pack("<128I", *table, *[free] * (128 - len(table))) + folder + stream


def _arrow(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc(buffer, compression="zstd")
    return buffer.getvalue()


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
    "a far cell": (
        lambda r: workbook({"A1": '<c r="A1"><v>1</v></c>', "XFD1048576": '<c r="XFD1048576"><v>2</v></c>'}),
        "unpacks to more than",
    ),
    "one long text in many cells": (
        lambda r: workbook({f"A{i}": f'<c r="A{i}" t="s"><v>0</v></c>' for i in range(1, 50_000)}, "x" * 30_000),
        "unpacks to more than",
    ),
    "repeated cells in OpenDocument": (
        lambda r: opendocument(opendocument_row("1 2", rows=2**13, columns=2**13)),
        "take more than|cannot be read",
    ),
    "a far row in OpenDocument": (
        lambda r: opendocument(
            opendocument_row("1", columns=2**14)
            + '<table:table-row table:number-rows-repeated="1000000"><table:table-cell/></table:table-row>'
            + opendocument_row("1")
        ),
        "cannot be read",
    ),
    "a far cell in a binary workbook": (
        lambda r: binary_workbook({(0, 0): 1.0, (1_048_575, 16_383): float(r.random())}),
        "take more than",
    ),
    "a far cell in an old workbook": (
        lambda r: old_workbook({(0, 0): 1.0, (65_535, 65_535): float(r.random())}),
        "take more than",
    ),
    "zip of blanks": (lambda r: _zip({"a.csv": b"a,b\n" + b" " * (1 << 26)}), "unpacks to more than"),
    "gzip in gzip": (lambda r: gzip.compress(gzip.compress(b"a,b\n1,2\n2,3\n")), "compressed more than once"),
    "gzip in zip": (lambda r: _zip({"a.csv.gz": gzip.compress(b"a,b\n1,2\n2,3\n")}), "compressed more than once"),
    "zip in xz": (lambda r: lzma.compress(_zip({"a.csv": b"a,b\n1,2\n2,3\n"})), "compressed more than once"),
    "bz2 of blanks": (lambda r: bz2.compress(b" " * (1 << 26)), "unpacks to more than"),
    "xz of blanks": (lambda r: lzma.compress(b" " * (1 << 26)), "unpacks to more than"),
    "constant Arrow": (
        lambda r: _arrow(pl.DataFrame({f"c{i}": np.full(200_000, r.random()) for i in range(60)})),
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


VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 7, 4096, 65537, 2**31, 2**63, 10**400, 0.5, -0.0, 1e-320, 1e300, 1.7e308, math.nan, math.inf,
    -math.inf, "", "x", "nan", "\x1b[2J", "\u202e", "<img src=x onerror=alert(1)>", "../../etc/passwd", "n" * 5000, [],
    {}, [1.0], [math.nan] * 3, ["a", "a", "a"], {"a": {"b": []}}, "cfc", "ltc_ncp", "transformer", "series",
)  # fmt: skip
"""What a stranger may write in the place of any value."""


def hostile_model(good: Path, rng: np.random.Generator) -> bytes:
    """A saved model with one to three things changed in its description, its weights or its bytes."""
    with safetensors.safe_open(good, "pt") as file:
        header = dict(file.metadata())
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    description = json.loads(header["model"])
    for _ in range(rng.integers(1, 4)):
        kind = rng.random()
        if kind < 0.7:
            _change(description, rng)
        elif kind < 0.95:
            name = sorted(tensors)[rng.integers(len(tensors))]
            tensors[name] = _changed(tensors[name], rng)
        else:
            tensors["model.more"] = torch.zeros(int(rng.integers(1, 9)))
    header["model"] = json.dumps(description)
    data = safetensors.torch.save(tensors, header)
    if rng.random() < 0.2:
        data = data[: rng.integers(len(data))]
    elif rng.random() < 0.2:
        place = int(rng.integers(len(data)))
        data = data[:place] + bytes([int(rng.integers(256))]) + data[place + 1 :]
    return data


def deep(levels: int) -> str:
    """JSON nested so deep."""
    return '{"a":' * levels + "1" + "}" * levels


def _change(data: Any, rng: np.random.Generator) -> None:
    """One value, anywhere inside, becomes another."""
    while True:
        keys = list(data) if isinstance(data, dict) else list(range(len(data)))
        key = keys[rng.integers(len(keys))]
        if isinstance(data[key], dict | list) and data[key] and rng.random() < 0.9:
            data = data[key]
            continue
        if isinstance(data, dict) and rng.random() < 0.1:
            del data[key]
        else:
            data[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
        return


def _changed(tensor: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    flat = tensor.reshape(-1).clone()
    if rng.random() < 0.3 or not len(flat):
        others = [tensor.double(), tensor.reshape(-1), tensor[:0], tensor.to(torch.int64), tensor.unsqueeze(0)]
        return others[rng.integers(5)]
    worst = [math.nan, math.inf, 1e38, -1e38, -1.0, 0.0] if tensor.is_floating_point() else [-1, 2**31 - 1, 10**6, 0]
    flat[rng.integers(len(flat))] = worst[rng.integers(len(worst))]
    return flat.reshape(tensor.shape)
