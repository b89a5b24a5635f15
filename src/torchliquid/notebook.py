"""Tables that notebooks show for an object, as IPython's ``_repr_html_``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

SHOWN = 12
"""Maximum number of names in a cell."""


def table(title: str, rows: Iterable[Sequence[object]], head: Sequence[str] = ()) -> str:
    """HTML of a small table; all texts are escaped.

    Args:
        title: above the table.
        rows: cells of each row, the first one is its heading.
        head: headings of the columns.
    """
    lines = [f"<tr>{''.join(f'<th>{escape(cell)}</th>' for cell in head)}</tr>"] if head else []
    for first, *others in rows:
        cells = "".join(f'<td style="text-align: left">{escape(str(cell))}</td>' for cell in others)
        lines.append(f'<tr><th style="text-align: left">{escape(str(first))}</th>{cells}</tr>')
    return f"<table><caption>{escape(title)}</caption>{''.join(lines)}</table>"


def some(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
