"""From a model to a device: C99, ONNX, and what they cost there."""

from torchliquid.edge.export import export
from torchliquid.edge.footprint import Footprint, Limits
from torchliquid.edge.targets import TARGETS, Target

__all__ = ["TARGETS", "Footprint", "Limits", "Target", "export"]
