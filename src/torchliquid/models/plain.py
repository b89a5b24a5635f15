"""Models that are not networks, as named arrays: the contents of their files, and how they are checked."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from torch import Tensor

from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError
from torchliquid.models import tabular
from torchliquid.models.calibration import Calibration
from torchliquid.models.checks import check_weights
from torchliquid.models.linear import Linear
from torchliquid.models.minirocket import KERNELS, MOST_DILATIONS, MOST_FEATURES, MOST_POINTS, Kernels, MiniRocket
from torchliquid.models.naive import Naive
from torchliquid.models.tabular import LONGEST, Tabular
from torchliquid.models.trees import Trees
from torchliquid.tasks import Task

LABELS = {**tabular.LABELS, "minirocket": "MiniRocket", "naive": "Naive"}
"""The kinds and their names in reports."""

MOST = 10_000_000
"""Maximum number of values that a sample's features use."""

HUGE = 1e100
"""Largest number in an array. What is computed from such numbers stays finite."""

SETTINGS = {"strength", "sensors", "learning_rate", "leaves", "min_leaf", "rounds"}
"""Settings of the fit, which do not affect answers."""


Plain = Tabular | MiniRocket | Naive


def arrays(model: Plain) -> dict[str, np.ndarray]:
    """The model's arrays by their names in its file, such as ``linear.weight``."""
    if isinstance(model, Naive):
        return {"naive.constant": np.asarray(model.constant, dtype=np.float64)}
    return {
        f"{name}.{each.name}": np.ascontiguousarray(getattr(part, each.name))
        for name, part in model.parts.items()
        for each in fields(part)
    }


def restore(description: dict[str, Any], task: Task, preprocessing: Preprocessing, tensors: dict[str, Tensor]) -> Plain:
    """The model in a file's description and arrays.

    Raises:
        InputError: its settings or arrays are not those of such a model, or do not fit each other.
    """
    kind, config = description["kind"], description["config"]
    check_weights(tensors)
    given = {name: tensor.numpy() for name, tensor in tensors.items()}
    try:
        if kind == "naive":
            constant = given.pop("naive.constant")
            _expect(constant.shape == (task.n_outputs,) and constant.dtype == np.float64 and not config)
            model: Plain = Naive(task, preprocessing, constant)
        elif kind == "minirocket":
            parts = Kernels(*_taken(given, "kernels", Kernels)), Linear(*_taken(given, "linear", Linear))
            model = MiniRocket(config, task, preprocessing, *parts)
            _check_rocket(model)
        else:
            _check_config(config, task, preprocessing)
            linear = Linear(*_taken(given, "linear", Linear)) if "linear.mean" in given else None
            trees = Trees(*_taken(given, "trees", Trees)) if "trees.baseline" in given else None
            model = Tabular(kind, config, task, preprocessing, linear, trees)
            _check_parts(model)
        _expect(not given)
        _expect(all((np.abs(array.astype(np.float64)) < HUGE).all() for array in arrays(model).values()))
    except (_Broken, KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"the arrays do not fit a {words(kind)} model of this description; save the model again"
        ) from None
    model.metadata = description["metadata"]
    if not isinstance(model, Naive) and task.kind == "classification":
        model.recalibrate(_calibration(model.metadata))
    return model


class _Broken(Exception):
    pass


def _expect(fits: bool | np.bool_) -> None:
    if not fits:
        raise _Broken


def words(kind: str) -> str:
    """A kind's name in a sentence."""
    return LABELS[kind] if kind == "minirocket" else LABELS[kind].lower()


def _taken(given: dict[str, np.ndarray], name: str, kind: type) -> list[np.ndarray]:
    return [given.pop(f"{name}.{each.name}") for each in fields(kind)]


