"""Small environments of all kinds of observations and actions."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SPACES: dict[str, spaces.Space[Any]] = {
    "vector": spaces.Box(np.array([-1, 0, -np.inf], np.float32), np.array([1, 5, np.inf], np.float32)),
    "image": spaces.Box(0, 255, (12, 16, 3), np.uint8),
    "grey": spaces.Box(0, 255, (9, 7, 1), np.uint8),
    "words": spaces.Tuple((spaces.Discrete(3), spaces.MultiBinary(2))),
    "dict": spaces.Dict(
        {
            "camera": spaces.Box(0, 255, (10, 10, 3), np.uint8),
            "state": spaces.Box(-1, 1, (2,), np.float64),
            "gear": spaces.Discrete(4),
        }
    ),
}
ACTIONS: dict[str, spaces.Space[Any]] = {
    "continuous": spaces.Box(-2, 2, (2,), np.float32),
    "discrete": spaces.Discrete(3),
}


class Toy(gym.Env[Any, Any]):
    """A point that an action moves for ``dt`` seconds; observations are drawn."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}  # type: ignore[misc]

    def __init__(self, sees: str = "vector", does: str = "continuous", fixed: bool = False) -> None:
        self.observation_space, self.action_space = SPACES[sees], ACTIONS[does]
        if not fixed:
            self.dt = 0.1

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.place, self.seconds, self.steps = 0.0, 0.0, 0
        return self._seen(), {"position": np.array([self.place])}

    def _seen(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        return self.observation_space.sample()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        dt = getattr(self, "dt", 1.0)
        self.place += dt * float(np.ravel(action)[0])
        self.seconds += dt
        self.steps += 1
        done = abs(self.place) > 3
        info = {"position": np.array([self.place]), "is_success": bool(done)}
        return self._seen(), dt, bool(done), self.steps >= 40, info
