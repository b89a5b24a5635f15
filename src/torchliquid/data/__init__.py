"""Recordings, and the way from them to the batches a network is trained on."""

from typing import TYPE_CHECKING, Any

from torchliquid.data.preprocessing import HoldState, Preprocessing
from torchliquid.data.recording import Recording, Series
from torchliquid.data.splits import forward_split, series_split
from torchliquid.data.windows import Windows

if TYPE_CHECKING:
    from torchliquid.data.batch import Batch, batches

__all__ = [
    "Batch",
    "HoldState",
    "Preprocessing",
    "Recording",
    "Series",
    "Windows",
    "batches",
    "forward_split",
    "series_split",
]


def __getattr__(name: str) -> Any:
    # A table is read, or refused, before torch is loaded, which batches alone need.
    if name in ("Batch", "batches"):
        from torchliquid.data import batch

        return getattr(batch, name)
    raise AttributeError(f"module 'torchliquid.data' has no attribute {name!r}")
