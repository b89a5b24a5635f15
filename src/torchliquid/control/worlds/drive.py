"""``torchliquid/KeepLane-v0``: a car that must stay in its lane for a lap. The policy sees only a front camera.

The task of Lechner et al., Nature Machine Intelligence 2 (2020), 642-652.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, pi, sin
from typing import Any

import numpy as np

from torchliquid.control.worlds import pictures
from torchliquid.control.worlds.car import FRONT, GRAVITY, LOCK, REAR, WIDTH, Car
from torchliquid.control.worlds.caster import Air, Camera, Panels, Texture, Tint, View, grain, paint_sky
from torchliquid.control.worlds.track import KINDS, LANE, Track
from torchliquid.control.worlds.world import World, at_least, one_of
from torchliquid.errors import InputError

Array = np.ndarray
EYE = 1.3
"""Metres of the camera above the road."""

DOWN = 0.14
"""Slope of the camera's downward view."""

FASTEST = 12.0
"""Speed on straight road, in m/s."""

DEPTHS = np.geomspace(1.5, 150.0, 140)
"""Distances ahead, in metres, at which the height of the land is known; it is interpolated between them."""


@dataclass(frozen=True)
class Weather:
    """The look and the friction of a season.

    Attributes:
        grip: friction of the tyres.
        land: texture of the ground beside the road.
        zenith, horizon, light: colours of the sky above and at the horizon, and of the light.
        half: metres of air in which half of a colour is lost.
        lamps: light that the headlights add.
        hidden: share of the markings that is not visible.
    """

    grip: float
    land: str
    zenith: Tint
    horizon: Tint
    light: Tint = (1.0, 1.0, 1.0)
    half: float = 120.0
    lamps: float = 0.0
    hidden: float = 0.0


SEASONS = {
    "summer": Weather(0.95, "summer", (0.36, 0.58, 0.9), (0.80, 0.88, 0.94)),
    "winter": Weather(0.45, "winter", (0.7, 0.76, 0.84), (0.84, 0.87, 0.92), (0.95, 0.97, 1.02), 70, hidden=0.25),
    "dusk": Weather(0.95, "summer", (0.1, 0.13, 0.26), (0.5, 0.36, 0.3), (0.3, 0.29, 0.36), 90, 0.9),
    "rain": Weather(0.65, "summer", (0.5, 0.54, 0.58), (0.62, 0.65, 0.68), (0.68, 0.7, 0.73), 45, 0.15),
}


@dataclass(frozen=True)
class DriveScene:
    """How a scene is drawn.

    Attributes:
        season: ``"summer"``, ``"winter"``, ``"dusk"`` or ``"rain"``.
        track: the family of roads: ``"country"``, or ``"mountain"`` with tighter bends and higher hills.
        worn: share of the markings that is worn off, 0 to 1.
    """

    season: str = "summer"
    track: str = "country"
    worn: float = 0.0

    def __post_init__(self) -> None:
        one_of("season", self.season, tuple(SEASONS))
        one_of("track", self.track, tuple(KINDS))
        at_least("worn", self.worn, 0.0)
        if self.worn > 1:
            raise InputError(f"worn is {self.worn}, a share; give a number from 0 to 1")


