"""Read and set the control interval of an environment: the time from one observation to the next."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from torchliquid.errors import InputError


def interval(env: gym.Env[Any, Any]) -> float:
    """Seconds from one observation to the next: the environment's ``dt`` or ``tau``, or 1 if it has neither."""
    base = env.unwrapped
    for name in ("dt", "tau"):
        if isinstance(given := getattr(base, name, None), int | float) and given > 0:
            return float(given)
    return 1.0


def elapsed(env: gym.Env[Any, Any], info: dict[str, Any]) -> float:
    """Seconds since the previous observation: ``info["elapsed"]``, or else the environment's interval."""
    return float(info.get("elapsed", interval(env)))


def can_be_set(env: gym.Env[Any, Any]) -> bool:
    """Whether :func:`set_interval` can set the interval."""
    base: Any = env.unwrapped
    return hasattr(base, "frame_skip") or "dt" in vars(base) or "tau" in vars(base)


def set_interval(env: gym.Env[Any, Any], seconds: float) -> float:
    """Set the interval of the following steps: ``frame_skip`` of Gymnasium's MuJoCo environments, or else the attribute
    ``dt`` or ``tau``.

    Args:
        env: the environment, wrapped or not.
        seconds: the interval. With ``frame_skip`` it is rounded to whole physics steps, at least one.

    Returns:
        The interval that was set.

    Raises:
        InputError: the environment has none of these attributes.
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
            f"{name_of(env)} has a fixed control interval; give it an attribute dt (seconds) that it reads at each step"
        )
    return interval(env)


def name_of(env: gym.Env[Any, Any]) -> str:
    """The environment's name in Gymnasium, or else the name of its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
