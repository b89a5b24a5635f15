"""Recordings, and the way from them to the batches a network is trained on."""

from torchliquid.data.batch import Batch, batches
from torchliquid.data.preprocessing import HoldState, Preprocessing
from torchliquid.data.recording import Recording, Series
from torchliquid.data.splits import forward_split, series_split
from torchliquid.data.windows import Windows

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
