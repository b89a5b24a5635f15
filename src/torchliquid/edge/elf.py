"""Reads ELF files: how much flash a program needs, and where its symbols are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from torchliquid.errors import InputError

STORED = (".text", ".rodata", ".data", ".srodata", ".sdata")


def can_read() -> bool:
    """Whether pyelftools is installed."""
    return find_spec("elftools") is not None


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open an ELF file.

    Raises:
        InputError: pyelftools is not installed.
    """
    try:
        from elftools.elf.elffile import ELFFile
    except ModuleNotFoundError:
        raise InputError("programs are measured with pyelftools: pip install 'torchliquid[edge]'") from None
    with path.open("rb") as file:
        yield ELFFile(file)


def flash(path: Path) -> int:
    """Bytes of flash that a program needs: code, constants, and the initial values of variables."""
    with opened(path) as program:
        from elftools.elf.constants import SH_FLAGS

        return sum(
            section.data_size
            for section in program.iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            and section["sh_type"] != "SHT_NOBITS"
            and section.name.startswith(STORED)
        )


def symbols(path: Path) -> dict[str, int]:
    """The addresses of symbols, by name."""
    with opened(path) as program:
        from elftools.elf.sections import SymbolTableSection

        tables = [s for s in program.iter_sections("SHT_SYMTAB") if isinstance(s, SymbolTableSection)]
        return {symbol.name: symbol["st_value"] for table in tables for symbol in table.iter_symbols()}
