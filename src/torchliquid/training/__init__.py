"""Training: one plain loop, and ``fit``, from a recording to a trained model."""

from torchliquid.training.fit import fit
from torchliquid.training.history import History
from torchliquid.training.loop import TrainingConfig, TrainingError, train

__all__ = ["History", "TrainingConfig", "TrainingError", "fit", "train"]
