"""What is printed, and how: names from files are text, neither markup nor what steers a terminal."""

from __future__ import annotations

import os
import sys
from typing import Any

from rich.console import Console
from rich.text import Text

from torchliquid.errors import printable

LOG_WIDTH = 400
"""Columns of what is no terminal: a table is not wider than what stands in it."""


class Terminal(Console):
    """A console for which text is text: no markup, no emoji, and one line of ours stays one line. What is no terminal,
    such as a log, is as wide as its lines, unless ``COLUMNS`` says how wide it is."""

    def __init__(self, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, highlight=False, emoji=False)
        if not self.is_terminal and "COLUMNS" not in os.environ:
            self.width = LOG_WIDTH

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; text is escaped by :func:`printable` and not wrapped, other objects stand for themselves."""
        if objects and all(isinstance(one, str) for one in objects):
            options = {"soft_wrap": True, **options}
            objects = tuple(printable(one, keep="\n") for one in objects)
        super().print(*objects, **options)


def cell(text: object, style: str = "") -> Text:
    """Text for a table or a paragraph of rich's."""
    return Text(printable(text), style)


def any_encoding() -> None:
    """Let no letter end a command: where the terminal's encoding lacks one, its escape is printed."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
