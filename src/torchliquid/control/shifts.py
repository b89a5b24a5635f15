"""Shifts: changes between training and use, as Gymnasium wrappers with a severity.

A severity of 0 changes nothing. Random numbers come from the seed of the reset, separately for each shift, so that runs
of the same seed differ only in the severity. To add a shift, write a class like this one::

    class Mirrored(Shift):
        \"\"\"The picture is mirrored.\"\"\"

        name, unit, severities = "mirrored", "1: mirrored", (1.0,)

        def observation(self, observation):
            return observation[:, ::-1].copy()

and pass it to :func:`torchliquid.control.evaluate` with the others.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from itertools import count
from numbers import Real
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium import spaces

from torchliquid.control.interval import can_be_set, elapsed, interval, name_of, set_interval
from torchliquid.errors import InputError

Array = np.ndarray
Env = gym.Env[Any, Any]
Step = tuple[Any, Any, bool, bool, dict[str, Any]]
FAR = 1e6
"""A space whose bounds are larger counts as unbounded."""


class Shift(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """A changed environment. Subclasses override ``check``, ``begin``, ``action``, ``observation`` or ``shifted_step``.

    Args:
        env: the environment.
        severity: size of the change, in ``unit``; 0 changes nothing.

    Attributes:
        name: the shift's name in reports.
        unit: unit of the severity.
        severities: the severities that a study uses.
        rng: the source of all random numbers.

    Raises:
        InputError: the severity is negative or not finite, or the shift does not suit the environment.
    """

    name: ClassVar[str]
    unit: str
    severities: ClassVar[tuple[float, ...]]

    def __init__(self, env: Env, severity: float) -> None:
        given: object = severity
        if not isinstance(given, Real) or not (np.isfinite(severity) and severity >= 0):
            raise InputError(f"{self.name}: a severity of {severity}; give a number from 0 upwards ({self.unit})")
        gym.utils.RecordConstructorArgs.__init__(self, severity=severity)
        super().__init__(env)
        self.severity = severity
        self.rng = np.random.default_rng()
        self.check()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self.severity == 0:
            return self.env.reset(seed=seed, options=options)
        if seed is not None:
            self.rng = np.random.default_rng([seed, zlib.crc32(self.name.encode())])
        observation, info = self.shifted_reset(seed, options)
        self.begin()
        return self.observation(observation), info

    def step(self, action: Any) -> Step:
        if self.severity == 0:
            return self.env.step(action)
        observation, reward, terminated, truncated, info = self.shifted_step(self.action(action))
        return self.observation(observation), reward, terminated, truncated, info

    def check(self) -> None:
        """Raise :meth:`refuse` if the shift does not suit the environment."""

    def begin(self) -> None:
        """Draw what is constant during an episode."""

    def action(self, action: Any) -> Any:
        """The action that reaches the environment."""
        return action

    def observation(self, observation: Any) -> Any:
        """The observation that reaches the policy."""
        return observation

    def shifted_reset(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """The environment's reset."""
        return self.env.reset(seed=seed, options=options)

    def shifted_step(self, action: Any) -> Step:
        """One step of the environment, or several."""
        return self.env.step(action)

    def steps(self, action: Any, enough: Callable[[int], bool]) -> Step:
        """Repeat an action until it is ``enough`` after so many steps, or the episode ends."""
        total, seconds = 0.0, 0.0
        for done in count(1):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total, seconds = total + float(reward), seconds + elapsed(self.env, info)
            if terminated or truncated or enough(done):
                break
        return observation, total, terminated, truncated, {**info, "elapsed": seconds}

    def refuse(self, why: str) -> InputError:
        return InputError(f"{self.name} cannot be applied to {name_of(self.env)}: {why}")


# -- spaces


def is_image(space: spaces.Space[Any]) -> bool:
    """Whether a space contains images: (height, width, 1 or 3) of 8 bits."""
    return (
        isinstance(space, spaces.Box) and space.dtype == np.uint8 and len(space.shape) == 3 and space.shape[2] in (1, 3)
    )


