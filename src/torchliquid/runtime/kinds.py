"""The stream of a model: which class runs it."""

from __future__ import annotations

from torchliquid.models.predictor import Predictor
from torchliquid.runtime.policy import POLICY, PolicyStream
from torchliquid.runtime.stream import ModelStream
from torchliquid.runtime.watch import WATCH, WatchStream


def live(model: Predictor, n: int = 1) -> ModelStream:
    """The stream of a model, see :func:`torchliquid.stream`: of a policy a :class:`PolicyStream`, of a model that
    watches a :class:`WatchStream`."""
    if WATCH in model.metadata:
        return WatchStream(model, n)
    return PolicyStream(model, n) if POLICY in model.metadata else ModelStream(model, n)