def _check_config(config: dict[str, Any], task: Task, preprocessing: Preprocessing) -> None:
    names = ("lookback", "lags") if task.per == "step" else ("lookback", "aligned")
    _expect(config.keys() <= {"uneven", *names, *SETTINGS})
    _expect(all(value is None or type(value) in (int, float) for name, value in config.items() if name in SETTINGS))
    for name in names:
        _expect(type(config[name]) is int and 0 <= config[name] <= LONGEST)
    _expect(config["lookback"] >= 1 and config.get("lags", 0) < config["lookback"] and type(config["uneven"]) is bool)
    _expect(sum(config[name] for name in names) * preprocessing.n_inputs <= MOST)


def _check_parts(model: Tabular) -> None:
    task, linear, trees = model.task, model.linear, model.trees
    k = 1 if task.kind == "classification" and task.n_outputs == 2 else task.n_outputs
    boosts = model.kind == "boosting"
    _expect((linear is None) == (boosts and task.kind == "classification") and (boosts or trees is None))
    _expect(trees is not None or linear is not None)
    if linear is not None:
        _check_linear(linear, k, model.n_features)
    if trees is not None:
        n = len(trees.feature)
        nodes = {"feature": np.int32, "threshold": np.float64, "left": np.int32, "right": np.int32}
        nodes |= {"value": np.float64, "count": np.uint32}
        _expect(all(getattr(trees, name).shape == (n,) for name in nodes))
        _expect(all(getattr(trees, name).dtype == dtype for name, dtype in nodes.items()))
        _expect(trees.baseline.shape == (k,) and trees.baseline.dtype == np.float64)
        _expect(trees.roots.dtype == np.int32 and trees.roots.ndim == 2 and trees.roots.shape[1] == k)
        _expect(((trees.roots >= 0) & (trees.roots < n)).all())
        _expect(((trees.feature >= -1) & (trees.feature < model.n_features)).all())
        split = np.flatnonzero(trees.feature >= 0)
        for after in (trees.left[split], trees.right[split]):  # children come later, so that every path ends
            _expect(((after > split) & (after < n)).all())


def _check_linear(linear: Linear, k: int, f: int) -> None:
    _expect(linear.weight.shape == (k, f) and linear.bias.shape == (k,))
    _expect(linear.mean.shape == linear.scale.shape == (f,))
    _expect(all(getattr(linear, each.name).dtype == np.float64 for each in fields(linear)))
    _expect((linear.scale > 1 / HUGE).all())


def _check_rocket(model: MiniRocket) -> None:
    config, kernels, task = model.config, model.kernels, model.task
    _expect(task.per == "series" and config.keys() == {"features", "length"})
    _expect(type(config["features"]) is int and KERNELS <= config["features"] <= MOST_FEATURES)
    _expect(type(config["length"]) is int and 1 <= config["length"] <= MOST_POINTS)
    d, f = len(kernels.dilation), kernels.bias.size
    n = model.preprocessing.n_inputs
    _expect(config["length"] * n <= MOST and 1 <= d <= MOST_DILATIONS and f <= MOST_FEATURES)
    shapes = {"dilation": (d,), "biases": (d,), "channels": (d, KERNELS, n), "bias": (f,)}
    dtypes = {"dilation": np.int32, "biases": np.int32, "channels": np.uint8, "bias": np.float32}
    _expect(all(getattr(kernels, name).shape == shape for name, shape in shapes.items()))
    _expect(all(getattr(kernels, name).dtype == dtype for name, dtype in dtypes.items()))
    _expect(((kernels.dilation >= 1) & (kernels.dilation <= MOST_POINTS)).all() and (kernels.channels <= 1).all())
    _expect((kernels.biases >= 0).all() and KERNELS * int(kernels.biases.astype(np.int64).sum()) == f)
    _check_linear(model.linear, 1 if task.kind == "classification" and task.n_outputs == 2 else task.n_outputs, f)


def _calibration(metadata: dict[str, Any]) -> Calibration:
    found = metadata.get("calibration", {})
    fits = isinstance(found, dict) and found.keys() <= {"temperature", "shift"}
    fits = fits and all(type(value) in (int, float) and abs(value) <= 1000 for value in found.values())
    if not fits or not found.get("temperature", 1.0) >= 0.001:
        raise InputError("the model's calibration is invalid; save the model again")
    return Calibration(**found)
