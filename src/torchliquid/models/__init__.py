"""Models: preprocessing, a network and a readout in one object, and the simpler models that they are compared with."""

from torchliquid.models.build import KINDS, build
from torchliquid.models.model import Model
from torchliquid.models.naive import Naive
from torchliquid.models.predictor import Predictor
from torchliquid.models.tabular import Tabular

__all__ = ["KINDS", "Model", "Naive", "Predictor", "Tabular", "build"]
