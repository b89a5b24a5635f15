"""The textures of both worlds, drawn once per process from fixed seeds: trees, balls, walls, posts, grounds."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache, wraps
from typing import Concatenate, ParamSpec

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from torchliquid.control.worlds.caster import Texture

Array = np.ndarray
Canvas = ImageDraw.ImageDraw
Colour = tuple[int, int, int]
P = ParamSpec("P")

LEAVES: dict[str, list[Colour]] = {
    "summer": [(62, 110, 38), (78, 128, 46), (48, 92, 34), (96, 142, 58)],
    "autumn": [(196, 118, 34), (178, 84, 32), (206, 152, 48), (146, 96, 40), (120, 112, 44)],
}
NEEDLES: list[Colour] = [(34, 70, 44), (44, 84, 50), (28, 58, 38)]
SNOW: Colour = (232, 236, 242)
GROUNDS: dict[str, tuple[Colour, Colour]] = {
    "summer": (GREEN := (84, 116, 48), (112, 104, 62)),
    "autumn": ((124, 92, 46), (164, 110, 44)),
    "winter": (SNOW, (198, 206, 216)),
    "urban": ((92, 138, 58), (104, 150, 68)),
    "asphalt": ((88, 88, 92), (70, 71, 76)),
}


def _generator(*name: object) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(repr(name).encode()))


def _texture(width: int, height: int) -> Callable[[Callable[Concatenate[Canvas, P], None]], Callable[P, Texture]]:
    """Makes a texture of this size from a function that draws it at three times the size."""

    def decorated(draw: Callable[Concatenate[Canvas, P], None]) -> Callable[P, Texture]:
        @wraps(draw)
        def drawn(*args: P.args, **kwargs: P.kwargs) -> Texture:
            big = Image.new("RGBA", (3 * width, 3 * height), (0, 0, 0, 0))
            draw(ImageDraw.Draw(big), *args, **kwargs)
            small = big.convert("RGBa").resize((width, height), Image.Resampling.BOX)
            return Texture(np.asarray(small, np.float32) / 255)

        return cache(drawn)  # type: ignore[return-value]

    return decorated


def _shade(colour: Colour, factor: float) -> Colour:
    return tuple(int(min(max(c * factor, 0), 255)) for c in colour)  # type: ignore[return-value]


@_texture(64, 128)
def broadleaf(draw: Canvas, season: str, variant: int) -> None:
    """A broad tree, half as wide as it is high; without leaves in winter."""
    rng = _generator("broadleaf", season, variant)
    middle, height = 96, 384
    bark = _shade((92, 70, 52), rng.uniform(0.75, 1.25))

    def branch(x: float, y: float, angle: float, length: float, thick: float) -> None:
        tip = x + length * np.sin(angle), y - length * np.cos(angle)
        draw.line([(x, y), tip], fill=bark, width=max(int(thick), 1))
        if season == "winter" and abs(np.sin(angle)) > 0.5:
            draw.line([(x, y - thick / 2), (tip[0], tip[1] - thick / 2)], fill=SNOW, width=max(int(thick / 3), 1))
        if length > 14:
            for side in (-1, 1):
                turn = side * rng.uniform(0.25, 0.7)
                branch(*tip, angle + turn, length * rng.uniform(0.62, 0.82), thick * 0.65)

    foot = 11 * rng.uniform(0.8, 1.2)
    draw.polygon(
        [(middle - foot, height), (middle + foot, height), (middle + foot / 2, 150), (middle - foot / 2, 150)],
        fill=bark,
    )
    draw.rectangle((middle, 150, middle + foot / 3, height), fill=_shade(bark, 0.75))
    for y in (215, 185, 160):
        branch(middle, y, rng.uniform(-0.5, 0.5), rng.uniform(48, 62), foot * 0.8)
    for _ in range(0 if season == "winter" else 420):
        angle, out = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform())
        x, y = middle + 84 * out * np.cos(angle), 112 + 100 * out * np.sin(angle)
        size = rng.uniform(5, 13)
        colours = LEAVES[season]
        shade = 1.2 - 0.5 * (y - 12) / 200 + 0.15 * (middle - x) / 84
        colour = _shade(colours[(rng.integers(len(colours)) + variant) % len(colours)], shade * rng.uniform(0.85, 1.15))
        draw.ellipse((x - size, y - size, x + size, y + size), fill=colour)


@_texture(64, 128)
def conifer(draw: Canvas, season: str, variant: int) -> None:
    """A spruce, half as wide as it is high, with a bare lower trunk, and with snow in winter."""
    rng = _generator("conifer", season, variant)
    middle, height = 96, 384
    bark = _shade((84, 62, 48), rng.uniform(0.8, 1.2))
    draw.polygon([(middle - 9, height), (middle + 9, height), (middle + 3, 60), (middle - 3, 60)], fill=bark)
    draw.rectangle((middle + 2, 200, middle + 8, height), fill=_shade(bark, 0.7))
    for layer in range(11):
        low = 250 - layer * 22
        half = (11 - layer) * 6.6 + 8
        colour = _shade(NEEDLES[(layer + variant) % len(NEEDLES)], rng.uniform(0.85, 1.2))
        for x in np.linspace(-half, half, 15):
            droop = low + rng.uniform(-4, 8) + 6 * (abs(x) / half)
            draw.polygon([(middle, low - 52), (middle + x - 8, droop), (middle + x + 8, droop)], fill=colour)
        if season == "winter":
            for x in np.linspace(-half * 0.9, half * 0.9, 9):
                y = low - 6 - 34 * (1 - abs(x) / half) * rng.uniform(0.6, 1)
                draw.ellipse((middle + x - 9, y - 4, middle + x + 9, y + 4), fill=SNOW)


@_texture(48, 48)
def bush(draw: Canvas, season: str, variant: int) -> None:
    """A bush, as wide as it is high."""
    rng = _generator("bush", season, variant)
    colours = {"winter": [SNOW, (180, 186, 190), (110, 96, 84)]}.get(season, LEAVES.get(season, LEAVES["summer"]))
    for _ in range(220):
        angle, out = rng.uniform(0, np.pi), np.sqrt(rng.uniform())
        x, y = 72 + 60 * out * np.cos(angle), 144 - 110 * out * np.sin(angle)
        colour = _shade(colours[rng.integers(len(colours))], 1.15 - 0.4 * y / 144)
        draw.ellipse((x - 9, y - 9, x + 9, y + 9), fill=colour)


@_texture(48, 48)
def ball(draw: Canvas, colour: Colour) -> None:
    """A shaded ball that fills the picture."""
    for i in range(24):
        r, light = 71 * (1 - i / 24), 0.62 + 0.5 * i / 24
        x, y = 72 - 17 * i / 24, 72 - 24 * i / 24
        draw.ellipse((x - r, y - r, x + r, y + r), fill=_shade(colour, light))
    draw.ellipse((44, 34, 60, 48), fill=_shade(colour, 1.5))


@_texture(8, 32)
def pole(draw: Canvas, colour: Colour) -> None:
    """A plain post, darker on one side."""
    draw.rectangle((0, 0, 24, 96), fill=colour)
    draw.rectangle((14, 0, 24, 96), fill=_shade(colour, 0.7))


@_texture(8, 32)
def marker_post(draw: Canvas) -> None:
    """A white roadside post with a dark band."""
    draw.rectangle((4, 0, 20, 96), fill=(236, 236, 232))
    draw.rectangle((4, 14, 20, 40), fill=(36, 36, 40))
    draw.rectangle((8, 20, 16, 34), fill=(250, 170, 60))


@_texture(128, 96)
def house(draw: Canvas, variant: int) -> None:
    """The front of a house: windows in rows, a door, a roof."""
    rng = _generator("house", variant)
    walls: list[Colour] = [(198, 178, 150), (176, 120, 98), (206, 204, 196), (164, 158, 148), (190, 164, 118)]
    wall = _shade(walls[variant % len(walls)], rng.uniform(0.92, 1.06))
    draw.rectangle((0, 40, 384, 288), fill=wall)
    draw.polygon([(0, 42), (30, 0), (354, 0), (384, 42)], fill=_shade((130, 70, 56), rng.uniform(0.7, 1.1)))
    for y in range(62, 250, 62):
        for x in range(22, 360, 60):
            glass = _shade((92, 112, 134), rng.uniform(0.6, 1.35))
            draw.rectangle((x - 3, y - 3, x + 31, y + 39), fill=_shade(wall, 1.18))
            draw.rectangle((x, y, x + 28, y + 36), fill=glass)
    draw.rectangle((178, 226, 212, 288), fill=(84, 60, 48))


@cache
def ground(kind: str, size: int = 256) -> Array:
    """(levels, size, size, 3) a seamless ground texture, 0 to 1. Each level is smoother than the previous one."""
    rng = _generator("ground", kind)
    one, two = (np.array(colour, np.float32) / 255 for colour in GROUNDS[kind])
    share = np.zeros((size, size), np.float32)
    for step, weight in ((32, 0.35), (8, 0.3), (2, 0.25), (1, 0.2)):
        coarse = Image.fromarray(rng.uniform(0, 1, (size // step, size // step)).astype(np.float32))
        tiled = Image.fromarray(np.tile(np.asarray(coarse), (3, 3)))
        smooth = np.asarray(tiled.resize((3 * size, 3 * size), Image.Resampling.BICUBIC))[
            size : 2 * size, size : 2 * size
        ]
        share += weight * (smooth - 0.5)
    fine = rng.normal(1, 0.05, (size, size, 1)).astype(np.float32)
    picture = (one + (two - one) * (0.5 + 1.3 * share[..., None]).clip(0, 1)) * fine
    levels = [picture]
    for level in range(1, 5):
        wide = np.tile(picture, (3, 3, 1))
        blurred = Image.fromarray((wide * 255).clip(0, 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(2**level))
        levels.append(np.asarray(blurred, np.float32)[size : 2 * size, size : 2 * size] / 255)
    return np.stack(levels)


@cache
def skyline(kind: str) -> Array:
    """(rows, columns, 2) the skyline all around: whether something is there, and its brightness. The columns go around
    once, the rows down to the horizon."""
    rng = _generator("skyline", kind)
    columns, rows = 512, 24
    at = np.arange(columns) / columns * 2 * np.pi
    waves = ((3, 0.6), (7, 0.8), (17, 0.7), (43, 0.8), (97, 0.9))
    height = 9.0 + sum(a * np.sin(k * at + rng.uniform(0, 2 * np.pi)) for k, a in waves)
    if kind == "urban":
        height = np.repeat(rng.uniform(4, 17, columns // 16), 16)
    picture = np.zeros((rows, columns, 2), np.float32)
    picture[..., 0] = (rows - np.arange(rows)[:, None] - height).clip(-0.5, 0.5) < 0
    light = np.repeat(rng.uniform(0.8, 1.2, columns // 16), 16) if kind == "urban" else rng.uniform(0.8, 1.2, columns)
    picture[..., 1] = light
    return picture
