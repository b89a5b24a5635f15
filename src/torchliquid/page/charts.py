"""Helpers for all charts: plain Plotly specifications in the page's colours.

A colour is the name of one of the page's CSS variables (``--liquid``), so that charts follow light and dark mode. Every
text that may come from the user's data goes through :func:`plotly_text`, because Plotly interprets some HTML.
"""

from __future__ import annotations

import base64
import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from torchliquid.files import to_plain

Figure = dict[str, Any]

DIGITS = 6
"""Number of significant digits in charts."""

LEGEND_ABOVE: Figure = {"orientation": "h", "y": 1.02, "yanchor": "bottom"}
"""The layout of a legend above a chart."""


def plotly_text(text: str) -> str:
    """A text that Plotly shows literally."""
    return html.escape(text, quote=False)


def scatter(mode: str, x: Any, y: Any, name: str = "", digits: int = DIGITS, **more: Any) -> Figure:
    """A trace of points or lines, with its numbers rounded and its name shown literally."""
    named = {"name": plotly_text(name)} if name else {}
    return {"type": "scatter", "mode": mode, **named, "x": to_plain(x, DIGITS), "y": to_plain(y, digits), **more}


def packed(values: Sequence[float], kind: str = "<f4") -> Figure:
    """Many numbers as bytes that Plotly reads, a third as large as digits. NaN leaves a gap."""
    return {"dtype": kind[1:], "bdata": base64.b64encode(np.asarray(values, kind).tobytes()).decode("ascii")}


def title(text: str, width: int) -> str:
    """An axis title, broken into lines of about this many characters."""
    return "<br>".join(plotly_text(line) for line in textwrap.wrap(text, max(width, 20)))


def log_ticks(low: float, high: float) -> Figure:
    """Ticks of a logarithmic axis between two positive values, few enough not to overlap on a phone."""
    decades = math.log10(high / low) if high > low > 0 else 0.0
    if decades < 1:
        return {"nticks": 6}
    if decades > 2:
        return {"dtick": math.ceil(decades / 6)}
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return {"tickvals": [float(f"{step}e{power}") for power in range(first, last + 1) for step in (1, 2, 5)]}


def across(value: float, style: Figure, axis: str = "y") -> Figure:
    """A shape: a straight line through the whole chart, at a value of an axis."""
    other = "x" if axis == "y" else "y"
    ends = {f"{other}0": 0, f"{other}1": 1, f"{axis}0": value, f"{axis}1": value}
    return {"type": "line", f"{other}ref": "paper", **ends, "line": style}


def figure(data: list[Figure], x: str, y: str, height: int = 360, columns: int = 44, **layout: Any) -> Figure:
    """A chart with titled axes, ``columns`` characters wide, with the given ``layout``."""
    base: Figure = {
        "height": height,
        "margin": {"l": 8, "r": 14, "t": 12, "b": 8},
        "showlegend": False,
        "xaxis": {"title": {"text": title(x, columns), "standoff": 8}, "automargin": True},
        "yaxis": {"title": {"text": title(y, height // 11), "standoff": 8}, "automargin": True},
    }
    for key, value in layout.items():
        base[key] = {**base[key], **value} if isinstance(base.get(key), dict) else value
    return {"data": data, "layout": base}
