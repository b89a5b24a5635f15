"""The recurrences, each as one function over whole sequences."""

from torchliquid.kernels.reference import cfc, ltc

__all__ = ["cfc", "ltc"]
