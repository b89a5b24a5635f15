"""From a trained model to a small one that reproduces its answers."""

from torchliquid.distillation.fitting import largest_that_fits
from torchliquid.distillation.teaching import Distilled, Under, distil

__all__ = ["Distilled", "Under", "distil", "largest_that_fits"]
