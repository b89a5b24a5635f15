"""Models: preprocessing, a network and a readout as one, and the plainer models they are judged against."""

from torchliquid.models.build import KINDS, build
from torchliquid.models.model import Model
from torchliquid.models.naive import Naive
from torchliquid.models.predictor import Predictor
from torchliquid.models.tabular import Tabular

__all__ = ["KINDS", "Model", "Naive", "Predictor", "Tabular", "build"]
