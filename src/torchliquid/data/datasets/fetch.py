"""Published files on this machine: where they lie, whether they are the right ones, and how to get them."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from pathlib import Path

from torchliquid.errors import InputError
from torchliquid.files import write_atomically

TIMEOUT = 30
"""Seconds without an answer after which a publisher counts as out of reach."""


@dataclass(frozen=True)
class Source:
    """What a publisher offers.

    Attributes:
        name: the data set's, and its folder's.
        address: the publisher's page, for a person.
        files: SHA-256 of each file, in each form in which it is known to be right.
        sizes: bytes of each file, in the same order.
        archive: address of a zip archive with the files, where they can be fetched without a person.
        inside: zip archives inside it, from the outermost, that hold them.
    """

    name: str
    address: str
    files: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    archive: str | None = None
    inside: tuple[str, ...] = ()


def folders(name: str) -> list[Path]:
    """Where a data set's files are looked for: ``$TORCHLIQUID_DATA/<name>``, then the user's cache."""
    given = os.environ.get("TORCHLIQUID_DATA")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchliquid"
    return [*([Path(given) / name] if given else []), cache / name]


def find(source: Source, file: str) -> Path | None:
    """The file where it lies on this machine, unchecked; None where it does not."""
    return next((folder / file for folder in folders(source.name) if (folder / file).is_file()), None)


def locate(source: Source, file: str) -> Path:
    """The file on this machine, checked; fetched into the cache where it is not there and its archive is known.

    Raises:
        InputError: it is not there and cannot be fetched, or it is not the file it should be.
    """
    path = find(source, file)
    if path is None:
        if source.archive is None:
            raise InputError(_absent(source, file, "it cannot be fetched without you"))
        _fetch(source)
        path = folders(source.name)[-1] / file
    wrong = difference(source, file, path.read_bytes())
    if wrong:
        raise InputError(f"{path} is not the published file ({wrong}); remove it and get it from {source.address}")
    return path


def difference(source: Source, file: str, data: bytes) -> str | None:
    """What shows that this is not the published file; None where it is."""
    sizes = source.sizes.get(file, ())
    if sizes and len(data) not in sizes:
        return f"{len(data):,} bytes instead of {' or '.join(f'{s:,}' for s in sizes)}"
    found = hashlib.sha256(data).hexdigest()
    if found not in source.files[file]:
        return f"SHA-256 {found[:12]}... instead of {source.files[file][0][:12]}..."
    return None


def _fetch(source: Source) -> None:
    """Fetch an archive and put all its files in the cache, each checked and each whole or not at all."""
    first = next(iter(source.files))
    assert source.archive is not None
    try:
        request = urllib.request.Request(source.archive, headers={"User-Agent": "torchliquid"})
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            data = answer.read()
    except (urllib.error.URLError, OSError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(_absent(source, first, f"{source.archive} cannot be reached ({reason})")) from None
    try:
        for name in source.inside:
            data = zipfile.ZipFile(BytesIO(data)).read(name)
        archive = zipfile.ZipFile(BytesIO(data))
        contents = {file: archive.read(file) for file in source.files}
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(_absent(source, first, f"{source.archive} holds something else now ({error})")) from None
    for file, content in contents.items():
        wrong = difference(source, file, content)
        if wrong:
            raise InputError(_absent(source, file, f"{source.archive} holds something else now ({wrong})"))
    cache = folders(source.name)[-1]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        for file, content in contents.items():
            write_atomically(cache / file, partial(_write, content=content))
    except OSError as error:
        raise InputError(f"{cache} cannot be written ({error.strerror}); set TORCHLIQUID_DATA to a folder") from None


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _absent(source: Source, file: str, why: str) -> str:
    return (
        f"data set {source.name!r} needs {file}, which is not in {' or '.join(map(str, folders(source.name)))}, and "
        f"{why}; get it from {source.address} and put it there"
    )
