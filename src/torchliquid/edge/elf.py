"""What an ELF file says of a program: how much flash it needs, and where its symbols are."""

from __future__ import annotations

from pathlib import Path

STORED = (".text", ".rodata", ".data", ".srodata", ".sdata")


def flash(path: Path) -> int:
    """Bytes of code and constants, and of variables' first values, that a program needs in flash."""
    from elftools.elf.constants import SH_FLAGS
    from elftools.elf.elffile import ELFFile

    with path.open("rb") as file:
        return sum(
            section.data_size
            for section in ELFFile(file).iter_sections()
            if section["sh_flags"] & SH_FLAGS.SHF_ALLOC
            and section["sh_type"] != "SHT_NOBITS"
            and section.name.startswith(STORED)
        )


def symbols(path: Path) -> dict[str, int]:
    """Addresses by name."""
    from elftools.elf.elffile import ELFFile
    from elftools.elf.sections import SymbolTableSection

    with path.open("rb") as file:
        tables = [s for s in ELFFile(file).iter_sections("SHT_SYMTAB") if isinstance(s, SymbolTableSection)]
        return {symbol.name: symbol["st_value"] for table in tables for symbol in table.iter_symbols()}
