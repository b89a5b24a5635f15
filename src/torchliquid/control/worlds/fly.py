"""``torchliquid/FlyToTarget-v0``: a quadrotor among trees that must find a red ball and fly to it.

The task of Chahine et al., Science Robotics 8 (2023), adc8892. The policy sees only a front camera, and learns in a
forest in summer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from torchliquid.control.worlds import pictures
from torchliquid.control.worlds.caster import Air, Camera, Panels, Texture, Tint, View, grain, paint_sky
from torchliquid.control.worlds.quadrotor import Obstacle, Quadrotor
from torchliquid.control.worlds.world import World, at_least, one_of

Array = np.ndarray
SEASONS = ("summer", "autumn", "winter", "urban")
FASTEST = np.array([2.5, 1.5, 1.0])
"""Velocity for an action of 1, in m/s: forward, to the side and up."""

TURN = 1.5
"""Yaw rate for an action of 1, in rad/s."""

REACHED = 1.5
"""Distance at which the target counts as reached, in metres."""

CLEAR = 0.75
"""Metres on either side of the line from the start to the target in which no trunk stands."""

SWAY = 1.5
"""Metres by which a moving target moves to either side."""

RED = (214, 36, 40)
OTHERS = ((40, 84, 206), (238, 196, 40), (238, 238, 236), (120, 52, 150), (30, 150, 150))


@dataclass(frozen=True)
class FlyScene:
    """How a scene is drawn.

    Attributes:
        season: ``"summer"``, ``"autumn"``, ``"winter"``: a forest; ``"urban"``: a lawn among houses.
        distance: metres from the start to the target; None: 6 to 12, at random.
        decoys: number of balls in other colours.
        trees: number of trees within 30 m; the lawn has a tenth of them.
        fog: share of a colour that is lost in 10 m of air; None: clear air or mist, at random.
        wind: m/s, from a random direction, with gusts of a third.
        target_speed: speed of the target in m/s. It moves back and forth, across the line from the start.
    """

    season: str = "summer"
    distance: float | None = None
    decoys: int = 2
    trees: int = 240
    fog: float | None = None
    wind: float = 0.0
    target_speed: float = 0.0

    def __post_init__(self) -> None:
        one_of("season", self.season, SEASONS)
        at_least("distance", self.distance, 3.0)
        for name in ("decoys", "trees", "wind", "target_speed", "fog"):
            at_least(name, getattr(self, name), 0.0)


@dataclass(frozen=True)
class Look:
    """The colours of a season: the sky, the horizon, what stands on it, and the sunlight."""

    zenith: Tint
    horizon: Tint
    skyline: Tint
    light: Tint = (1.0, 1.0, 1.0)


LOOKS = {
    "summer": Look((0.36, 0.58, 0.9), (0.80, 0.88, 0.94), (0.2, 0.34, 0.16)),
    "autumn": Look((0.55, 0.66, 0.8), (0.86, 0.85, 0.8), (0.44, 0.3, 0.14), (1.04, 0.97, 0.86)),
    "winter": Look((0.7, 0.76, 0.84), (0.85, 0.88, 0.92), (0.3, 0.34, 0.38), (0.94, 0.97, 1.04)),
    "urban": Look((0.4, 0.6, 0.88), (0.82, 0.87, 0.9), (0.5, 0.48, 0.46)),
}


class FlyToTarget(World[FlyScene]):
    """Fly to the red ball. An action is the velocity forward, to the left and up, and the yaw rate to the left.

    An episode succeeds within 1.5 m of the ball. It counts as crashed if the quadrotor touches anything, turns over, or
    is 10 m farther from the ball than at the start. The time limit is 10 s plus the time for the distance at 0.6 m/s.

    Args:
        render_mode: ``"rgb_array"`` for :meth:`render`.
        settings: as :class:`FlyScene`.
    """

    def __init__(self, render_mode: str | None = None, **settings: Any) -> None:
        super().__init__(FlyScene(**settings), 4, render_mode)

    def begin(self) -> None:
        rng, scene = self.np_random, self.scene
        near = rng.uniform(6, 12)
        self.distance = near if scene.distance is None else scene.distance
        self.yaw = rng.uniform(-np.pi, np.pi)
        bearing = self.yaw + rng.uniform(-0.45, 0.45)
        height = rng.uniform(1.3, 1.7)
        self.home = np.append(self.distance * np.array([np.cos(bearing), np.sin(bearing)]), rng.uniform(1.3, 1.8))
        self.across = np.array([-np.sin(bearing), np.cos(bearing)])
        self.sun = rng.uniform(0.8, 1.15)
        mist = rng.uniform(0.02, 0.18)
        self.fog = mist if scene.fog is None else min(scene.fog, 0.95)
        side = rng.uniform(-np.pi, np.pi)
        self.breeze = scene.wind * np.array([np.cos(side), np.sin(side), 0.0])
        self.gust = np.zeros(3)
        self.phase = rng.uniform(0, 2 * np.pi)
        self._place_decoys()
        self._place_obstacles()
        self.seconds, self.crashed, self.target = 0.0, False, self._target_at(0.0)
        self.craft = Quadrotor(self.obstacles, (0.0, 0.0, height), self.yaw)
        self.far = self._far()

    def _free(self, places: Array, clear: float) -> Array:
        """Which positions (N, 2) are off the line from the start to the target."""
        to = self.home[:2]
        along = (places @ to / (to @ to)).clip(0, 1)
        sway = np.where(along > 0.5, SWAY if self.scene.target_speed else 0.0, 0.0)
        return np.asarray(np.hypot(*(places - along[:, None] * to).T) > clear + sway)

    def _place_decoys(self) -> None:
        rng, colours = self.np_random, self.np_random.permutation(len(OTHERS))
        places: list[Array] = []
        tries = 0
        while len(places) < self.scene.decoys and tries < 1000:
            tries += 1
            angle, out = rng.uniform(-np.pi, np.pi), rng.uniform(2.5, 7)
            place = self.home[:2] + out * np.array([np.cos(angle), np.sin(angle)])
            apart = all(np.hypot(*(place - one)) > 1.5 for one in places)
            if apart and np.hypot(*place) > 3 and self._free(place[None], 1.6)[0]:
                places.append(place)
        self.decoys = [
            (np.append(place, rng.uniform(1.2, 1.8)), OTHERS[colours[i % len(OTHERS)]])
            for i, place in enumerate(places)
        ]

    def _place_obstacles(self) -> None:
        rng, season = self.np_random, self.scene.season
        urban = season == "urban"
        count = self.scene.trees // 10 if urban else self.scene.trees
        middle, half = self.home[:2] / 2, 24 + self.distance / 2
        trees = middle + rng.uniform(-half, half, (4 * count, 2))
        trees = trees[self._free(trees, CLEAR + 0.3) & (np.hypot(*trees.T) > 1.8)]
        keep = np.array([self.home[:2], *(place[:2] for place, _ in self.decoys)])
        crowded = (np.hypot(*(trees[:, None] - keep).T) < 1.7).any(0)
        apart = np.hypot(*(trees[:, None] - trees).T) > 1.7
        chosen: list[int] = []
        for i in np.flatnonzero(~crowded).tolist():
            if len(chosen) < count and apart[i, chosen].all():
                chosen.append(i)
        heights, kinds_drawn = rng.uniform(6.5, 10, len(trees))[chosen], rng.integers(8, size=len(trees))[chosen]
        places = np.c_[trees[chosen], np.zeros(len(chosen))]
        kinds = tuple(
            pictures.conifer(season, kind)
            if kind < 3 and not urban
            else pictures.broadleaf("summer" if urban else season, kind)
            for kind in kinds_drawn.tolist()
        )
        self.obstacles = [
            Obstacle((x, y), (0.027 * h, h)) for (x, y, _), h in zip(places.tolist(), heights, strict=True)
        ]
        self.trunks = np.array([(*one.place, one.size[0]) for one in self.obstacles]).reshape(-1, 3)
        self.panels = Panels.facing(places, np.stack([heights / 2, heights], 1), kinds)
        if urban:
            self._build_houses(middle)
        bushes = middle + rng.uniform(-half, half, (30, 2))
        bushes = bushes[self._free(bushes, 2.0)]
        sizes = rng.uniform(0.5, 1.1, (len(bushes), 1)) * np.ones((1, 2))
        kinds = tuple(pictures.bush("summer" if urban else season, i % 6) for i in range(len(bushes)))
        self.panels += Panels.facing(np.c_[bushes, np.zeros(len(bushes))], sizes, kinds)

    def _build_houses(self, middle: Array) -> None:
        """A ring of houses around the lawn that face it."""
        rng, count = self.np_random, 14
        out = 20 + self.distance
        angles = (np.arange(count) + rng.uniform(-0.2, 0.2, count)) * 2 * np.pi / count
        places = middle + out * np.stack([np.cos(angles), np.sin(angles)], 1)
        width = 2 * np.pi * out / count * 0.8
        heights = rng.uniform(7, 14, count)
        edges = np.stack([-np.sin(angles), np.cos(angles)], 1)
        fronts = tuple(pictures.house(int(i)) for i in rng.integers(0, 10, count))
        self.panels += Panels(
            np.c_[places, np.zeros(count)], np.stack([np.full(count, width), heights], 1), fronts, edges
        )
        behind = middle + (out + 3) * np.stack([np.cos(angles), np.sin(angles)], 1)
        self.obstacles += [
            Obstacle((float(x), float(y)), (3.0, width / 2, float(h)), float(angle))
            for (x, y), h, angle in zip(behind, heights, angles, strict=True)
        ]

    def _target_at(self, seconds: float) -> Array:
        speed = self.scene.target_speed
        sway = SWAY * np.sin(self.phase + speed * seconds / SWAY) if speed else 0.0
        return np.append(self.home[:2] + sway * self.across, self.home[2])

    def advance(self, action: Array) -> tuple[float, bool, bool]:
        ahead, left, up = (action[:3] * FASTEST).tolist()
        noise = self.np_random.normal(size=3)
        if self.scene.wind:
            keep = np.exp(-self.dt / 0.5)
            self.gust = keep * self.gust + np.sqrt(1 - keep * keep) * noise * self.scene.wind / 3
        self.craft.fly((ahead, left, up), float(action[3]) * TURN, self.breeze + self.gust, self.dt)
        self.seconds += self.dt
        self.target = self._target_at(self.seconds)
        before, self.far = self.far, self._far()
        strayed = self.far > self.distance + 10
        self.crashed = self.craft.touches or self.craft.overturned or strayed
        reward = before - self.far + 10.0 * self.reached - 10.0 * self.crashed
        late = self.seconds > 10 + self.distance / 0.6
        ended = self.reached or self.crashed
        return float(reward), ended, bool(late and not ended)

    def _far(self) -> float:
        return float(np.linalg.norm(self.target - self.craft.place))

    @property
    def reached(self) -> bool:
        return self.far < REACHED and not self.crashed

    def situation(self) -> dict[str, Any]:
        return {"position": self.craft.place, "is_success": self.reached, "crashed": self.crashed}

    def look(self, camera: Camera) -> Array:
        look = LOOKS[self.scene.season]
        zenith, horizon, ridge, light = map(np.array, (look.zenith, look.horizon, look.skyline, look.light))
        light = light * self.sun
        air = Air((horizon * (0.4 + 0.6 * self.sun)).clip(0, 1), 10 / max(-np.log2(1 - self.fog), 1e-3))
        view = View(camera, self.craft.place, self.craft.attitude)
        paint_sky(view, zenith * self.sun, air, pictures.skyline(self.scene.season), ridge * light)
        down = view.rays[2] < -0.01
        rays = view.rays[:, down]
        along = np.float32(view.eye[2]) / -rays[2]
        x, y = np.float32(view.eye[0]) + along * rays[0], np.float32(view.eye[1]) + along * rays[1]
        colours = grain(pictures.ground(self.scene.season), x, y, along, 3.0) * light.astype(np.float32)
        fade = air.share(along)[:, None]
        view.colours[down] = colours + (air.colour - colours) * fade
        view.draw(self.panels + self._balls(), air, light)
        return camera.pixels(view.colours)

    def _balls(self) -> Panels:
        balls = [(self.target, RED), *self.decoys]
        places = np.array([place for place, _ in balls])
        size, stick = 0.9, 0.08
        stands = np.c_[places[:, :2], np.zeros(len(places))]
        sticks = np.stack([np.full(len(places), stick), places[:, 2] - 0.4 * size], 1)
        wood: tuple[Texture, ...] = (pictures.pole((120, 104, 84)),) * len(places)
        return Panels.facing(stands, sticks, wood) + Panels.facing(
            places - [0, 0, size / 2],
            np.full((len(places), 2), size),
            tuple(pictures.ball(colour) for _, colour in balls),
        )

    def expert(self) -> Array:
        """Fly towards the target and around trunks that are near the line, facing the target."""
        place, yaw = self.craft.place, self.craft.yaw
        to = self.target - place
        far = np.hypot(*to[:2])
        heading = np.arctan2(to[1], to[0])
        turn = (heading - yaw + np.pi) % (2 * np.pi) - np.pi
        way = heading + self._dodge(place[:2], heading, far)
        speed = min(FASTEST[0], 0.6 + 0.5 * far) * max(np.cos(turn), 0.2)
        along = speed * np.array([np.cos(way - yaw), np.sin(way - yaw)])
        action = np.array([*(along / FASTEST[:2]), 1.2 * to[2] / FASTEST[2], 2.0 * turn / TURN])
        return action.clip(-1, 1).astype(np.float32)

    def _dodge(self, place: Array, heading: float, far: float) -> float:
        """The angle by which to turn away from the heading to pass the nearest trunk in the way."""
        ahead = np.array([np.cos(heading), np.sin(heading)])
        to = self.trunks[:, :2] - place
        along, side = to @ ahead, ahead[0] * to[:, 1] - ahead[1] * to[:, 0]
        short = self.trunks[:, 2] + 0.55 - abs(side)
        in_way = np.flatnonzero((along > 0) & (along < min(4.0, far)) & (short > 0))
        if not len(in_way):
            return 0.0
        i = in_way[along[in_way].argmin()]
        return float(-np.copysign(np.arcsin(min(short[i] / max(along[i], 0.4), 1.0)), side[i]))