class KeepLane(World[DriveScene]):
    """Keep the right lane for a lap. An action is the steering, positive to the left; the car controls its own speed.

    An episode succeeds after a lap. It counts as crashed if a wheel leaves the lane.

    Args:
        render_mode: ``"rgb_array"`` for :meth:`render`.
        settings: as :class:`DriveScene`.
    """

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        super().__init__(DriveScene(**settings), 1, render_mode)

    def begin(self) -> None:
        rng = self.np_random
        self.weather = SEASONS[self.scene.season]
        self.track = Track(self.scene.track, rng)
        self.speeds = self._speeds()
        self.along = rng.uniform(0, self.track.length)
        off, turned = rng.uniform(-0.3, 0.3), rng.uniform(-0.04, 0.04)
        start, next_ = self.track.lane(self.along), self.track.lane(self.along + 1)
        heading = atan2(*(next_ - start)[::-1])
        x, y = start + off * np.array([-sin(heading), cos(heading)])
        self.car = Car(float(x), float(y), heading + turned, float(self._speed()))
        self.sun = rng.uniform(0.85, 1.1)
        self.rain = int(rng.integers(2**31))
        self.patches = rng.uniform(size=4096)
        self._plant()
        self.driven, self.seconds, self.steps, self.crashed = 0.0, 0.0, 0, False
        self.along, self.offset = self._where(None)

    def _speeds(self) -> Array:
        """The car's speed at each metre of the road: lower in bends, and early enough before them."""
        track, hold = self.track, self.weather.grip * GRAVITY
        slopes = track.slope(track.points)
        leans = abs(slopes[:, 0] * track.tangents[:, 1] - slopes[:, 1] * track.tangents[:, 0])
        sideways = (0.55 * hold - GRAVITY * leans).clip(0.12 * hold, 3.0)
        speeds = np.minimum(FASTEST, np.sqrt(sideways / np.maximum(abs(track.bends), 1e-6)))
        braking = min(2.0, 0.2 * hold)
        for i in range(2 * len(speeds) - 1, -1, -1):
            behind = speeds[(i + 1) % len(speeds)]
            speeds[i % len(speeds)] = min(speeds[i % len(speeds)], (behind**2 + 2 * braking * track.spacing) ** 0.5)
        return np.asarray(speeds)

    def _speed(self) -> float:
        return float(self.speeds[int(self.along / self.track.spacing) % len(self.speeds)])

    def _where(self, near: float | None) -> tuple[float, float]:
        along, left = self.track.where(np.array([self.car.x, self.car.y]), near)
        return along, left + LANE / 2

    def _plant(self) -> None:
        """The trees beside the road and the posts at its edges."""
        rng, track = self.np_random, self.track
        season = "winter" if self.scene.season == "winter" else "summer"
        low, high = track.points.min(0) - 40, track.points.max(0) + 40
        spots = rng.uniform(low, high, (900, 2))
        heights, kinds = rng.uniform(5, 11, 900), rng.integers(8, size=900)
        _, left, _ = track.land(spots[:, 0], spots[:, 1])
        trees = abs(left) > 7.0
        trees &= (abs(left) < 90) | (rng.uniform(size=900) < 0.5)
        spots, heights = spots[trees], heights[trees]
        textures = tuple(
            pictures.conifer(season, k) if k < 4 else pictures.broadleaf(season, k) for k in kinds[trees].tolist()
        )
        at = np.arange(0, len(track.points), 25)
        normals = np.stack([-track.tangents[at, 1], track.tangents[at, 0]], 1)
        posts = np.concatenate([track.points[at] + side * (LANE + 1.2) * normals for side in (-1, 1)])
        posts_texture: tuple[Texture, ...] = (pictures.marker_post(),) * len(posts)
        self.panels = Panels.facing(
            np.c_[spots, track.height(spots) - 0.1], np.stack([heights / 2, heights], 1), textures
        ) + Panels.facing(np.c_[posts, track.height(posts)], np.tile([0.16, 1.0], (len(posts), 1)), posts_texture)

    def advance(self, action: Array) -> tuple[float, bool, bool]:
        slope = self.track.slope(np.array([self.car.x, self.car.y]))
        speed = self._speed()
        self.car.drive(float(action[0]) * LOCK, speed, self.weather.grip, (float(slope[0]), float(slope[1])), self.dt)
        self.steps += 1
        self.seconds += self.dt
        before = self.along
        self.along, self.offset = self._where(before)
        gained = (self.along - before + self.track.length / 2) % self.track.length - self.track.length / 2
        self.driven += gained
        self.crashed = abs(self.offset) > (LANE - WIDTH) / 2
        ended = self.crashed or self.lapped
        late = self.seconds > self.track.length / 2
        reward = gained / 10 - 0.1 * self.offset**2 + 10.0 * self.lapped - 10.0 * self.crashed
        return float(reward), ended, bool(late and not ended)

    @property
    def lapped(self) -> bool:
        return self.driven >= self.track.length and not self.crashed

    def situation(self) -> dict[str, Any]:
        place = np.array([self.car.x, self.car.y])
        height = float(self.track.height(place))
        return {
            "position": np.append(place, height),
            "is_success": self.lapped,
            "crashed": self.crashed,
            "offset": self.offset,
            "lap": self.driven / self.track.length,
        }

    def look(self, camera: Camera) -> Array:
        weather, car = self.weather, self.car
        c, s = cos(car.heading), sin(car.heading)
        place = np.array([car.x + 0.6 * c, car.y + 0.6 * s])
        eye = np.append(place, self.track.height(place) + EYE)
        # Pitch moves the picture up or down, as in a shift lens, so columns stay vertical.
        pitch = float(self.track.slope(place) @ [c, s]) - DOWN
        view = View(camera, eye, np.array([[c, -s, 0], [s, c, 0], [pitch, 0, 1]]))
        zenith, horizon, light = np.array([weather.zenith, weather.horizon, weather.light]) * self.sun
        air = Air(horizon, weather.half)
        dark = 0.35 * pictures.ground(weather.land)[0].mean((0, 1))
        paint_sky(view, zenith, air, pictures.skyline("summer"), dark * light)
        depth = self._depths(view)
        seen = np.isfinite(depth)
        view.colours[seen] = self._ground(view, depth[seen], seen, light, air)
        view.draw(self.panels, air, light + 0.25 * weather.lamps, depth)
        if self.scene.season == "rain":
            self._drops(view)
        return camera.pixels(view.colours)

    def _depths(self, view: View) -> Array:
        """(rows, columns) metres ahead at which each ray meets the land, infinite where it does not.

        In each column of the picture the near hides the far: of the slopes to the land's samples the highest so far is
        kept, and each ray's place among these is found by bisection.
        """
        columns = view.rays.shape[2]
        x = view.eye[0] + DEPTHS[:, None] * view.rays[0, 0]
        y = view.eye[1] + DEPTHS[:, None] * view.rays[1, 0]
        height, _, _ = self.track.land(x, y)
        slopes = (height - view.eye[2]) / DEPTHS[:, None]
        horizon = np.maximum.accumulate(slopes, 0)
        apart = 100.0 * np.arange(columns)
        rays = view.rays[2].astype(float)
        found = np.searchsorted((horizon + apart).T.ravel(), (rays + apart).T.ravel()).reshape(columns, -1).T
        k = (found - len(DEPTHS) * np.arange(columns)).clip(1, len(DEPTHS))
        sky = k == len(DEPTHS)
        k = np.minimum(k, len(DEPTHS) - 1)
        column = np.arange(columns)
        low, high = horizon[k - 1, column], slopes[k, column]
        share = ((rays - low) / np.maximum(high - low, 1e-9)).clip(0, 1)
        near, far = 1 / DEPTHS[k - 1], 1 / DEPTHS[k]
        return np.asarray(np.where(sky, np.inf, 1 / (near + (far - near) * share)))

    def _ground(self, view: View, depth: Array, seen: Array, light: Array, air: Air) -> Array:
        """(N, 3) the colours of the land and the road on it, at the rays that meet them."""
        weather = self.weather
        x = view.eye[0] + depth * view.rays[0][seen]
        y = view.eye[1] + depth * view.rays[1][seen]
        _, left, along = self.track.land(x, y)
        colours = grain(pictures.ground(weather.land), x, y, depth, 4.0)
        road = np.flatnonzero(abs(left) < LANE + 1.4)
        left, along, far = left[road], along[road], depth[road]
        blur = np.maximum(0.03, far * 0.012)[:, None]
        off = abs(left)[:, None]
        asphalt = grain(pictures.ground("asphalt"), x[road], y[road], far, 4.0)
        verge = 0.5 * colours[road] + 0.5 * np.array([0.5, 0.47, 0.42], np.float32)
        share = ((LANE + 1.2 - off) / blur + 0.5).clip(0, 1)
        colours[road] += (verge - colours[road]) * share
        share = ((LANE + 0.45 - off) / blur + 0.5).clip(0, 1)
        if self.scene.season == "winter":  # the wheels keep tracks clear
            between = abs(abs(off - LANE / 2) - 0.75)
            share = share * (0.45 + 0.5 * ((0.65 - between) / 0.3).clip(0, 1))
        colours[road] += (asphalt - colours[road]) * share
        there = self._painted(along)[:, None]
        edge = ((0.09 - abs(off - LANE)) / blur + 0.5).clip(0, 1) * (0.18 / np.maximum(blur, 0.18))
        dash = (along % 9.0 < 4.0)[:, None] * ((0.08 - off) / blur + 0.5).clip(0, 1) * (0.16 / np.maximum(blur, 0.16))
        paint = np.maximum(edge, dash) * there
        colours[road] += (np.float32(0.93) - colours[road]) * paint
        shine = light + weather.lamps * np.exp2(-depth / 14)[:, None]
        colours = colours * shine
        return np.asarray(colours + (air.colour - colours) * air.share(depth)[:, None])

    def _painted(self, along: Array) -> Array:
        """How much of the markings is left along the road. Worn markings have gaps of some metres."""
        gone = 1 - (1 - self.scene.worn) * (1 - self.weather.hidden)
        patch = self.patches[(along / 2.5).astype(np.intp) % len(self.patches)]
        return np.where(patch < gone, 0.08, 1 - 0.4 * gone)

    def _drops(self, view: View) -> None:
        """Streaks of rain, different in each frame."""
        rng = np.random.default_rng([self.rain, self.steps])
        rows, columns = view.colours.shape[:2]
        unit = rows // 48
        for row, column, long in zip(
            rng.integers(-6 * unit, rows, 70), rng.integers(0, columns, 70), rng.integers(3, 9, 70) * unit, strict=True
        ):
            part = view.colours[max(row, 0) : row + long, column : column + max(unit // 2, 1)]
            part += 0.35 * (np.float32(0.85) - part)
        view.colours += rng.normal(0, 0.03, (rows, columns, 1)).astype(np.float32)

    def expert(self) -> Array:
        """Follow the bend 0.15 s ahead, and correct the distance from the middle of the lane and the direction."""
        car = self.car
        soon = int((self.along + 0.15 * car.ahead) / self.track.spacing) % len(self.track.points)
        bend = self.track.bends[soon] / (1 + self.track.bends[soon] * LANE / 2)
        along = self.track.tangents[soon]
        wrong = atan2(along[1], along[0]) - car.heading - 0.5 * atan2(car.left, car.ahead)
        wrong = (wrong + pi) % (2 * pi) - pi
        steering = (FRONT + REAR) * bend + 0.8 * wrong - 0.12 * self.offset - 0.1 * (car.turn - car.ahead * bend)
        return np.array([np.clip(steering / LOCK, -1, 1)], np.float32)
