"""What a loader of a published recording gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchliquid.data.recording import Recording

if TYPE_CHECKING:  # a data set's name is known before torch is loaded
    from torchliquid.tasks import Task


@dataclass(frozen=True)
class Dataset:
    """A published recording.

    Attributes:
        name: as :func:`torchliquid.datasets.load` knows it.
        train: to learn from; validation is taken from it, unless ``validation`` is given.
        tests: test parts by name, each to be reported on its own.
        task: what is predicted.
        notes: what the loader did, and what its figures can be compared with, each a sentence.
        source: the publisher's address.
        licence: of the data.
        validation: the part that published results chose their models on, where they fixed one.
    """

    name: str
    train: Recording
    tests: Mapping[str, Recording]
    task: Task
    notes: tuple[str, ...]
    source: str
    licence: str
    validation: Recording | None = None
