"""Reads a workbook in a separate process with limited memory, because a small file may expand to a huge one.

:func:`rows_of` runs this file as a script, which imports nothing from this package.
"""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from typing import Any

REFUSED, TOO_LARGE = 3, 4


class WorkbookError(Exception):
    """A workbook that cannot be read; the message says why."""


def rows_of(data: bytes, memory: int, seconds: float) -> tuple[bytes, str, int] | None:
    """The first sheet with more than one row as CSV, its name, and the number of such sheets; None if there is none.

    A :class:`WorkbookError` is raised if it is not a workbook, or if reading takes longer, or more bytes of memory. The
    memory is limited on Linux only.
    """
    # -P: modules in the current folder are not imported.
    command = [sys.executable, "-P", __file__, str(memory)]
    too_large = f"its contents take more than {memory >> 20:,} MB or {seconds:.0f} s to read"
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        raise WorkbookError(too_large) from None
    if done.returncode == REFUSED:
        raise WorkbookError(done.stderr.decode("utf-8", "replace"))
    if done.returncode:
        raise WorkbookError(too_large)
    about, _, text = done.stdout.partition(b"\n")
    meta = json.loads(about)
    return (text, meta["name"], meta["filled"]) if meta["filled"] else None


def _main() -> int:
    from python_calamine import CalamineError, CalamineWorkbook

    source = io.BytesIO(sys.stdin.buffer.read())
    _keep_to(int(sys.argv[1]))
    try:
        book = CalamineWorkbook.from_filelike(source)
        sheets = ((name, book.get_sheet_by_name(name).to_python(skip_empty_area=False)) for name in book.sheet_names)
        filled, name = 0, ""
        rows: list[list[Any]] = []
        for sheet, found in sheets:
            if len(found) > 1:
                filled += 1
                name, rows = (sheet, found) if filled == 1 else (name, rows)
    except (CalamineError, OSError, ValueError) as error:
        sys.stderr.buffer.write(str(error).encode("utf-8", "replace"))
        return REFUSED
    except MemoryError:
        return TOO_LARGE
    out = io.TextIOWrapper(sys.stdout.buffer, "utf-8", errors="replace", newline="")
    out.write(json.dumps({"name": name, "filled": filled}) + "\n")
    csv.writer(out, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    out.flush()
    return 0


def _keep_to(memory: int) -> None:
    if not sys.platform.startswith("linux"):
        return
    import resource

    with open("/proc/self/statm") as file:
        taken = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() and abs(value) < 2**53 else repr(value)
    return value.isoformat(sep=" ") if hasattr(value, "hour") and hasattr(value, "year") else str(value)


if __name__ == "__main__":
    sys.exit(_main())
