"""Make environments, and check the actions that go into them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from torchliquid.control.interval import name_of
from torchliquid.errors import InputError

Env = gym.Env[Any, Any]
EnvMaker = str | Callable[[], Env]
"""The name of an environment in Gymnasium, or a function that makes one."""

EnvLike = Env | EnvMaker
Expert = Callable[[Env, Any], Any]
"""Called with the environment without its wrappers, whose state it may read, and the observation; returns an action."""

Tree = Any
"""An array, or a dict or tuple of arrays as in the space. The first axis is time."""


def made(env: EnvLike) -> Env:
    """The given environment, or one made from its name in Gymnasium or by a function.

    Raises:
        InputError: the name is unknown, or the environment cannot be made here.
    """
    if isinstance(env, gym.Env):
        return env
    try:
        return gym.make(env) if isinstance(env, str) else env()
    except InputError:
        raise
    except Exception as error:
        what = f"the environment {env!r}" if isinstance(env, str) else "the environment"
        raise InputError(f"{what} cannot be made: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """An error in one line, with advice if OpenGL is missing."""
    words = " ".join(f"{type(error).__name__}: {error}".split())
    if re.search(r"OpenGL|\bgl[A-Z]\w+|\bE?GL\b|egl|GLFW|OSMesa|DISPLAY", words):
        words += "; without a screen install OSMesa (apt-get install libosmesa6) and set MUJOCO_GL=osmesa, or =egl"
    return words


def own_expert(env: Env, observation: Any) -> Any:
    """The expert that a world of this package has."""
    return env.expert()  # type: ignore[attr-defined]


def expert_of(env: Env, given: Expert | None) -> Expert | None:
    """The given expert, or else the environment's own; None if it has none."""
    return given or (own_expert if hasattr(env.unwrapped, "expert") else None)


def checked_action(action: Any, env: Env, whose: str) -> tuple[Any, bool]:
    """Convert an action to the type and the bounds of the action space.

    Args:
        action: an array, a number or a tensor.
        env: the environment.
        whose: who chose the action, for the error.

    Returns:
        The action, and whether it was out of bounds.

    Raises:
        InputError: the action has another shape or kind than the action space.
        FloatingPointError: it contains NaN or infinity.
    """
    space = env.action_space

    def wrong() -> InputError:
        return InputError(f"{whose} answers {_brief(action)}; an action of {name_of(env)} is {_words(space)}")

    if isinstance(space, spaces.Box):
        try:
            numbers = np.asarray(action, float)
        except (TypeError, ValueError):
            numbers = np.array(None)
        if numbers.shape != space.shape or numbers.dtype == object:
            raise wrong()
        if not np.isfinite(numbers).all():
            raise FloatingPointError(f"{whose} answers {_brief(action)}")
        inside = np.clip(numbers, space.low, space.high).astype(space.dtype)
        # Rounding to float32 at a bound does not count.
        beyond = bool((abs(inside - numbers) > 1e-6 * (1 + abs(numbers))).any())
        return inside, beyond
    if isinstance(space, spaces.Discrete):
        array = np.asarray(action)
        if array.size != 1 or not np.issubdtype(array.dtype, np.integer):
            raise wrong()
        action = space.dtype.type(array.item())
    if not space.contains(action):
        raise wrong()
    return action, False


def _words(space: spaces.Space[Any]) -> str:
    if isinstance(space, spaces.Box):
        return f"numbers of shape {space.shape} from {space.low.min():g} to {space.high.max():g}"
    if isinstance(space, spaces.Discrete):
        return f"a whole number from {space.start} to {space.start + space.n - 1}"
    return str(space)


def _brief(value: Any) -> str:
    words = " ".join(repr(value).split())
    return words if len(words) <= 80 else f"{words[:77]}..."


def at(tree: Tree, place: Any) -> Tree:
    """Index each array in time."""
    if isinstance(tree, dict):
        return {name: at(part, place) for name, part in tree.items()}
    return tuple(at(part, place) for part in tree) if isinstance(tree, tuple) else tree[place]
