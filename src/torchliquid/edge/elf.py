"""Just enough of ELF files (System V ABI, 32 and 64 bits, little-endian) to measure: sections and symbols."""

from __future__ import annotations

import struct
from pathlib import Path

ALLOCATED, NO_BITS, SYMBOLS = 2, 8, 2


def flash(path: Path) -> int:
    """Bytes of code and constants, and of variables' first values, that a program needs in flash."""
    return sum(
        size
        for name, kind, flags, _, size, _ in _sections(path.read_bytes())
        if flags & ALLOCATED
        and kind != NO_BITS
        and name.startswith((".text", ".rodata", ".data", ".srodata", ".sdata"))
    )


def symbols(path: Path) -> dict[str, int]:
    """Addresses by name."""
    data = path.read_bytes()
    sections = _sections(data)
    wide = data[4] == 2
    found = {}
    for _, kind, _, offset, size, link in sections:
        if kind != SYMBOLS:
            continue
        names = sections[link][3]
        step = 24 if wide else 16
        for at in range(offset, offset + size, step):
            if wide:
                name, _, _, _, value, _ = struct.unpack_from("<IBBHQQ", data, at)
            else:
                name, value, _, _, _, _ = struct.unpack_from("<IIIBBH", data, at)
            found[_text(data, names + name)] = value
    return found


def _sections(data: bytes) -> list[tuple[str, int, int, int, int, int]]:
    """(name, type, flags, offset, size, link) of each."""
    if data[:4] != b"\x7fELF" or data[5] != 1:
        raise ValueError("not a little-endian ELF file")
    wide = data[4] == 2
    start = struct.unpack_from("<Q", data, 40)[0] if wide else struct.unpack_from("<I", data, 32)[0]
    size, count, names = struct.unpack_from("<HHH", data, 58 if wide else 46)
    raw = [struct.unpack_from("<IIQQQQIIQQ" if wide else "<IIIIIIIIII", data, start + i * size) for i in range(count)]
    text = raw[names][4]
    return [(_text(data, text + r[0]), r[1], r[2], r[4], r[5], r[6]) for r in raw]


def _text(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode("utf-8", "replace")
