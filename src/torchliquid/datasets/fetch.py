"""Published files on this machine: where they are, whether they are the published ones, and how to download them."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

from torchliquid.data.limits import GZIP, check_ratio
from torchliquid.errors import InputError
from torchliquid.files import cache_folder, hold

TIMEOUT = 30
"""Timeout of a download in seconds."""

UNREACHABLE = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Source:
    """The files of a publisher.

    Attributes:
        name: name of the data set and of its folder.
        address: the publisher's page, for readers.
        files: SHA-256 of each file, in each form known to be right; empty if a file has many forms and the loader
            checks its values instead.
        sizes: bytes of each file, in the same order.
        archive: address of a zip archive with the files, if it can be downloaded automatically.
        inside: zip archives inside this archive that hold the files, the outermost first.
        direct: addresses of files that can be downloaded directly.
    """

    name: str
    address: str
    files: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    archive: str | None = None
    inside: tuple[str, ...] = ()
    direct: Mapping[str, str] = field(default_factory=dict)


def folders(name: str) -> list[Path]:
    """The folders in which a data set's files are looked for: ``$TORCHLIQUID_DATA/<name>``, then the user's cache."""
    given = os.environ.get("TORCHLIQUID_DATA")
    found = [Path(given) / name] if given else []
    try:
        return [*found, cache_folder() / name]
    except InputError:  # without a home folder, only the named one is used
        if not found:
            raise
        return found


def find(source: Source, file: str) -> Path | None:
    """The path of the file on this machine, unchecked; None if it is missing."""
    return next((folder / file for folder in folders(source.name) if (folder / file).is_file()), None)


def locate(source: Source, file: str) -> Path:
    """The path of the published file on this machine. If its address is known, a missing file is downloaded."""
    path = find(source, file)
    if path is None:
        _fetch(source, file)
        path = folders(source.name)[-1] / file
    wrong = difference(source, file, path)
    if wrong:
        raise not_published(source, path, wrong)
    return path


def not_published(source: Source, path: Path, why: str) -> InputError:
    """The error for a file that is not the published one."""
    return InputError(f"{path} is not the published file ({why}); remove it and get it from {source.address}")


def difference(source: Source, file: str, path: Path) -> str | None:
    """Why the file at ``path`` is not the published one; None if it may be."""
    sizes, size = source.sizes.get(file, ()), path.stat().st_size
    if sizes and size not in sizes:
        return f"{size:,} bytes instead of {' or '.join(f'{s:,}' for s in sizes)}"
    if not source.files[file]:
        return None
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found not in source.files[file]:
        return f"SHA-256 {found[:12]}... instead of {source.files[file][0][:12]}..."
    return None


def _fetch(source: Source, file: str) -> None:
    """Download a file, or the archive that holds it, check everything and put it in the cache."""
    address = source.direct.get(file, source.archive)
    if address is None:
        raise InputError(_absent(source, file, "it cannot be downloaded automatically"))
    cache = cache_folder() / source.name
    part = cache / f".{Path(file).name if file in source.direct else 'archive'}.part"
    try:
        download(address, part)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".unpacked.") as room:
            try:
                contents = {file: part} if file in source.direct else _unpack(source, part, Path(room))
                wrong = next(filter(None, (difference(source, f, path) for f, path in contents.items())), None)
            except (zipfile.BadZipFile, zlib.error, KeyError, InputError) as error:
                wrong = str(error)
            if wrong:
                part.unlink()  # otherwise the next try would continue it
                raise InputError(_absent(source, file, f"{address} now holds another file ({wrong})"))
            for name, path in contents.items():
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, cache / name)
        part.unlink(missing_ok=True)
    except UNREACHABLE as error:
        reason = getattr(error, "reason", error)
        if part.exists():
            broke_off = f"the download from {address} broke off after {part.stat().st_size:,} bytes ({reason})"
            raise InputError(f"{broke_off}; run the same command again to continue") from None
        raise InputError(_absent(source, file, f"{address} cannot be reached ({reason})")) from None
    except OSError as error:
        raise InputError(f"{cache} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder") from None


def download(address: str, part: Path) -> None:
    """Download an address to ``part``, continuing what an earlier try left there.

    A file beside it holds the version (strong ETag or date) that it belongs to. If the version has changed or is
    unknown, the download starts again.

    Raises:
        InputError: another process is downloading it.
        OSError, HTTPException: one of :data:`UNREACHABLE` if the network fails, another if ``part`` cannot be written.
    """
    note = part.with_suffix(".version")
    version = note.read_text() if note.exists() and part.exists() else ""
    have = part.stat().st_size if version else 0
    headers = {"User-Agent": "torchliquid"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": version}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            note.unlink()
            if error.headers["Content-Range"] == f"bytes */{have}":
                return  # it is complete already
            part.unlink()
        raise
    with answer:
        if answer.status == 206 and not answer.headers["Content-Range"].startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("the server sent another range than requested")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            hold(file, f"another command is downloading {address}; run this one again later")
            if answer.status != 206:
                file.truncate(0)
            tag = answer.headers["ETag"] or ""
            note.write_text(tag if tag.startswith('"') else answer.headers["Last-Modified"] or "")
            shutil.copyfileobj(answer, file)
            here, length = file.tell(), answer.headers["Content-Length"]
    total = int(length or 0) + (have if answer.status == 206 else 0)
    if length and here < total:
        raise ConnectionError(f"of {total:,}")
    note.unlink()


def _unpack(source: Source, archive: Path, room: Path) -> dict[str, Path]:
    """Extract the source's files to ``room``; returns their paths."""
    for name in source.inside:
        with zipfile.ZipFile(archive) as outer:
            archive = _extract(outer, name, room / "inside")
    with zipfile.ZipFile(archive) as inner:
        return {file: _extract(inner, file, room) for file in source.files}


def _extract(archive: zipfile.ZipFile, name: str, room: Path) -> Path:
    one = archive.getinfo(name)
    check_ratio(one.file_size, one.compress_size, GZIP)
    return Path(archive.extract(one, room))


def _absent(source: Source, file: str, why: str) -> str:
    return (
        f"data set {source.name!r} needs {file}, which is not in {' or '.join(map(str, folders(source.name)))}, and "
        f"{why}; get it from {source.address} and put it there"
    )
