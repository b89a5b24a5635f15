"""The time from one observation of an environment to the next: read, and set where it can be."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from torchliquid.errors import InputError


def interval(env: gym.Env[Any, Any]) -> float:
    """Seconds from one observation to the next: the environment's ``dt`` or ``tau``; where it has neither 1, a step."""
    base = env.unwrapped
    for name in ("dt", "tau"):
        if isinstance(given := getattr(base, name, None), int | float) and given > 0:
            return float(given)
    return 1.0


def elapsed(env: gym.Env[Any, Any], info: dict[str, Any]) -> float:
    """Seconds since the observation before: what ``info`` says, else the environment's interval."""
    return float(info.get("elapsed", interval(env)))


def can_be_set(env: gym.Env[Any, Any]) -> bool:
    """Whether :func:`set_interval` can."""
    base: Any = env.unwrapped
    return hasattr(base, "frame_skip") or "dt" in vars(base) or "tau" in vars(base)


def set_interval(env: gym.Env[Any, Any], seconds: float) -> float:
    """Set the interval from the next step on: ``frame_skip`` of MuJoCo's environments in Gymnasium, else the attribute
    ``dt`` or ``tau``.

    Args:
        env: the environment, wrapped or not.
        seconds: how long; with ``frame_skip`` whole steps of the physics are taken, at least one.

    Returns:
        The interval that is set.

    Raises:
        InputError: it has none of these.
    """
    base: Any = env.unwrapped
    if hasattr(base, "frame_skip"):
        base.frame_skip = max(round(seconds * base.frame_skip / interval(env)), 1)
    elif "dt" in vars(base):
        base.dt = seconds
    elif "tau" in vars(base):
        base.tau = seconds
    else:
        raise InputError(
            f"{name_of(env)} has a fixed control interval; give it an attribute dt, seconds, that it reads each step"
        )
    return interval(env)


def name_of(env: gym.Env[Any, Any]) -> str:
    """An environment's name in Gymnasium, else its class's."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
