"""Printing: names from files are plain text, neither markup nor terminal control."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from torchliquid.errors import printable

LOG_WIDTH = 400
"""Width if there is no terminal: a table is not wider than its contents."""


class Terminal(Console):
    """A console that prints text literally, without markup and emoji, and does not break lines. If it is not a terminal
    but a log, for example, it is as wide as its lines, unless ``COLUMNS`` sets the width."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = LOG_WIDTH

    def print(self, *objects: Any, **options: Any) -> None:
        """Print text, escaped by :func:`printable` and not wrapped, or other objects of rich."""
        if objects and all(isinstance(one, str) for one in objects):
            options = {"soft_wrap": True, **options}
            objects = tuple(printable(one, keep="\n") for one in objects)
        super().print(*objects, **options)


def cell(text: object, style: str = "") -> Text:
    """Text for a table or a paragraph of rich."""
    return Text(printable(text), style)


def table_of(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table of text, names on the left and numbers on the right. Long cells are wrapped between words."""
    table = Table(
        title=cell(title), title_justify="left", header_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    cells = [[cell(text) for text in row] for row in rows]
    for i, head in enumerate(heads):
        words = (word for text in (head, *(row[i].plain for row in cells)) for word in text.split())
        width = min(max(map(cell_len, words), default=1), 30)
        table.add_column(
            Text(printable(head, keep="\n")), justify="right" if i else "left", overflow="fold", min_width=width
        )
    for row in cells:
        table.add_row(*row)
    return table


def print_table(console: Console, title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Print as many of the first columns as fit the terminal; returns the names of the others."""
    endless = console.options.update(max_width=10_000)
    for columns in range(len(heads), 0, -1):
        table = table_of(title, heads[:columns], [row[:columns] for row in rows])
        if columns == 1 or console.measure(table, options=endless).minimum <= console.width:
            break
    console.print(table)
    return list(heads[columns:])


def any_encoding() -> None:
    """Prevent encoding errors: letters that the terminal's encoding lacks are printed as escapes."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
