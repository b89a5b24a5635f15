"""A random closed road over hills, and the land around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

Array = np.ndarray
LANE = 3.5
"""Width of a lane in metres. There is one on each side of the centre line, and traffic drives on the right."""

BEYOND = 130.0
"""Metres of land outside the road's loop."""

NEARBY = 14.0
"""Distance from the centre line, in metres, within which the position relative to the road is stored."""


@dataclass(frozen=True)
class Kind:
    """A family of random tracks.

    Attributes:
        radius: radius of the loop, in metres.
        waves: numbers of in-and-out waves along the loop.
        swing: size of the waves, as a share of the radius.
        tightest: smallest radius of a bend, in metres.
        hills: approximate height of hills of a hundred metres' length, in metres.
    """

    radius: float
    waves: tuple[int, ...]
    swing: float
    tightest: float
    hills: float


KINDS = {
    "country": Kind(85, (2, 3, 4), 0.22, 28, 1.4),
    "mountain": Kind(70, (2, 3, 5, 7), 0.3, 14, 2.2),
}


class Track:
    """One road.

    Args:
        kind: one of :data:`KINDS`.
        rng: source of random numbers.

    Attributes:
        points: (N, 2) the centre line, one metre apart, in driving direction.
        tangents: (N, 2) unit vectors along it.
        bends: (N,) curvature in 1 / metres, positive to the left.
        length: length of a lap in metres.
    """

    def __init__(self, kind: str, rng: np.random.Generator) -> None:
        self.kind = KINDS[kind]
        self.points = self._loop(rng)
        self.length = len(self.points) * self.spacing
        self.tangents, self.bends = _course(self.points, self.spacing)
        lengths = rng.uniform(70, 160, 6)
        angles, self._phases = rng.uniform(0, 2 * np.pi, (2, 6))
        self._waves = 2 * np.pi / lengths * np.stack([np.cos(angles), np.sin(angles)])
        self._heights = self.kind.hills / 2.5 * lengths / 100
        self._lay_out()

    def _loop(self, rng: np.random.Generator) -> Array:
        round_ = np.arange(4096) / 4096 * 2 * np.pi
        phases, sizes = rng.uniform(0, 2 * np.pi, len(self.kind.waves)), rng.uniform(0.4, 1, len(self.kind.waves))
        swing = self.kind.swing
        while True:
            swings = swing * sizes[:, None] * np.sin(np.outer(self.kind.waves, round_) + phases[:, None])
            out = self.kind.radius * (1 + (swings / np.sqrt(self.kind.waves)[:, None]).sum(0))
            dense = np.stack([out * np.cos(round_), out * np.sin(round_)], 1)
            steps = np.hypot(*np.diff(dense, axis=0, append=dense[:1]).T)
            along = np.concatenate([[0], steps.cumsum()])
            count = round(along[-1])
            self.spacing = along[-1] / count
            at = np.arange(count) * self.spacing
            points = np.stack([np.interp(at, along, np.append(line, line[0])) for line in dense.T], 1)
            if abs(_course(points, self.spacing)[1]).max() < 1 / self.kind.tightest:
                return points
            swing *= 0.9

    def height(self, places: Array) -> Array:
        """(...,) height of the land in metres at positions (..., 2)."""
        return np.asarray((self._heights * np.sin(places @ self._waves + self._phases)).sum(-1))

    def slope(self, places: Array) -> Array:
        """(..., 2) slope of the land along x and y."""
        return np.asarray((self._heights * np.cos(places @ self._waves + self._phases)) @ self._waves.T)

    def _lay_out(self) -> None:
        """Compute the land on a grid of one metre: height, slope, and position relative to the road."""
        self._low = np.floor(self.points.min(0) - BEYOND)
        wide, high = np.ceil(self.points.max(0) + BEYOND - self._low).astype(int)
        xs, ys = self._low[0] + 0.5 + np.arange(wide), self._low[1] + 0.5 + np.arange(high)
        middles = np.stack(np.meshgrid(xs, ys), -1)
        self._land = np.zeros((high, wide, 7), np.float32)
        # Sines of sums from the sines of x and y alone.
        for wave, phase, tall in zip(self._waves.T, self._phases, self._heights, strict=True):
            sx, cx = np.sin(wave[0] * xs + phase), np.cos(wave[0] * xs + phase)
            sy, cy = np.sin(wave[1] * ys)[:, None], np.cos(wave[1] * ys)[:, None]
            rise = tall * (cx * cy - sx * sy)
            self._land[..., 0] += tall * (sx * cy + cx * sy)
            self._land[..., 1] += wave[0] * rise
            self._land[..., 2] += wave[1] * rise
        self._land[..., 3] = 99.0
        road = cKDTree(self.points)
        flat = middles.reshape(-1, 2)
        near, nearest = road.query(flat, distance_upper_bound=NEARBY)
        known = np.isfinite(near)
        at = nearest[known]
        off = flat[known] - self.points[at]
        tangents = self.tangents[at]
        land = self._land.reshape(-1, 7)
        land[known, 3] = tangents[:, 0] * off[:, 1] - tangents[:, 1] * off[:, 0]
        land[known, 4] = at * self.spacing + (tangents * off).sum(1)
        land[known, 5:] = tangents

    def land(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """At positions: the height, metres left of the centre line (99 where it is far), and metres along the road."""
        column, row = np.floor(x - self._low[0]), np.floor(y - self._low[1])
        dx, dy = x - (column + self._low[0] + 0.5), y - (row + self._low[1] + 0.5)
        high, wide = self._land.shape[:2]
        square = row.clip(0, high - 1).astype(np.intp) * wide + column.clip(0, wide - 1).astype(np.intp)
        found = self._land.reshape(-1, 7).take(square, axis=0)
        tx, ty = found[..., 5], found[..., 6]
        height = found[..., 0] + found[..., 1] * dx + found[..., 2] * dy
        return height, found[..., 3] + tx * dy - ty * dx, found[..., 4] + tx * dx + ty * dy

    def where(self, place: Array, near: float | None = None) -> tuple[float, float]:
        """The position of a point relative to the road: metres along it, and metres left of its centre line.

        Args:
            place: (2,) metres.
            near: a previous position along the road, to search near it; None: unknown.
        """
        if near is None:
            candidates = np.arange(len(self.points))
        else:
            candidates = (int(near / self.spacing) + np.arange(-8, 20)) % len(self.points)
        gaps = self.points[candidates] - place
        i = int(candidates[(gaps * gaps).sum(1).argmin()])
        off, tangent = place - self.points[i], self.tangents[i]
        left = float(tangent[0] * off[1] - tangent[1] * off[0])
        return float(i * self.spacing + tangent @ off) % self.length, left

    def lane(self, along: float) -> Array:
        """(2,) the middle of the driving lane at a position along the road, in metres."""
        at = along / self.spacing
        i, share = int(at) % len(self.points), at % 1
        j = (i + 1) % len(self.points)
        point = self.points[i] * (1 - share) + self.points[j] * share
        tangent = self.tangents[i] * (1 - share) + self.tangents[j] * share
        return np.asarray(point + LANE / 2 * np.array([tangent[1], -tangent[0]]))


def _course(points: Array, spacing: float) -> tuple[Array, Array]:
    """Unit tangents (N, 2) and curvatures (N,) of a closed line."""
    ahead, behind = np.roll(points, -1, 0), np.roll(points, 1, 0)
    tangents = ahead - behind
    tangents /= np.hypot(*tangents.T)[:, None]
    second = (ahead - 2 * points + behind) / spacing**2
    return tangents, tangents[:, 0] * second[:, 1] - tangents[:, 1] * second[:, 0]
