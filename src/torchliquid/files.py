"""Atomic writes of files and folders, JSON, locks and the cache folder."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, get_args, get_origin

import filelock
import numpy as np

from torchliquid.errors import InputError

if TYPE_CHECKING:
    from cattrs import Converter


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file atomically: ``write`` fills a temporary file in the same folder, which then replaces ``path``.

    If ``path`` is a symbolic link, its target is replaced. A pipe or device is written to, not replaced.
    """
    if path.exists() and not path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / (path.name or "whole")
            write(whole)
            with whole.open("rb") as data, path.open("wb") as end:
                shutil.copyfileobj(data, end)
        return
    path = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")  # the name's own may be too long
    os.close(handle)
    with _replacing(path, Path(name), 0o666) as part:
        write(part)
        with part.open("rb+") as file:
            os.fsync(file.fileno())


def write_json(path: Path, data: Any) -> None:
    """Write plain data as JSON, atomically."""
    text = to_json(data)
    write_atomically(path, lambda part: part.write_bytes(text))


def read_json(path: Path, kind: type) -> Any:
    """Read plain data of the type ``kind``, a list or a dict, from a JSON file.

    Raises:
        InputError: the file is not valid JSON, is nested too deeply, or contains another type.
        OSError: the file cannot be read.
    """
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, kind):
        raise InputError(f"{path} is damaged; remove it and run the same command again")
    return data


def to_json(data: Any) -> bytes:
    """Encode plain data as JSON."""
    return json.dumps(data, indent=1, allow_nan=True).encode()


def to_plain(value: Any, digits: int | None = None) -> Any:
    """Convert dataclasses, tuples, and NumPy arrays and numbers to types that JSON supports.

    Args:
        value: the data to convert. A float that is not finite becomes None.
        digits: significant digits that floats are rounded to; None: all.

    Raises:
        TypeError: JSON does not support the type of a part of it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name), digits) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item, digits) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return to_plain(value.tolist(), digits)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return value if digits is None else float(f"{value:.{digits}g}")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    raise TypeError(f"JSON does not support {type(value).__name__}")


@functools.cache
def _converter() -> Converter:
    from cattrs import Converter
    from cattrs.gen import make_dict_structure_fn

    def array(value: list[Any], kind: Any) -> np.ndarray:
        """Of the type in ``NDArray[...]``; of float64 without one."""
        types = get_args(kind)
        return np.array(value, get_args(types[1])[0] if types else np.float64)

    def dataclass_from(kind: Any) -> Callable[[Any, Any], Any]:
        filled = make_dict_structure_fn(kind, converter)

        def structure(value: Any, _: Any) -> Any:
            if not isinstance(value, Mapping):  # a list or text has none of the names, so all would be defaults
                raise TypeError(f"{kind.__name__} needs names with values, not {type(value).__name__}")
            return filled(value, kind)

        return structure

    converter = Converter(detailed_validation=False)
    converter.register_structure_hook(float, lambda value, kind: math.nan if value is None else float(value))
    converter.register_structure_hook_func(lambda kind: np.ndarray in (kind, get_origin(kind)), array)
    converter.register_structure_hook_factory(is_dataclass, dataclass_from)
    return converter


def from_plain(kind: Any, value: Any) -> Any:
    """The inverse of :func:`to_plain` for a type such as a dataclass. Unknown names are ignored; None as a float, or
    in an array, becomes NaN.

    Raises:
        ValueError: the data does not fit the type.
        InputError: the dataclass refuses it.
    """
    try:
        return _converter().structure(value, kind)
    except InputError:
        raise
    except Exception as error:  # cattrs raises what the types' constructors do, and its own
        raise ValueError(repr(error)) from None


def read_plain(path: Path, kind: Any) -> Any:
    """Read a dataclass from a JSON file, as in :func:`from_plain`.

    Raises:
        InputError: the file is not valid JSON, or does not fit the dataclass.
        OSError: the file cannot be read.
    """
    try:
        return from_plain(kind, read_json(path, dict))
    except ValueError:
        raise InputError(f"{path} is damaged; remove it and run the same command again") from None


def without_folders(text: str) -> str:
    """Shorten every path in a text to its last part, and paths of installed code to what follows ``site-packages``.

    So a file that is passed on reveals neither the user nor the machine.
    """

    def last(found: re.Match[str]) -> str:
        parts = re.split(r"[/\\]", found[0])
        named = "site-packages" in parts and parts[parts.index("site-packages") + 1 :]
        return "/".join(named or parts[-1:])

    text = re.sub(r'(?<=File ")[^"\n]+(?=")', last, text)
    return re.sub(r"(?<![\w.<>)/-])(?:[A-Za-z]:)?(?:[/\\][^/\\\s'\":,]+){2,}", last, text)


def make_folder(folder: Path) -> None:
    """Make a folder for results, unless it exists.

    Raises:
        InputError: it cannot be made or written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InputError(
            f"the output folder {folder} cannot be written ({error.strerror}); choose another (--out)"
        ) from None


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Write a new folder of files, atomically."""
    with _replacing(path, Path(tempfile.mkdtemp(dir=path.parent, prefix=".", suffix=".part")), 0o777) as part:
        for name, data in files.items():
            (part / name).parent.mkdir(parents=True, exist_ok=True)
            with (part / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        _sync(part)


@contextmanager
def _replacing(path: Path, part: Path, mode: int) -> Iterator[Path]:
    """Let a temporary file or folder replace ``path`` with usual permissions, or remove it after an error."""
    try:
        yield part
        os.chmod(part, mode & ~_umask())
        os.replace(part, path)
    except BaseException:
        with suppress(FileNotFoundError):
            _remove(part)
        raise
    _sync(path.parent)


def _sync(folder: Path) -> None:
    """Sync a folder's entries to the disk, against loss of power. Windows and some file systems don't support it."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _umask() -> int:
    """The process's umask. Temporary files are private; the final file gets the usual permissions."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


@contextmanager
def locked(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock on a file. The empty file remains; the lock is released if the process dies.

    Raises:
        InputError: another process holds the lock; the message is ``busy``.
    """
    with path.open("ab") as file:
        hold(file, busy)
        yield


def hold(file: IO[Any], busy: str) -> None:
    """Lock an open file until it is closed.

    Raises:
        InputError: another process holds the lock; the message is ``busy``.
    """
    if not filelock.lock_descriptor(file.fileno(), blocking=False):
        raise InputError(busy)


def cache_folder() -> Path:
    """The cache: ``torchliquid`` in the folder that ``XDG_CACHE_HOME`` names, or else in the user's ``~/.cache``.

    Raises:
        InputError: the user has no home folder, as in some containers.
    """
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(given) if given else Path.home() / ".cache") / "torchliquid"
    except RuntimeError:
        raise InputError("there is no home folder for the cache; set XDG_CACHE_HOME to a folder") from None


def check_model_file(path: Path) -> None:
    """Check that a model file exists, before PyTorch is loaded to read it.

    Raises:
        InputError: it does not exist, or is a folder.
    """
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the .safetensors file in it")
    if not path.exists():
        raise InputError(f"there is no model file {path}; check the path")


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files that a killed run left."""
    for part in folder.rglob(".*.part"):
        _remove(part)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
