"""Add the time since the previous observation to observations, and separate it again."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor

from torchliquid.control.interval import elapsed, interval, name_of
from torchliquid.errors import InputError

KEY = "elapsed"


class WithElapsed(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """An environment whose observations contain the seconds since the previous one: as the last number of a vector, or
    as the key ``"elapsed"`` of a Dict.

    The seconds are ``info["elapsed"]``, which the shifts of :mod:`torchliquid.control.shifts` set, or else the
    environment's ``dt`` or ``tau``, or else 1. At the start of an episode they are the usual interval.

    Raises:
        InputError: observations are neither vectors nor a Dict, or already have the key.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        gym.utils.RecordConstructorArgs.__init__(self)
        super().__init__(env)
        space = env.observation_space
        if isinstance(space, spaces.Dict) and KEY not in space.spaces:
            self.observation_space = spaces.Dict({**space.spaces, KEY: spaces.Box(0, np.inf, (1,), np.float32)})
        elif isinstance(space, spaces.Box) and len(space.shape) == 1:
            low, high = np.append(space.low, 0), np.append(space.high, np.inf)
            self.observation_space = spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        else:
            raise InputError(f"{name_of(env)} observes {space}; a vector, or a Dict without {KEY!r}, is needed")

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(seed=seed, options=options)
        return self._with(observation, interval(self.env)), info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with(observation, elapsed(self.env, info)), reward, terminated, truncated, info

    def _with(self, observation: Any, seconds: float) -> Any:
        if isinstance(observation, dict):
            return {**observation, KEY: np.array([seconds], np.float32)}
        return np.append(observation, seconds).astype(np.float32)


def without(space: spaces.Space[Any], where: str | int) -> spaces.Space[Any]:
    """An observation space without the elapsed time.

    Raises:
        InputError: the space has no elapsed time, it is not a single number, or the space has nothing else.
    """
    if isinstance(space, spaces.Dict):
        part = space.spaces.get(str(where))
        if not isinstance(part, spaces.Box) or part.shape not in ((), (1,)):
            raise InputError(
                f"elapsed={where!r} is no single number of the observation; it has {', '.join(map(str, space.items()))}"
            )
        rest = {name: kept for name, kept in space.spaces.items() if name != where}
        if not rest:
            raise InputError(f"the observation is {where!r} alone; a policy must observe something else too")
        return spaces.Dict(rest)
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not isinstance(where, int):
        raise InputError(f"elapsed={where!r} fits no observation {space}: give a Dict's key, or a vector's index")
    size = space.shape[0]
    if size < 2 or not -size <= where < size:
        raise InputError(f"elapsed={where} is no index of an observation of {size} numbers, with others besides it")
    low, high = (np.delete(bound, where) for bound in (space.low, space.high))
    return spaces.Box(low, high, dtype=space.dtype.type)


class Timed(BaseFeaturesExtractor):
    """The features from another extractor for the rest of an observation, followed by the elapsed time.

    Args:
        observation_space: the space of observations with the elapsed time.
        where: key or index of the elapsed time.
        extractor: extractor for the rest.
    """

    def __init__(
        self, observation_space: spaces.Space[Any], where: str | int, extractor: BaseFeaturesExtractor
    ) -> None:
        super().__init__(observation_space, extractor.features_dim + 1)
        self.where, self.rest = where, extractor

    def forward(self, observations: Any) -> Tensor:
        if isinstance(observations, dict):
            seconds = observations[self.where].flatten(1)
            features = self.rest({name: part for name, part in observations.items() if name != self.where})
        else:
            assert isinstance(self.where, int)
            place = self.where % observations.shape[1]
            seconds = observations[:, place : place + 1]
            features = self.rest(torch.cat([observations[:, :place], observations[:, place + 1 :]], 1))
        return torch.cat([features, seconds], 1)
