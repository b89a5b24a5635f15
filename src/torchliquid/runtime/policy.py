"""Run a policy on live observations: a model whose outputs are actions."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from torchliquid.errors import InputError
from torchliquid.models.predictor import Predictor
from torchliquid.runtime.stream import ModelStream

POLICY = "policy"
"""The key of a model's metadata that describes a policy's observations and actions."""


@dataclass(frozen=True)
class Seen:
    """One part of an observation.

    Attributes:
        name: key in the observation; None: the whole observation.
        kind: ``"numbers"``, ``"picture"``, or ``"choice"``, which is one of ``shape[0]`` integers from ``first``.
        shape: shape of the array.
        first: smallest value of a choice.
        elapsed: index of the elapsed time in a vector, which is not a channel; None: there is none.
    """

    name: str | None
    kind: Literal["numbers", "picture", "choice"]
    shape: tuple[int, ...]
    first: int = 0
    elapsed: int | None = None

    @property
    def size(self) -> int:
        """Number of channels."""
        return math.prod(self.shape) - (self.elapsed is not None)

    @property
    def channels(self) -> list[str]:
        name = self.name or "observation"
        return [f"{name}[{','.join(map(str, at))}]" for at in np.ndindex(*self.shape) if at != (self.elapsed,)]

    def flat(self, values: Any) -> np.ndarray:
        """Flatten such parts to channels (..., size): images as uint8, everything else as float32.

        Raises:
            InputError: the shape or the values do not match.
        """
        array = np.asarray(values)
        if self.kind == "choice":
            last = self.first + self.shape[0] - 1
            if array.dtype.kind not in "iu" or not ((array >= self.first) & (array <= last)).all():
                raise InputError(
                    f"{self._words} is {array}; the policy knows whole numbers from {self.first} to {last}"
                )
            return np.eye(self.shape[0], dtype=np.float32)[array.astype(np.int64) - self.first]
        if array.shape[array.ndim - len(self.shape) :] != self.shape or array.dtype.kind not in "biuf":
            found = f"shape {array.shape}" if array.dtype.kind in "biuf" else f"type {array.dtype}"
            raise InputError(f"{self._words} has {found}; the policy was trained on {self.shape}")
        if self.kind == "picture" and array.dtype != np.uint8 and not np.isin(array, np.arange(256)).all():
            raise InputError(f"{self._words} is a picture: it holds whole numbers from 0 to 255")
        lead = array.shape[: array.ndim - len(self.shape)]
        if self.elapsed is not None:
            array = np.delete(array, self.elapsed, -1)
        return array.reshape(*lead, self.size).astype(np.uint8 if self.kind == "picture" else np.float32, copy=False)

    @property
    def _words(self) -> str:
        return "the observation" if self.name is None else f"the observation's {self.name!r}"


@dataclass(frozen=True)
class Does:
    """The form of an action: an array with bounds, or one of ``n`` integers from ``first``."""

    shape: tuple[int, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    n: int = 0
    first: int = 0

    def of(self, answer: np.ndarray) -> Any:
        """The action for a model's output."""
        if self.n:
            return int(answer.argmax()) + self.first
        return np.clip(answer, self.low, self.high).astype(np.float32).reshape(self.shape)


def flat(seen: tuple[Seen, ...], observation: Any) -> np.ndarray:
    """(..., C) the channels of one or many observations; uint8 if all of them are pixels.

    Raises:
        InputError: a part is missing, or its shape or values do not match.
    """
    parts = []
    for one in seen:
        if one.name is None:
            parts.append(one.flat(observation))
        elif not isinstance(observation, dict) or one.name not in observation:
            what = ", ".join(map(repr, observation)) if isinstance(observation, dict) else type(observation).__name__
            raise InputError(f"the observation lacks {one.name!r}, which the policy was trained on; it has {what}")
        else:
            parts.append(one.flat(observation[one.name]))
    return np.concatenate(parts, -1) if len(parts) > 1 else parts[0]


def described(seen: tuple[Seen, ...], does: Does, environment: str) -> dict[str, Any]:
    """A policy's observations and actions as plain data for a model's metadata."""
    kept = [asdict(one) for one in seen]
    parts = [{name: part[name] for name in part if name != "elapsed" or part[name] is not None} for part in kept]
    return {"environment": environment, "seen": parts, "does": asdict(does)}


class PolicyStream(ModelStream):
    """A policy: takes observations, returns actions within their bounds. It can be called like a function, as
    :func:`torchliquid.control.evaluate` does.

    Attributes:
        seen: the parts of an observation.
        does: the form of an action.
    """

    def __init__(self, model: Predictor, n: int = 1) -> None:
        if n != 1:
            raise InputError(f"a policy steers one environment; make {n} streams")
        try:
            about = model.metadata[POLICY]
            self.seen = tuple(Seen(**{**one, "shape": tuple(one["shape"])}) for one in about["seen"])
            does: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in about["does"].items()}
            self.does = Does(**does)
            fits = sum(one.size for one in self.seen) == model.preprocessing.n_channels
            clocks = [(one.elapsed, one.shape) for one in self.seen if one.elapsed is not None]
            fits &= all(type(at) is int and len(shape) == 1 and 0 <= at < shape[0] for at, shape in clocks)
            fits &= model.task.n_outputs == (self.does.n or math.prod(self.does.shape))
            fits &= bool(self.does.n) or len(self.does.low) == len(self.does.high) == model.task.n_outputs
        except (KeyError, TypeError, ValueError, AttributeError):
            fits = False
        if not fits:
            raise InputError("the policy's description is invalid; save the model again")
        super().__init__(model, n)

    def step(self, values: Any, elapsed: Any = None, time: Any = None) -> Any:
        """The action for an observation.

        Args:
            values: the observation from the environment.
            elapsed: seconds since the previous one; not used for the first observation of an episode.
            time: see :class:`ModelStream`.

        Raises:
            InputError: the observation has another shape, or a part is missing.
        """
        sample = flat(self.seen, values)
        if sample.ndim != 1:
            raise InputError(f"an observation has shape {np.shape(values)}; give one at a time")
        return self.does.of(super().step(sample.astype(np.float64), elapsed, time))

    def __call__(self, observation: Any, elapsed: float | None = None) -> Any:
        return self.step(observation, elapsed)
