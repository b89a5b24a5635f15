"""Liquid neural networks in PyTorch, from a recording to a device."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchliquid import explain, wirings
    from torchliquid.data import Recording
    from torchliquid.errors import InputError
    from torchliquid.layers import (
        CTGRU,
        CTRNN,
        GRUD,
        LTC,
        ODELSTM,
        CfC,
        CfCCell,
        LTCCell,
        NeuralODE,
        WiredCfCCell,
        from_ncps,
    )
    from torchliquid.models import Model
    from torchliquid.runtime.stream import stream
    from torchliquid.study.assess import assess
    from torchliquid.tasks import Task
    from torchliquid.training.fit import fit
    from torchliquid.training.loop import TrainingConfig

_HOMES = {
    "CTGRU": "layers",
    "CTRNN": "layers",
    "CfC": "layers",
    "CfCCell": "layers",
    "GRUD": "layers",
    "InputError": "errors",
    "LTC": "layers",
    "LTCCell": "layers",
    "Model": "models",
    "NeuralODE": "layers",
    "ODELSTM": "layers",
    "Recording": "data",
    "Task": "tasks",
    "TrainingConfig": "training",
    "WiredCfCCell": "layers",
    "assess": "study.assess",
    "fit": "training",
    "from_ncps": "layers",
    "stream": "runtime",
}

__all__ = [
    "CTGRU",
    "CTRNN",
    "GRUD",
    "LTC",
    "ODELSTM",
    "CfC",
    "CfCCell",
    "InputError",
    "LTCCell",
    "Model",
    "NeuralODE",
    "Recording",
    "Task",
    "TrainingConfig",
    "WiredCfCCell",
    "assess",
    "explain",
    "fit",
    "from_ncps",
    "stream",
    "wirings",
]


def __getattr__(name: str) -> Any:
    # Only what is used is imported: the command line answers before torch is loaded.
    if name in ("explain", "wirings"):
        return import_module(f"torchliquid.{name}")
    if name in _HOMES:
        return getattr(import_module(f"torchliquid.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'torchliquid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
