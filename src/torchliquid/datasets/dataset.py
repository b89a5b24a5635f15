"""A published recording, as returned by its loader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torchliquid.data.recording import Recording

if TYPE_CHECKING:  # names of data sets are available without torch
    from torchliquid.tasks import Task


@dataclass(frozen=True)
class Dataset:
    """A published recording.

    Attributes:
        name: as in :func:`torchliquid.datasets.load`.
        train: the training part. Validation data are taken from it, unless ``validation`` is given.
        tests: test parts by name, each reported separately.
        task: what is predicted.
        notes: sentences about what the loader did, and what results can be compared with.
        source: the publisher's address.
        licence: licence of the data.
        validation: the part on which published results chose their models, if there is a fixed one.
    """

    name: str
    train: Recording
    tests: Mapping[str, Recording]
    task: Task
    notes: tuple[str, ...]
    source: str
    licence: str
    validation: Recording | None = None
