"""The folders that may be read, and their files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from torchliquid.errors import InputError

LONGEST = 1024
"""Maximum length of a path, in characters."""

LISTED, DEEP = 500, 4
"""Maximum number of files in a list, and maximum depth of folders."""

MODEL = ".safetensors"

TABLES = (
    ".csv", ".tsv", ".txt", ".dat", ".parquet", ".pq", ".arrow", ".feather", ".ipc", ".json", ".jsonl", ".ndjson",
    ".xlsx", ".xls", ".ods", ".arff", ".ts", ".gz", ".zip",
)  # fmt: skip


class Folders:
    """The folders that may be read; each must exist."""

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"--folder {folder} is no folder; name one that is there")
        self.folders = tuple(Path(os.path.realpath(folder)) for folder in folders)

    def find(self, name: str) -> Path:
        """The path of a file in one of the folders, with links resolved; an error if there is none."""
        if len(name) > LONGEST:
            raise InputError(f"a path of {len(name):,} characters; the longest has {LONGEST:,}")
        if "\0" in name or not name:
            raise InputError("a path without a name; list_files lists the files that there are")
        outside = False
        for folder in self.folders:
            try:
                path = Path(os.path.realpath(folder / name))
                if not any(path.is_relative_to(allowed) for allowed in self.folders):
                    outside = True
                elif path.is_file():
                    return path
            except OSError:  # a name that is too long for a disk
                continue
        if outside or Path(name).is_absolute():
            raise InputError(f"{name!r} is outside the allowed folders; list_files lists the files that there are")
        raise InputError(f"there is no file {name!r} in the allowed folders; list_files lists the files that there are")

    def files(self, *suffixes: str) -> tuple[list[str], bool]:
        """The names of the files with these endings, for :meth:`find`, and whether the list is incomplete."""
        found: list[str] = []
        for folder in self.folders:
            for at, inside, names in os.walk(folder):
                depth = len(Path(at).relative_to(folder).parts)
                inside[:] = sorted(d for d in inside if not d.startswith(".")) if depth < DEEP else []
                for name in sorted(names):
                    path = Path(at, name)
                    if path.suffix.lower() not in suffixes or name.startswith(".") or not self._shown(path):
                        continue
                    if len(found) == LISTED:
                        return found, True
                    relative = str(path.relative_to(folder))
                    found.append(relative if relative not in found else str(path))
        return found, False

    def _shown(self, path: Path) -> bool:
        """Whether a file may be read and its name is printable."""
        try:
            return str(path).isprintable() and self.find(str(path)).is_file()
        except InputError:
            return False
