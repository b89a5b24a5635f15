"""The base class of both worlds: settings that a reset can change, the control interval, and frames of two sizes."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import fields, replace
from typing import Any, ClassVar, Generic, TypeVar

import gymnasium as gym
import numpy as np

from torchliquid.control.worlds.caster import Camera
from torchliquid.errors import InputError

Scene = TypeVar("Scene")
SMALL = Camera(64, 48)
LARGE = Camera(320, 240, samples=1)


class World(gym.Env[np.ndarray, np.ndarray], Generic[Scene]):
    """A world with a front camera. Observations are frames (48, 64, 3) uint8, actions are numbers from -1 to 1.

    ``info`` has ``elapsed``, the seconds since the previous frame (at a reset, the control interval), ``position`` (3,)
    in metres, ``is_success`` and ``crashed``.

    Attributes:
        dt: seconds from frame to frame. A wrapper may set it before any step.
        settings: settings of the scenes; ``reset(options={...})`` changes them for one episode.
        scene: the settings of the current episode.
        blind: whether frames are black, to save time if only the expert acts.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]
    observation_space: gym.spaces.Box
    action_space: gym.spaces.Box

    def __init__(self, settings: Scene, actions: int, render_mode: str | None = None) -> None:
        if render_mode not in (None, "rgb_array"):
            raise InputError(f"render_mode {render_mode!r} is not known; leave it out, or give 'rgb_array'")
        self.settings = self.scene = settings
        self.render_mode = render_mode
        self.dt = 0.05
        self.blind = False
        self.observation_space = gym.spaces.Box(0, 255, (SMALL.height, SMALL.width, 3), np.uint8)
        self.action_space = gym.spaces.Box(-1, 1, (actions,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Draw a new scene.

        Args:
            seed: seed of the scene and of everything random in it; None: a random seed.
            options: settings of this episode, by name.

        Raises:
            InputError: an option is unknown, or its value is not allowed.
        """
        super().reset(seed=seed)
        known = [field.name for field in fields(self.settings)]  # type: ignore[arg-type]
        for name in options or {}:
            if name not in known:
                raise InputError(f"{type(self).__name__} has no option {name!r}; it has {', '.join(known)}")
        self.scene = replace(self.settings, **(options or {}))  # type: ignore[type-var]
        self.begin()
        return self.frame(), {"elapsed": self.dt, **self.situation()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Act for ``dt`` seconds. Actions are clipped to -1 and 1.

        Raises:
            InputError: the action has another shape, or is not finite.
        """
        numbers = np.asarray(action, float)
        if numbers.shape != self.action_space.shape or not np.isfinite(numbers).all():
            raise InputError(
                f"an action of {type(self).__name__} is {self.action_space.shape[0]} numbers, not {action}"
            )
        reward, terminated, truncated = self.advance(numbers.clip(-1, 1))
        return self.frame(), reward, terminated, truncated, {"elapsed": self.dt, **self.situation()}

    def frame(self) -> np.ndarray:
        """The observation."""
        return np.zeros((SMALL.height, SMALL.width, 3), np.uint8) if self.blind else self.look(SMALL)

    def render(self) -> np.ndarray:
        """The frame as (240, 320, 3) uint8."""
        return self.look(LARGE)

    @abstractmethod
    def begin(self) -> None:
        """Draw the scene from ``np_random``."""

    @abstractmethod
    def advance(self, action: np.ndarray) -> tuple[float, bool, bool]:
        """Act for ``dt`` seconds. Returns the reward, whether the episode ended, and whether its time is over."""

    @abstractmethod
    def situation(self) -> dict[str, Any]:
        """The content of ``info`` at this moment."""

    @abstractmethod
    def look(self, camera: Camera) -> np.ndarray:
        """(height, width, 3) uint8 the picture of a camera."""

    @abstractmethod
    def expert(self) -> np.ndarray:
        """The action of the expert, who knows the whole state."""


def one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    """Check that a name is known.

    Raises:
        InputError: it is not among ``known``.
    """
    if given not in known:
        raise InputError(f"{what} {given!r} is not known; there are {', '.join(known)}")


def at_least(what: str, given: float | None, least: float) -> None:
    """Check a lower bound; None is allowed.

    Raises:
        InputError: the number is less than ``least`` or not finite.
    """
    if given is not None and not (np.isfinite(given) and given >= least):
        raise InputError(f"{what} is {given}; give a number from {least:g} upwards")
