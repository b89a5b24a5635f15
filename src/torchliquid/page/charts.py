"""What all charts share: plain Plotly specifications in the page's colours.

A colour is the name of one of the page's CSS variables (``--liquid``), so that a chart follows light and dark.
Every text that may come from the user's data passes :func:`plotly_text`, for Plotly reads a little HTML.
"""

from __future__ import annotations

import html
import textwrap
from typing import Any

Figure = dict[str, Any]


def plotly_text(text: str) -> str:
    """Text that Plotly shows as it is."""
    return html.escape(text, quote=False)


def title(text: str, width: int) -> str:
    """An axis title in lines of about so many characters."""
    return "<br>".join(plotly_text(line) for line in textwrap.wrap(text, max(width, 24)))


def figure(data: list[Figure], x: str, y: str, height: int = 360, columns: int = 44, **layout: Any) -> Figure:
    """A chart with titled axes, ``columns`` characters wide; what else ``layout`` says is added."""
    base: Figure = {
        "height": height,
        "margin": {"l": 8, "r": 14, "t": 12, "b": 8},
        "showlegend": False,
        "xaxis": {"title": {"text": title(x, columns), "standoff": 8}, "automargin": True},
        "yaxis": {"title": {"text": title(y, height // 8), "standoff": 8}, "automargin": True},
    }
    for key, value in layout.items():
        base[key] = {**base[key], **value} if isinstance(base.get(key), dict) else value
    return {"data": data, "layout": base}
