"""The finished trials of a table: one line of JSON each, appended, so that a run may be killed at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from torchliquid.errors import InputError


def append(file: Path, trial: dict[str, Any]) -> None:
    """Append a line, which is complete and on the disk when this returns. Several processes may append at once.

    An incomplete last line, left by an interrupted write, is cut off first; one that only lacks its line end gets it.
    """
    with file.open("ab+") as opened:
        lock_descriptor(opened.fileno())
        opened.seek(0)
        kept = _whole(opened.read())
        opened.truncate(len(kept))
        opened.write((b"\n" if kept and not kept.endswith(b"\n") else b"") + (json.dumps(trial) + "\n").encode())
        opened.flush()
        os.fsync(opened.fileno())


def read(file: Path, *names: str) -> list[dict[str, Any]]:
    """The trials in a file, without an incomplete last line left by an interrupted write.

    Args:
        names: what each trial must have.

    Raises:
        InputError: a line is not a trial.
    """
    if not file.exists():
        return []
    trials = []
    for number, line in enumerate(_whole(file.read_bytes()).splitlines(), 1):
        try:
            trial = json.loads(line)
        except ValueError:
            trial = None
        if not isinstance(trial, dict) or any(name not in trial for name in names):
            raise InputError(f"{file}, line {number} is damaged; delete that line to do its training again")
        trials.append(trial)
    return trials


def _whole(text: bytes) -> bytes:
    """The text without an incomplete last line; a last line that only lacks its line end stays."""
    end = text.rfind(b"\n") + 1
    try:
        whole = isinstance(json.loads(text[end:]), dict)
    except ValueError:
        whole = False
    return text if whole else text[:end]
