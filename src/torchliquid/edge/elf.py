"""Reads ELF files: how much flash a program needs, and where its symbols are."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torchliquid.errors import InputError

STORED = (".text", ".rodata", ".data", ".srodata", ".sdata")


def can_read() -> bool:
    """Whether pyelftools is installed."""
    return find_spec("elftools") is not None


def _opened(path: Path) -> Any:
    """An ELF file, read whole.

    Raises:
        InputError: pyelftools is not installed.
    """
    try:
        from elftools.elf.elffile import ELFFile
    except ModuleNotFoundError:
        raise InputError("programs are measured with pyelftools: pip install 'torchliquid[edge]'") from None
    return ELFFile(io.BytesIO(path.read_bytes()))


def flash(path: Path) -> int:
    """Bytes of flash that a program needs: code, constants, and the initial values of variables."""
    sections = _opened(path).iter_sections()
    return sum(each.data_size for each in sections if each["sh_type"] != "SHT_NOBITS" and _is_stored(each))


def _is_stored(section: Any) -> bool:
    from elftools.elf.constants import SH_FLAGS

    return bool(section["sh_flags"] & SH_FLAGS.SHF_ALLOC) and section.name.startswith(STORED)


def symbols(path: Path) -> dict[str, int]:
    """The addresses of symbols, by name."""
    tables = _opened(path).iter_sections("SHT_SYMTAB")
    return {symbol.name: symbol["st_value"] for table in tables for symbol in table.iter_symbols()}
