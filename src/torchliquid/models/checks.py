"""Limits of a model's description, checked when a model is built and when a file is loaded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.limits import MAX_COLUMNS, MAX_NAME
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError
from torchliquid.tasks import Task

MAX_CHARACTERS = 8_000_000
"""Maximum length of all names of a model together. A file can hold as many, whatever letters they consist of."""
MAX_DEPTH = 32
"""Maximum depth of nested lists and dicts in the description."""
MAX_VALUES = 2_000_000
"""Maximum number of values in the description."""
MAX_METADATA = 20_000
"""Maximum number of values in the metadata."""
LARGEST = 1e300
"""Largest scale: its square must be finite."""


def check_fitted(task: Task, preprocessing: Preprocessing) -> None:
    """Check that the names and numbers of a task and a preprocessing can be saved, loaded and computed with.

    Raises:
        InputError: they cannot; the message says which.
    """
    _check_names("channel", preprocessing.channels)
    _check_names("class", task.labels)
    for what, name in (
        ("target", task.target),
        ("unit of time", preprocessing.time_unit),
        ("unit of the horizon", task.horizon_unit),
    ):
        _check_name(what, name)
    if sum(map(len, (*preprocessing.channels, *task.labels))) > MAX_CHARACTERS:
        raise InputError(f"the names of the channels and classes have more than {MAX_CHARACTERS:,} characters in all")
    for channel, mean, std in zip(preprocessing.channels, preprocessing.mean, preprocessing.std, strict=True):
        _check_scale(f"the channel {channel!r}", mean, std)
    if not 0 < preprocessing.time_scale < LARGEST:
        raise InputError(f"the time scale is {preprocessing.time_scale}: it must be a finite number above 0")
    gap = preprocessing.longest_gap
    if gap is not None and not 0 <= gap < LARGEST:
        raise InputError(f"the longest gap is {gap}: it must be a finite number, 0 or more")
    for what, seen in (("smallest", preprocessing.low), ("largest", preprocessing.high)):
        for channel, value in zip(preprocessing.channels, () if seen is None else seen, strict=seen is not None):
            if math.isinf(value):
                raise InputError(f"the {what} reading of the channel {channel!r} is infinite")
    _check_task(task, preprocessing)


def _check_task(task: Task, preprocessing: Preprocessing) -> None:
    if task.kind == "classification" and len(task.labels) < 2:
        raise InputError(
            f"the task has {len(task.labels)} classes, but two or more are needed; fit it on labelled data"
        )
    if task.kind == "regression" and (not task.mean or len(task.mean) != len(task.std)):
        raise InputError(f"the target has {len(task.mean)} means and {len(task.std)} standard deviations")
    for mean, std in zip(task.mean, task.std, strict=True):
        _check_scale(f"the target {task.target!r}", mean, std)
    if not all(0 < horizon < LARGEST for horizon in task.horizons):
        raise InputError(f"the horizon is {task.horizons[0]}: it must be a finite number above 0")
    if task.path and len(task.mean) != len(task.path):
        raise InputError(f"the target has {len(task.mean)} means for {len(task.path)} steps ahead")
    values = len(task.horizons)
    if task.change and (
        task.kind != "regression" or task.per != "step" or task.column is None or len(task.mean) != values
    ):
        raise InputError("only a forecast can predict the change from the last value")
    if not 0 <= task.change < LARGEST:
        raise InputError(f"the weight of the last value is {task.change}: it must be a finite number, 0 or more")
    if task.column is not None and not 0 <= task.column < preprocessing.n_channels:
        raise InputError(
            f"the forecast channel has index {task.column}, but there are {preprocessing.n_channels} channels"
        )


def check_data(description: Mapping[str, Any]) -> None:
    """Check that plain data is not deeper or longer than descriptions of this package, and that its numbers are finite.

    Raises:
        InputError: it is, or they are not.
    """
    _check_size(description, "description", MAX_VALUES)
    _check_size(description.get("metadata"), "metadata", MAX_METADATA)


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Check that all weights are finite.

    Raises:
        InputError: the name of one that is not.
    """
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise InputError(f"the weight {name!r} holds numbers that are not finite; train the model again")


def _check_size(data: Any, what: str, most: int) -> None:
    waiting, found = [(data, 0, what)], 0
    while waiting:
        value, depth, name = waiting.pop()
        found += 1
        if found > most:
            raise InputError(f"the model's {what} holds more than {most:,} values")
        if isinstance(value, dict | list):
            if depth == MAX_DEPTH:
                raise InputError(f"the model's {what} is nested more than {MAX_DEPTH} deep")
            if isinstance(value, dict):
                waiting += [(one, depth + 1, str(key)) for key, one in value.items()]
            else:
                waiting += [(one, depth + 1, name) for one in value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"the model's {what} is invalid: {name!r} is {value}, which is not finite")


def _check_names(what: str, names: tuple[str, ...]) -> None:
    if len(names) > MAX_COLUMNS:
        raise InputError(f"there are {len(names):,} names of a {what}; at most {MAX_COLUMNS:,} are allowed")
    if len(set(names)) < len(names):
        raise InputError(f"two names of a {what} are the same")
    for name in names:
        _check_name(what, name)


def _check_name(what: str, name: str) -> None:
    if len(name) > MAX_NAME:
        raise InputError(
            f"the name of a {what}, {name[:30]!r}..., has {len(name):,} characters; at most {MAX_NAME:,} are allowed"
        )


def _check_scale(what: str, mean: float, std: float) -> None:
    if not (np.isfinite(mean) and abs(mean) < LARGEST):
        raise InputError(f"{what} has the mean {mean}, which is not finite")
    if not 0 < std < LARGEST:
        raise InputError(f"{what} has the standard deviation {std}: it must be a finite number above 0")
