"""Published recordings by name, each with its task and the test parts that published results are measured on."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import replace

from torchliquid.data.columns import nearest
from torchliquid.datasets.dataset import Dataset
from torchliquid.errors import InputError

__all__ = ["Dataset", "load", "names"]

_NAMES = (
    "occupancy",
    "cmapss",
    "traffic",
    "cheetah",
    "walker",
    "physionet2012",
    "japanese_vowels",
    "skab",
)

DROPPED = ("person", "har", "power", "gesture", "ozone")
"""Names of an earlier version."""


def refuse_dropped(name: str) -> None:
    """Say of a name that is no longer known why.

    Raises:
        InputError: it is one of :data:`DROPPED`.
    """
    if name in DROPPED:
        raise InputError(
            f"{name!r} is no longer offered: its loader and its table were never run on the publisher's file; read "
            "your copy of the file as a table instead"
        )


def names() -> tuple[str, ...]:
    """The names that :func:`load` knows."""
    return _NAMES


def load(name: str) -> Dataset:
    """Load a published recording.

    Its files are looked for in ``$TORCHLIQUID_DATA/<name>``, then in ``~/.cache/torchliquid/<name>``; where the
    publisher's archive is known, they are fetched into the latter. Each is checked by a SHA-256, its own or
    that of its values.

    Raises:
        InputError: no such name, or files that are missing, out of reach or not the published ones.
    """
    refuse_dropped(name)
    if name not in _NAMES:
        raise InputError(f"no data set {name!r}; {nearest(name, _NAMES)}")
    loader: Callable[[], Dataset] = importlib.import_module(f"torchliquid.datasets.{name}").load
    dataset = loader()
    # What the loader says of the data goes where the recording goes, into reports.
    return replace(dataset, train=replace(dataset.train, notes=(*dataset.notes, *dataset.train.notes)))
