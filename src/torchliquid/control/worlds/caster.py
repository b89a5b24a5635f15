"""A small ray caster that needs no OpenGL.

A world paints the ground and the sky at each ray. Then upright textured panels (trees, walls, balls) are drawn over
them, from far to near.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

Array = np.ndarray
Tint = tuple[float, float, float]
"""A colour, or a factor of colours."""

NEAR = 0.1
"""Nothing nearer is drawn, in metres."""

FADED = 0.97
"""Panels that are hidden by the air to this share or more are not drawn."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        width, height: size of a frame in pixels.
        field_of_view: horizontal field of view in degrees.
        samples: rays per pixel along each side; a pixel is their mean.
    """

    width: int = 64
    height: int = 48
    field_of_view: float = 75.0
    samples: int = 2

    @cached_property
    def directions(self) -> Array:
        """(3, rows, columns) direction of each ray: 1 forward, and the parts to the left and up."""
        across, down = self.edges
        left = across * (1 - (2 * np.arange(self.width * self.samples) + 1) / (self.width * self.samples))
        up = down * (1 - (2 * np.arange(self.height * self.samples) + 1) / (self.height * self.samples))
        rays = np.ones((3, len(up), len(left)), np.float32)
        rays[1], rays[2] = left, up[:, None]
        return rays

    @property
    def edges(self) -> tuple[float, float]:
        """How far to the left and how far up the outermost rays are, one metre ahead."""
        across = float(np.tan(np.radians(self.field_of_view) / 2))
        return across, across * self.height / self.width

    def pixels(self, colours: Array) -> Array:
        """(height, width, 3) uint8 from the colours of the rays (rows, columns, 3), 0 to 1."""
        n = self.samples
        mean = colours.reshape(self.height, n, self.width, n, 3).mean((1, 3))
        return np.asarray((mean.clip(0, 1) * 255 + 0.5).astype(np.uint8))


@dataclass(frozen=True)
class Air:
    """Colours fade to ``colour`` (3,) with distance, by half in every ``half`` metres."""

    colour: Array
    half: float

    def share(self, metres: Array | float) -> Array:
        """The share of the air's own colour at a distance, 0 to 1."""
        return 1 - np.exp2(-np.asarray(metres, np.float32) / np.float32(self.half))