def boxes(space: spaces.Space[Any]) -> list[spaces.Box]:
    """The boxes in a space, in order."""
    if isinstance(space, spaces.Dict):
        return [box for part in space.spaces.values() for box in boxes(part)]
    if isinstance(space, spaces.Tuple):
        return [box for part in space.spaces for box in boxes(part)]
    return [space] if isinstance(space, spaces.Box) else []


def change_boxes(space: spaces.Space[Any], value: Any, change: Callable[[spaces.Box, Array], Array]) -> Any:
    """A value with the array of each box changed, then clipped to the box's bounds and converted to its type."""
    if isinstance(space, spaces.Dict):
        return {name: change_boxes(part, value[name], change) for name, part in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(change_boxes(part, one, change) for part, one in zip(space.spaces, value, strict=True))
    return within(space, change(space, np.asarray(value))) if isinstance(space, spaces.Box) else value


def within(box: spaces.Box, value: Array) -> Array:
    """A new array of the box's type, clipped to its bounds."""
    if np.issubdtype(box.dtype, np.integer):
        value = np.rint(value)
    return np.clip(value, box.low, box.high).astype(box.dtype)


def scale(box: spaces.Box) -> Array:
    """Half the range of a box; 1 where it is unbounded."""
    low, high = box.low.astype(float), box.high.astype(float)
    half = np.full(box.shape, 1.0)
    bounded = (np.abs(low) < FAR) & (np.abs(high) < FAR)
    half[bounded] = (high[bounded] - low[bounded]) / 2
    return half


# -- sensors and their timing


class _SensorShift(Shift):
    def check(self) -> None:
        if not boxes(self.env.observation_space):
            raise self.refuse("its observations hold no numbers")


class SensorNoise(_SensorShift):
    """Every reading and every pixel gets noise."""

    name, unit, severities = "sensor noise", "standard deviation (share of half the range)", (0.1, 0.2, 0.4)

    def observation(self, observation: Any) -> Any:
        return change_boxes(
            self.observation_space,
            observation,
            lambda box, value: value + self.severity * scale(box) * self.rng.normal(size=box.shape),
        )


class DroppedFrames(Shift):
    """Observations are lost at random. The last action is kept until the next one arrives, and ``info["elapsed"]`` has
    the true time since the previous one."""

    name, unit, severities = "dropped frames", "lost (share)", (0.2, 0.4, 0.6, 0.8)

    def check(self) -> None:
        if self.severity > 0.95:
            raise self.refuse(f"{self.severity:g} of the observations lost; at most 0.95 is possible")

    def shifted_step(self, action: Any) -> Step:
        return self.steps(action, lambda done: self.rng.random() >= self.severity)


class Delay(Shift):
    """The policy sees observations from some steps ago."""

    name, unit, severities = "delay", "steps", (1.0, 2.0, 4.0)

    def begin(self) -> None:
        self._seen: deque[Any] = deque(maxlen=round(self.severity) + 1)

    def observation(self, observation: Any) -> Any:
        self._seen.append(observation)
        # Until the delay has passed, the first observation is repeated, each time as a copy.
        return change_boxes(self.observation_space, self._seen[0], lambda box, value: value)


class _Interval(Shift):
    """A shift of the control interval. It restores the interval after each step."""

    def check(self) -> None:
        self.usual = interval(self.env)
        if self.severity and not can_be_set(self.env):
            set_interval(self.env, self.usual)  # raises

    def shifted_reset(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if can_be_set(self.env):
            set_interval(self.env, self.usual)
        return super().shifted_reset(seed, options)

    def step_for(self, action: Any, seconds: float) -> Step:
        lasted = set_interval(self.env, seconds)
        observation, reward, terminated, truncated, info = self.env.step(action)
        set_interval(self.env, self.usual)
        return observation, reward, terminated, truncated, {"elapsed": lasted, **info}


class Jitter(_Interval):
    """Each control interval is longer or shorter at random."""

    name, unit, severities = "jitter", "longer or shorter by up to (share)", (0.25, 0.5, 0.9)

    def check(self) -> None:
        if self.severity > 0.95:
            raise self.refuse(f"intervals shorter by a share of {self.severity:g}; at most 0.95 is possible")
        super().check()

    def shifted_step(self, action: Any) -> Step:
        return self.step_for(action, self.usual * self.rng.uniform(1 - self.severity, 1 + self.severity))


class SlowerControl(_Interval):
    """The policy acts less often; a severity of 1 is half as often. If the interval cannot be set, each action is
    repeated for whole steps."""

    name, unit, severities = "slower control", "longer by (share)", (0.5, 1.0)

    def check(self) -> None:
        self.usual = interval(self.env)
        if not can_be_set(self.env) and self.severity != round(self.severity):
            raise self.refuse(f"its steps are fixed, so the severity must be a whole number, not {self.severity:g}")

    def shifted_step(self, action: Any) -> Step:
        if can_be_set(self.env):
            return self.step_for(action, self.usual * (1 + self.severity))
        return self.steps(action, lambda done: done > self.severity)


class FasterControl(_Interval):
    """The policy acts more often; a severity of 1 is twice as often."""

    name, unit, severities = "faster control", "more often by (share)", (0.5, 1.0)

    def shifted_step(self, action: Any) -> Step:
        return self.step_for(action, self.usual / (1 + self.severity))


class SilentSensor(_SensorShift):
    """Some sensors read 0, or the closest possible value, for the whole episode. A sensor is an element of a vector or
    a whole image."""

    name, unit, severities = "silent sensor", "silent (number)", (1.0, 2.0)

    def begin(self) -> None:
        counts = [1 if is_image(box) else int(np.prod(box.shape)) for box in boxes(self.observation_space)]
        order = self.rng.permutation(sum(counts))
        speaks = np.ones(sum(counts), bool)
        speaks[order[: round(self.severity)]] = False
        self._speaks = np.split(speaks, np.cumsum(counts)[:-1])

    def observation(self, observation: Any) -> Any:
        turn = iter(self._speaks)

        def silence(box: spaces.Box, value: Array) -> Array:
            speaks = next(turn)
            return np.where(speaks[0] if is_image(box) else speaks.reshape(box.shape), value, 0)

        return change_boxes(self.observation_space, observation, silence)


# -- cameras


class ImageShift(Shift):
    """A shift of images. Subclasses change one image, (height, width, channels) float from 0 to 255."""

    def check(self) -> None:
        if not any(is_image(box) for box in boxes(self.env.observation_space)):
            raise self.refuse("its observations hold no picture, (height, width, 1 or 3) of uint8")

    def begin(self) -> None:
        self.side = float(self.rng.choice([-1.0, 1.0]))

    def observation(self, observation: Any) -> Any:
        return change_boxes(
            self.observation_space,
            observation,
            lambda box, value: self.image(value.astype(np.float32)) if is_image(box) else value,
        )

    def image(self, image: Array) -> Array:
        """The changed image."""
        raise NotImplementedError


class Occlusion(ImageShift):
    """Grey patches, like dirt on the lens, hide a share of the picture for the whole episode."""

    name, unit, severities = "occlusion", "hidden (share)", (0.1, 0.2, 0.4)
    PATCHES = 3

    def begin(self) -> None:
        self._middles = self.rng.uniform(0.15, 0.85, (self.PATCHES, 2))

    def image(self, image: Array) -> Array:
        size = np.array(image.shape[:2])
        half = 0.5 * np.sqrt(min(self.severity, 1.0) / self.PATCHES) * size
        for middle in self._middles * size:
            (top, left), (bottom, right) = np.rint([middle - half, middle + half]).clip(0).astype(int)
            image[top:bottom, left:right] = 96
        return image


class Brightness(ImageShift):
    """The picture is brighter or darker, at random for each episode."""

    name, unit, severities = "brightness", "factor of 2, to the power of", (0.5, 1.0, 2.0)

    def image(self, image: Array) -> Array:
        return np.asarray(image * 2 ** (self.side * self.severity))


class Contrast(ImageShift):
    """The picture has less contrast."""

    name, unit, severities = "contrast", "lost (share)", (0.3, 0.6, 0.8)

    def image(self, image: Array) -> Array:
        mean = image.mean((0, 1))
        return np.asarray(mean + (image - mean) * max(1 - self.severity, 0.0))


class Hue(ImageShift):
    """All colours are rotated on the colour circle, in a random direction for each episode."""

    name, unit, severities = "hue", "degrees", (15.0, 30.0, 60.0)

    def check(self) -> None:
        super().check()
        if not any(is_image(box) and box.shape[2] == 3 for box in boxes(self.env.observation_space)):
            raise self.refuse("its pictures have no colours")

    def image(self, image: Array) -> Array:
        if image.shape[2] == 1:
            return image
        angle = np.radians(self.side * self.severity)
        c, s = np.cos(angle), np.sin(angle)
        # A rotation about the grey diagonal.
        turn = c * np.eye(3) + (1 - c) / 3 + s / np.sqrt(3) * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
        return np.asarray(image @ turn.T.astype(np.float32))


class Fog(ImageShift):
    """Fog. In a world that has its own fog, that one is used; otherwise the picture fades to light grey."""

    name, unit, severities = "fog", "share of a colour that is lost (in 10 m, where there are metres)", (0.2, 0.4, 0.6)

    def shifted_reset(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        if self._own:
            options = {"fog": self.severity, **(options or {})}
        return super().shifted_reset(seed, options)

    @property
    def _own(self) -> bool:
        return "fog" in settings_of(self.env)

    def image(self, image: Array) -> Array:
        return image if self._own else np.asarray(image + min(self.severity, 1.0) * (np.float32(216) - image))


class RotatedCamera(ImageShift):
    """The camera is rotated about its axis, in a random direction for each episode. Edge pixels fill the corners."""

    name, unit, severities = "rotated camera", "degrees", (5.0, 10.0, 20.0)

    def image(self, image: Array) -> Array:
        angle = np.radians(self.side * self.severity)
        high, wide = image.shape[:2]
        y, x = np.mgrid[:high, :wide].astype(np.float32)
        y, x = y - (high - 1) / 2, x - (wide - 1) / 2
        row = (np.cos(angle) * y - np.sin(angle) * x + (high - 1) / 2).clip(0, high - 1)
        column = (np.sin(angle) * y + np.cos(angle) * x + (wide - 1) / 2).clip(0, wide - 1)
        top, left = np.floor(row).astype(int), np.floor(column).astype(int)
        below, right = np.minimum(top + 1, high - 1), np.minimum(left + 1, wide - 1)
        down, over = (row - top)[..., None], (column - left)[..., None]
        upper = image[top, left] * (1 - over) + image[top, right] * over
        lower = image[below, left] * (1 - over) + image[below, right] * over
        return np.asarray(upper * (1 - down) + lower * down)


# -- actuators


class _ActuatorShift(Shift):
    def check(self) -> None:
        if not isinstance(self.env.action_space, spaces.Box):
            raise self.refuse("its actions are not continuous")

    def begin(self) -> None:
        self.sides = self.rng.choice([-1.0, 1.0], self.action_space.shape)

    def action(self, action: Any) -> Any:
        return change_boxes(self.action_space, action, lambda box, value: self.changed(value, box))

    def changed(self, action: Array, box: spaces.Box) -> Array:
        """The changed action, before it is clipped."""
        raise NotImplementedError


class ActuatorGain(_ActuatorShift):
    """Each actuator does more or less than commanded, at random for each episode."""

    name, unit, severities = "actuator gain", "more or less by (share)", (0.1, 0.3, 0.5)

    def changed(self, action: Array, box: spaces.Box) -> Array:
        return action * (1 + self.sides * min(self.severity, 1.0))


class ActuatorOffset(_ActuatorShift):
    """Each actuator has a constant offset, random for each episode."""

    name, unit, severities = "actuator offset", "off by (share of half the range)", (0.05, 0.1, 0.2)

    def changed(self, action: Array, box: spaces.Box) -> Array:
        return action + self.sides * self.severity * scale(box)


# -- worlds of this package


def settings_of(env: Env) -> tuple[str, ...]:
    """The options that a reset takes in a world of this package; empty for other environments."""
    settings = getattr(env.unwrapped, "settings", None)
    return tuple(field.name for field in fields(settings)) if is_dataclass(settings) else ()


class WorldShift(Shift):
    """A shift of one setting of a world. Subclasses give its name and value."""

    setting: ClassVar[str]

    def check(self) -> None:
        if self.setting not in settings_of(self.env):
            raise self.refuse(f"it has no setting {self.setting!r}")

    def shifted_reset(self, seed: int | None, options: dict[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        return super().shifted_reset(seed, {self.setting: self.value(), **(options or {})})

    def value(self) -> Any:
        """The value of the setting."""
        return self.severity

    def chosen(self, values: tuple[str, ...]) -> str:
        """The value whose number, from 1, is the severity."""
        at = round(self.severity)
        if at > len(values):
            raise self.refuse(f"severity {at} of {len(values)}: {', '.join(values)}")
        return values[at - 1]


class Season(WorldShift):
    """Another season, or a lawn in town ("urban"). ``unit`` names the season of each severity."""

    name, unit, severities, setting = "season", "1 to 3, the world's seasons", (1.0, 2.0, 3.0), "season"

    def check(self) -> None:
        super().check()
        driven = "track" in settings_of(self.env)
        self.seasons = ("winter", "dusk", "rain") if driven else ("autumn", "winter", "urban")
        first, *others = self.seasons
        self.unit = ", ".join([f"1 is {first}", *(f"{i} {season}" for i, season in enumerate(others, 2))])

    def value(self) -> str:
        return self.chosen(self.seasons)


class Wind(WorldShift):
    """Wind from a random direction, with gusts."""

    name, unit, severities, setting = "wind", "m/s", (2.0, 4.0, 6.0), "wind"


class Distance(WorldShift):
    """The target is farther away."""

    name, unit, severities, setting = "distance", "m", (15.0, 20.0, 30.0), "distance"


class MovingTarget(WorldShift):
    """The target moves back and forth."""

    name, unit, severities, setting = "moving target", "m/s", (0.5, 1.0), "target_speed"


class Decoys(WorldShift):
    """There are more decoys."""

    name, unit, severities, setting = "decoys", "number", (4.0, 8.0), "decoys"

    def value(self) -> int:
        return round(self.severity)


class OtherTrack(WorldShift):
    """A mountain road, with tighter bends and higher hills."""

    name, unit, severities, setting = "other track", "1: mountain", (1.0,), "track"

    def value(self) -> str:
        return self.chosen(("mountain",))


class WornMarkings(WorldShift):
    """The road's markings are worn off in places."""

    name, unit, severities, setting = "worn markings", "worn (share)", (0.3, 0.6, 0.9), "worn"


ANYWHERE: tuple[type[Shift], ...] = (
    SensorNoise,
    DroppedFrames,
    Delay,
    Jitter,
    SlowerControl,
    FasterControl,
    SilentSensor,
    Occlusion,
    Brightness,
    Contrast,
    Hue,
    Fog,
    RotatedCamera,
    ActuatorGain,
    ActuatorOffset,
)
"""Shifts of any environment. Some need images, continuous actions or a control interval."""

WORLDS: tuple[type[Shift], ...] = (Season, Wind, Distance, MovingTarget, Decoys, OtherTrack, WornMarkings)
"""Shifts of the worlds of this package."""

ALL = (*ANYWHERE, *WORLDS)


def shift_kinds(shifts: Sequence[tuple[str, float]]) -> list[tuple[type[Shift], float]]:
    """The classes of shifts that are given by name, with their severities.

    Raises:
        InputError: a name is unknown.
    """
    known = {kind.__name__: kind for kind in ALL}
    for name, _ in shifts:
        if name not in known:
            raise InputError(f"there is no shift {name!r}; there are {', '.join(known)}")
    return [(known[name], severity) for name, severity in shifts]


def possible(env: Env) -> tuple[type[Shift], ...]:
    """The shifts that suit an environment."""
    found = []
    for shift in ALL:
        try:
            shift(env, shift.severities[-1])
        except InputError:
            continue
        found.append(shift)
    return tuple(found)
