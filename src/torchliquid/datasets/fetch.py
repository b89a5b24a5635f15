"""Published files on this machine: where they lie, whether they are the right ones, and how to get them."""

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
"""Seconds without an answer after which a publisher counts as out of reach."""

UNREACHABLE = (urllib.error.URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


@dataclass(frozen=True)
class Source:
    """What a publisher offers.

    Attributes:
        name: the data set's, and its folder's.
        address: the publisher's page, for a person.
        files: SHA-256 of each file, in each form in which it is known to be right; none where it has several forms, and
            then the loader checks its values.
        sizes: bytes of each file, in the same order.
        archive: address of a zip archive with the files, where they can be fetched without a person.
        inside: zip archives inside it, from the outermost, that hold them.
        direct: addresses of files that can be fetched as they are.
    """

    name: str
    address: str
    files: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    archive: str | None = None
    inside: tuple[str, ...] = ()
    direct: Mapping[str, str] = field(default_factory=dict)


def folders(name: str) -> list[Path]:
    """Where a data set's files are looked for: ``$TORCHLIQUID_DATA/<name>``, then the user's cache."""
    given = os.environ.get("TORCHLIQUID_DATA")
    found = [Path(given) / name] if given else []
    try:
        return [*found, cache_folder() / name]
    except InputError:  # without a home there is the folder that was named
        if not found:
            raise
        return found


def find(source: Source, file: str) -> Path | None:
    """The file where it lies on this machine, unchecked; None where it does not."""
    return next((folder / file for folder in folders(source.name) if (folder / file).is_file()), None)


def locate(source: Source, file: str) -> Path:
    """The file on this machine, checked; fetched into the cache where it is not there and its address is known.

    Raises:
        InputError: it is not there and cannot be fetched, or it is not the file it should be.
    """
    path = find(source, file)
    if path is None:
        _fetch(source, file)
        path = folders(source.name)[-1] / file
    wrong = difference(source, file, path)
    if wrong:
        raise not_published(source, path, wrong)
    return path


def not_published(source: Source, path: Path, why: str) -> InputError:
    """The error of a file that is not what its name says."""
    return InputError(f"{path} is not the published file ({why}); remove it and get it from {source.address}")


def difference(source: Source, file: str, path: Path) -> str | None:
    """What shows that the file at ``path`` is not the published one; None where nothing does."""
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
    """Fetch a file, or the archive that holds it, and put what it holds in the cache, all of it checked first."""
    address = source.direct.get(file, source.archive)
    if address is None:
        raise InputError(_absent(source, file, "it cannot be fetched without you"))
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
                part.unlink()  # or the next try would go on with it
                raise InputError(_absent(source, file, f"{address} holds something else now ({wrong})"))
            for name, path in contents.items():
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(path, cache / name)
        part.unlink(missing_ok=True)
    except UNREACHABLE as error:
        reason = getattr(error, "reason", error)
        if part.exists():
            broke_off = f"{address} broke off after {part.stat().st_size:,} bytes ({reason})"
            raise InputError(f"{broke_off}; give the same command again to go on") from None
        raise InputError(_absent(source, file, f"{address} cannot be reached ({reason})")) from None
    except OSError as error:
        raise InputError(f"{cache} cannot be written ({error.strerror}); set XDG_CACHE_HOME to a folder") from None


def download(address: str, part: Path) -> None:
    """Fetch what is at an address into ``part``, going on after what an earlier try left there.

    Beside it lies the version (strong ETag or date) that it is a part of: of another one, or without any, everything is
    fetched again.

    Raises:
        InputError: another process fetches it.
        OSError, HTTPException: one of :data:`UNREACHABLE` on the way, another where ``part`` cannot be written.
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
                return  # all of it is here already
            part.unlink()
        raise
    with answer:
        if answer.status == 206 and not answer.headers["Content-Range"].startswith(f"bytes {have}-"):
            part.unlink()
            raise ConnectionError("another range than asked for")
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as file:
            hold(file, f"another command fetches {address} just now; give this one again later")
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
    """Where in ``room`` each of the source's files lies after this."""
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