class Texture:
    """An image (rows, columns, 4) with values 0 to 1 and premultiplied alpha, and its smaller copies (mipmaps).

    Each has a transparent rim, so that points beside the image can be looked up, too.
    """

    def __init__(self, picture: Array) -> None:
        smaller = [picture.astype(np.float32)]
        while min(smaller[-1].shape[:2]) >= 4:
            rows, columns = (side // 2 for side in smaller[-1].shape[:2])
            big = smaller[-1][: 2 * rows, : 2 * columns]
            smaller.append(big.reshape(rows, 2, columns, 2, 4).mean((1, 3)))
        self.levels = [np.pad(one, ((1, 1), (1, 1), (0, 0))) for one in smaller]

    def at(self, size: int) -> Array:
        """The smallest copy with at least ``size`` rows."""
        return next((level for level in reversed(self.levels) if len(level) - 2 >= size), self.levels[0])


@dataclass(frozen=True)
class Panels:
    """Upright rectangles.

    Attributes:
        places: (N, 3) the middle of each lower edge, in metres.
        sizes: (N, 2) width and height, in metres.
        textures: the texture of each.
        edges: (N, 2) unit vectors along the lower edges; a panel with NaN always faces the camera.
    """

    places: Array
    sizes: Array
    textures: tuple[Texture, ...]
    edges: Array

    @classmethod
    def facing(cls, places: Array, sizes: Array, textures: tuple[Texture, ...]) -> Panels:
        """Panels that always face the camera."""
        return cls(places, sizes, textures, np.full((len(places), 2), np.nan))

    def __add__(self, other: Panels) -> Panels:
        names = ("places", "sizes", "edges")
        places, sizes, edges = (np.concatenate([getattr(self, name), getattr(other, name)]) for name in names)
        return Panels(places, sizes, self.textures + other.textures, edges)


class View:
    """The view of a camera: its rays in the world, and the colours drawn on them so far.

    Args:
        camera: the camera.
        eye: (3,) its position in metres.
        basis: (3, 3) matrix whose columns point forward, left and up in the world. They need not be orthogonal.
    """

    def __init__(self, camera: Camera, eye: Array, basis: Array) -> None:
        self.camera, self.eye, self.basis = camera, eye, basis
        rays = basis.astype(np.float32) @ camera.directions.reshape(3, -1)
        self.rays = rays.reshape(camera.directions.shape)
        self.colours: Array = np.zeros((*self.rays.shape[1:], 3), np.float32)

    def draw(self, panels: Panels, air: Air, light: Array, ground: Array | None = None) -> None:
        """Draw panels over the colours, the far ones first.

        Args:
            panels: the panels to draw.
            air: fades the far ones.
            light: (3,) factor of their colours.
            ground: (rows, columns) distance of the ground along each ray, which hides what is behind it; None: it hides
                nothing.
        """
        left = self.basis[:2, 1] / np.hypot(*self.basis[:2, 1])
        facing = np.isnan(panels.edges[:, 0])
        edges = np.where(facing[:, None], left, panels.edges) * panels.sizes[:, :1]
        starts = panels.places[:, :2] - edges / 2 - self.eye[:2]
        bottoms = panels.places[:, 2] - self.eye[2]
        boxes, far = self._boxes(starts, edges, bottoms, panels.sizes[:, 1])
        fades = air.share(far)
        seen = (boxes[:, 0] < boxes[:, 1]) & (boxes[:, 2] < boxes[:, 3]) & (fades < FADED)
        # For panels that face the camera, the distance along each ray is known up to a factor.
        rate = 1 / (self.rays[0] * left[1] - self.rays[1] * left[0])
        slopes = np.stack([self.rays[0] * rate, self.rays[1] * rate, self.rays[2] * rate])
        order = np.flatnonzero(seen)
        for i in order[np.argsort(-far[order])].tolist():
            top, bottom, first, last = boxes[i].tolist()
            box = np.s_[top:bottom, first:last]
            (x, y), (ex, ey), height = starts[i].tolist(), edges[i].tolist(), float(panels.sizes[i, 1])
            texture = panels.textures[i].at(bottom - top)
            rows, columns = texture.shape[0] - 2, texture.shape[1] - 2
            if facing[i]:
                dx, dy, dz = slopes[:, top:bottom, first:last]
                width = float(panels.sizes[i, 0])
            else:
                dx, dy, dz = self.rays[:, top:bottom, first:last]
                across = 1 / (dx * ey - dy * ex)
                dx, dy, dz = dx * across, dy * across, dz * across
                width = 1.0
            along = x * ey - y * ex
            column = dy * (x * columns / width) - dx * (y * columns / width) + 1
            row = (1 + (bottoms[i] + height) * rows / height) - dz * (along / width * rows / height)
            place = row.clip(0, rows + 1).astype(np.intp) * (columns + 2) + column.clip(0, columns + 1).astype(np.intp)
            found = texture.reshape(-1, 4).take(place, axis=0)
            if ground is not None:
                factor = rate[box] / width if facing[i] else across
                found *= (along * factor < ground[box])[..., None]
            alpha = found[..., 3:]
            part = self.colours[box]
            part *= 1 - alpha
            part += found[..., :3] * (light * (1 - fades[i])).astype(np.float32)
            part += alpha * (air.colour * fades[i]).astype(np.float32)

    def _boxes(self, starts: Array, edges: Array, bottoms: Array, heights: Array) -> tuple[Array, Array]:
        """(N, 4) the rows and columns (from, to) of each panel, and (N,) its distance."""
        corners = np.empty((len(starts), 4, 3))
        corners[:, ::2, :2], corners[:, 1::2, :2] = starts[:, None], (starts + edges)[:, None]
        corners[:, :2, 2], corners[:, 2:, 2] = bottoms[:, None], (bottoms + heights)[:, None]
        ahead, left, up = np.moveaxis(corners @ np.linalg.inv(self.basis).T, -1, 0)
        rows, columns = self.colours.shape[:2]
        across, down = self.camera.edges
        depth = np.maximum(ahead, NEAR)
        at_row = (1 - up / depth / down) * rows / 2
        at_column = (1 - left / depth / across) * columns / 2
        boxes = np.stack(
            [
                np.floor(at_row.min(1)).clip(0, rows),
                np.ceil(at_row.max(1)).clip(0, rows),
                np.floor(at_column.min(1)).clip(0, columns),
                np.ceil(at_column.max(1)).clip(0, columns),
            ],
            axis=1,
        ).astype(int)
        near = ahead.min(1) <= NEAR
        boxes[near & (ahead.max(1) > NEAR)] = 0, rows, 0, columns
        boxes[ahead.max(1) <= NEAR] = 0
        return boxes, np.hypot(*(starts + edges / 2).T)


def paint_sky(view: View, zenith: Array, air: Air, skyline: Array, colour: Array) -> None:
    """Paint the sky at every ray, with the skyline on the horizon.

    Args:
        view: the view to paint.
        zenith: (3,) colour of the sky above; at the horizon it is the air's.
        air: gives the colour of the horizon.
        skyline: (rows, columns, 2) from :func:`torchliquid.control.worlds.pictures.skyline`.
        colour: (3,) colour of the skyline.
    """
    x, y, z = view.rays
    slope = z / np.sqrt(x * x + y * y)
    blend = np.sqrt(slope.clip(0, 1))[..., None]
    view.colours[:] = air.colour + (zenith - air.colour) * blend
    rows, columns = skyline.shape[:2]
    low = (slope > 0) & (slope < SKYLINE)
    row = ((1 - slope[low] / SKYLINE) * rows).astype(np.intp).clip(max=rows - 1)  # of a ray on the horizon, 1 - 0
    column = ((np.arctan2(y[low], x[low]) / (2 * np.pi) % 1) * columns).astype(np.intp) % columns
    there, light = np.moveaxis(skyline[row, column], -1, 0)[..., None]
    view.colours[low] = np.where(there > 0, 0.45 * air.colour + 0.55 * colour * light, view.colours[low])


SKYLINE = 0.16
"""Slope of a ray to the top of the skyline."""


def grain(levels: Array, x: Array, y: Array, metres: Array, finest: float) -> Array:
    """(..., 3) the colours of the ground at positions, smoother with distance.

    Args:
        levels: (levels, size, size, 3) from :func:`torchliquid.control.worlds.pictures.ground`.
        x, y: positions in metres.
        metres: distance of each from the eye.
        finest: distance within which the finest level is used.
    """
    size = levels.shape[1]
    level = np.log2(np.maximum(metres / np.float32(finest), 1)).astype(np.intp).clip(0, len(levels) - 1)
    scale = np.float32(PER_METRE)
    return np.asarray(
        levels[level, np.floor(y * scale).astype(np.intp) % size, np.floor(x * scale).astype(np.intp) % size]
    )


PER_METRE = 8
"""Pixels of a ground per metre."""
