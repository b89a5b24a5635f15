"""Linear models and trees as compiled steps: one sample at a time, with their features."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np

from torchliquid import backends
from torchliquid.models.tabular import Tabular, TabularSteps
from torchliquid.runtime.stepper import front


def compiled(model: Tabular, steps: TabularSteps, held: np.ndarray, started: np.ndarray) -> Any:
    """Compiled steps with the same state; None if there is no kernel.

    Args:
        steps: the steps whose state it updates.
        held, started: of the preprocessing, (n, C) float64 and (n,) bool.
    """
    if backends.chosen() is not backends.native:
        return None
    core = import_module("torchliquid._native")
    task, linear, trees, calibration = model.task, model.linear, model.trees, model.calibration
    scale = [np.array(v, dtype=np.float64) if task.kind == "regression" else None for v in (task.mean, task.std)]
    parts: list[Any] = [None, None]
    if linear is not None:
        parts[0] = core.Linear64(linear.mean, linear.scale, linear.weight, linear.bias)
    if trees is not None:
        nodes = (trees.feature, trees.threshold, trees.left, trees.right, trees.value)
        parts[1] = core.Trees(trees.baseline, trees.roots.ravel(), *nodes)
    calibrated = float(calibration.temperature), float(calibration.shift)
    decode = core.Decode(*scale, task.column or 0, task.change, *calibrated, task.positive)
    windows, lags = (model.windows, model.config["lags"]) if steps.lookback else ([], 0)
    return core.Table(
        front(core, model.preprocessing, held, started),
        steps.memory,
        steps.lookback,
        windows,
        lags,
        model.config["uneven"],
        steps.places.tolist(),
        *parts,
        decode,
        task.n_outputs,
        model.n_features,
    )
