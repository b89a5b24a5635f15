"""Published recordings by name, each with its task and the test parts of published results."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

from torchliquid.data.columns import nearest
from torchliquid.datasets.dataset import Dataset
from torchliquid.errors import InputError

__all__ = ["Dataset", "load", "names"]

_NAMES = ("occupancy", "cmapss", "traffic", "cheetah", "walker", "physionet2012", "japanese_vowels", "skab")

DROPPED = ("person", "har", "power", "gesture", "ozone")
"""Names of an earlier version, which are no longer offered."""


def refuse_dropped(name: str) -> None:
    """Raise an error if a name is no longer offered."""
    if name in DROPPED:
        raise InputError(
            f"{name!r} is no longer offered, because its loader and its table were never run on the publisher's file; "
            "read your copy of the file as a table instead"
        )


def names() -> tuple[str, ...]:
    """The names that :func:`load` accepts."""
    return _NAMES


def load(name: str) -> Dataset:
    """Load a published recording.

    Its files are looked for in ``$TORCHLIQUID_DATA/<name>``, then in ``~/.cache/torchliquid/<name>``. If the
    publisher's archive is known, they are downloaded to the latter. Each file, or its values, is checked by a SHA-256.

    Raises:
        InputError: there is no such name, or files are missing, cannot be downloaded or are not the published ones.
    """
    refuse_dropped(name)
    if name not in _NAMES:
        raise InputError(f"no data set {name!r}; {nearest(name, _NAMES)}")
    loader: Callable[[], Dataset] = importlib.import_module(f"torchliquid.datasets.{name}").load
    dataset = loader()
    # The loader's notes on the data become notes of the recording, which reports show.
    return replace(dataset, train=replace(dataset.train, notes=(*dataset.notes, *dataset.train.notes)))
