"""The finished trials of a table: one line of JSON each, appended, so that a run may be killed at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def append(file: Path, trial: dict[str, Any]) -> None:
    """Add a line, whole and on the disk when this returns; several processes may do so at once."""
    line = (json.dumps(trial) + "\n").encode()
    handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(handle, line)
        os.fsync(handle)
    finally:
        os.close(handle)


def read(file: Path) -> list[dict[str, Any]]:
    """The trials in a file; what a broken write left at its end is cut off."""
    if not file.exists():
        return []
    text = file.read_bytes()
    whole = text[: text.rfind(b"\n") + 1]
    if len(whole) < len(text):
        os.truncate(file, len(whole))
    return [json.loads(line) for line in whole.splitlines()]
