"""Running a model on live samples."""

from torchliquid.runtime.kinds import live
from torchliquid.runtime.stream import LayerStream, ModelStream, stream

__all__ = ["LayerStream", "ModelStream", "live", "stream"]
