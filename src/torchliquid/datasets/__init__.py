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
    "person",
    "har",
    "power",
    "gesture",
    "ozone",
)


def names() -> tuple[str, ...]:
    """The names that :func:`load` knows."""
    return _NAMES


def load(name: str) -> Dataset:
    """Load a published recording.

    Its files are looked for in ``$TORCHLIQUID_DATA/<name>``, then in ``~/.cache/torchliquid/<name>``; where the
    publisher's archive is known, they are fetched into the latter. Each is checked by its SHA-256, or by its form
    where none is known.

    Raises:
        InputError: no such name, or files that are missing, out of reach or not the published ones.
    """
    if name not in _NAMES:
        raise InputError(f"no data set {name!r}; {nearest(name, _NAMES)}")
    loader: Callable[[], Dataset] = importlib.import_module(f"torchliquid.datasets.{name}").load
    dataset = loader()
    # What the loader says of the data goes where the recording goes, into reports.
    return replace(dataset, train=replace(dataset.train, notes=(*dataset.notes, *dataset.train.notes)))
