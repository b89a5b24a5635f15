"""A table as a picture: mean and standard deviation of each contender, ours and the published ones, on one axis."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from torchliquid.reproduce.protocol import Protocol
from torchliquid.reproduce.summary import LIQUID

WIDTH, LEFT, RIGHT, ROW, TOP = 720, 150, 24, 26, 34
LIQUID_COLOUR, OTHER_COLOUR, PRINT_COLOUR = "#0072b2", "#555555", "#d55e00"


def drawing(protocol: Protocol, rows: list[dict[str, Any]]) -> str:
    """An SVG of one split's rows, as in :func:`~torchliquid.reproduce.summary.summary`, the best on top.

    A filled dot is ours, a hollow one the paper's. Lines extend by one standard deviation to both sides. The axis is
    logarithmic if the values differ by more than a factor of ten.
    """
    shown = {row["contender"]: (row["mean"], row["std"]) for row in rows}
    names = sorted(shown, key=lambda name: shown[name][0], reverse=protocol.higher_is_better)
    printed = {name: protocol.published[name] for name in names if name in protocol.published}
    values = [*shown.values(), *printed.values()]
    low, high = min(m - s for m, s in values), max(m + s for m, s in values)
    logarithmic = low > 0 and high > 10 * low
    ticks = _logarithmic_ticks(low, high) if logarithmic else _ticks(low, high)
    scale = np.log if logarithmic else float
    start, end = scale(min(low, ticks[0])), scale(max(high, ticks[-1]))
    height = TOP + ROW * len(names) + 44

    def x(value: float) -> float:
        return round(LEFT + float((scale(value) - start) / (end - start)) * (WIDTH - LEFT - RIGHT), 1)

    def mark(value: tuple[float, float], y: float, colour: str, fill: str) -> str:
        mean, deviation = value
        return (
            f'<path d="M{x(mean - deviation)} {y}H{x(mean + deviation)}" stroke="{colour}" stroke-width="2"/>'
            f'<circle cx="{x(mean)}" cy="{y}" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="2"/>'
        )

    better = "higher is better" if protocol.higher_is_better else "lower is better"
    if logarithmic:
        better += ", logarithmic"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="13" fill="#222">',
        f"<title>{escape(protocol.name)}: {escape(protocol.metric)} of each contender, ours and in print</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
    ]
    for at, colour, fill, text in (
        (LEFT, LIQUID_COLOUR, LIQUID_COLOUR, "ours, liquid"),
        (LEFT + 120, OTHER_COLOUR, OTHER_COLOUR, "ours, other"),
        (LEFT + 240, PRINT_COLOUR, "white", "in print"),
    ):
        parts.append(f'<circle cx="{at}" cy="14" r="4.5" fill="{fill}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{at + 12}" y="18">{text}</text>')
    bottom = TOP + ROW * len(names)
    for tick in ticks:
        parts.append(f'<path d="M{x(tick)} {TOP - 6}V{bottom}" stroke="#ddd"/>')
        parts.append(f'<text x="{x(tick)}" y="{bottom + 16}" text-anchor="middle">{tick:.6g}</text>')
    parts.append(
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 8}" text-anchor="middle">'
        f"{escape(protocol.metric)}, {better}</text>"
    )
    for i, name in enumerate(names):
        y = TOP + ROW * i + ROW / 2
        colour = LIQUID_COLOUR if name in LIQUID else OTHER_COLOUR
        parts.append(f'<text x="{LEFT - 12}" y="{y + 4}" text-anchor="end">{escape(name)}</text>')
        if name in printed:
            parts.append(mark(printed[name], y + 5, PRINT_COLOUR, "white"))
        parts.append(mark(shown[name], y - 3, colour, colour))
    return "\n".join([*parts, "</svg>\n"])


def _ticks(low: float, high: float) -> list[float]:
    """About five round values around a range."""
    raw = max(high - low, 1e-3 * abs(high), 1e-9) / 4
    size = 10 ** np.floor(np.log10(raw))
    step = size * min((1, 2, 5, 10), key=lambda factor: abs(factor * size - raw))
    first = np.floor(low / step)
    last = max(np.ceil(high / step), first + 1)
    return [float(np.round(i * step, 10)) for i in np.arange(first, last + 1)]


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 of each power of ten, from the last one below a range to the first one above."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    every = [float(f"{factor}e{power}") for power in powers for factor in (1, 2, 5)]
    below = max(tick for tick in every if tick <= low)
    above = min(tick for tick in every if tick >= high)
    return [tick for tick in every if below <= tick <= above]
