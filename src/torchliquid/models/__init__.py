"""Models: preprocessing, a network and a readout as one, and the plainer models they are judged against."""

from torchliquid.models.build import KINDS, build
from torchliquid.models.model import Model

__all__ = ["KINDS", "Model", "build"]
