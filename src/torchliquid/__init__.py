"""Liquid neural networks in PyTorch, from a recording to a device."""

import logging
import os
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchliquid import backends, cells, control, datasets, edge, explain, rl, wirings
    from torchliquid.data import Recording
    from torchliquid.data.reading import read
    from torchliquid.distillation import distil
    from torchliquid.errors import InputError
    from torchliquid.layers import (
        CTGRU,
        CTRNN,
        GRUD,
        LTC,
        ODELSTM,
        CfC,
        CfCCell,
        LrcSSM,
        LTCCell,
        MixtureOfLiquid,
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
    from torchliquid.versions import show_versions
    from torchliquid.watching import watch

_HOMES = {
    "CTGRU": "layers",
    "CTRNN": "layers",
    "CfC": "layers",
    "CfCCell": "layers",
    "GRUD": "layers",
    "InputError": "errors",
    "LTC": "layers",
    "LTCCell": "layers",
    "LrcSSM": "layers",
    "MixtureOfLiquid": "layers",
    "Model": "models",
    "NeuralODE": "layers",
    "ODELSTM": "layers",
    "Recording": "data",
    "Task": "tasks",
    "TrainingConfig": "training",
    "WiredCfCCell": "layers",
    "assess": "study.assess",
    "distil": "distillation",
    "fit": "training",
    "from_ncps": "layers",
    "read": "data.reading",
    "show_versions": "versions",
    "stream": "runtime",
    "watch": "watching",
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
    "LrcSSM",
    "MixtureOfLiquid",
    "Model",
    "NeuralODE",
    "Recording",
    "Task",
    "TrainingConfig",
    "WiredCfCCell",
    "assess",
    "backends",
    "cells",
    "control",
    "datasets",
    "distil",
    "edge",
    "explain",
    "fit",
    "from_ncps",
    "read",
    "rl",
    "show_versions",
    "stream",
    "watch",
    "wirings",
]


def __getattr__(name: str) -> Any:
    # Modules are imported on first use, so that the command line responds before torch is imported.
    if name in ("backends", "cells", "control", "datasets", "edge", "explain", "rl", "wirings"):
        return import_module(f"torchliquid.{name}")
    if name in _HOMES:
        return getattr(import_module(f"torchliquid.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'torchliquid' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


def _say_that_there_are_no_kernels() -> None:
    """Warn once. The worker processes of a study do not repeat the warning."""
    from multiprocessing import parent_process

    if parent_process() is None and not os.environ.get("TORCHLIQUID_PURE_PYTHON"):
        logging.getLogger(__name__).warning(
            "torchliquid was built without its kernels, so the slower PyTorch reference is used. To build them, "
            "install a C++ "
            "compiler (GCC 12 or later, or Clang) and Python's headers (apt-get install g++ python3-dev), then: "
            "pip install --force-reinstall --no-deps --no-cache-dir torchliquid, or the folder of its source code"
        )


if find_spec("torchliquid._native") is None:
    _say_that_there_are_no_kernels()
