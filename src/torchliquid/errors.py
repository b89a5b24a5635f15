"""InputError, which is raised for invalid input, and printable text from untrusted files."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from numbers import Integral

LONGEST = 2000
"""Characters of a printed line; the middle of a longer line is left out."""

_JOINERS = "\u200c\u200d"
"""Invisible characters that some scripts and emoji need."""


def printable(text: object, keep: str = "", longest: int | None = LONGEST) -> str:
    """Escape characters that could control a terminal or disguise a text.

    Control characters (line ends, escape sequences), invisible characters, characters that change the direction of
    writing and lone surrogates are replaced by their escapes, such as ``\\x1b``.

    Args:
        text: any object; its ``str`` is used.
        keep: characters that are not escaped, such as line ends.
        longest: the middle of a longer text is left out; None: never.
    """
    shown = str(text)
    if longest is not None and len(shown) > longest:
        shown = f"{shown[: longest * 3 // 4]} ... {shown[-longest // 4 :]}"
    if shown.isprintable():
        return shown
    return "".join(c if c in keep or c in _JOINERS or _harmless(c) else _escaped(c) for c in shown)


def _harmless(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def listed(names: Sequence[object], most: int = 5) -> str:
    """The names of a list in a sentence: the first ones, and ``...`` if there are more than ``most``."""
    return ", ".join(map(str, names[:most])) + (", ..." if len(names) > most else "")


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type if it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class InputError(ValueError):
    """Raised for invalid input. The message is one line: what is wrong, where, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


def check_size(**sizes: int) -> None:
    """Check that a size is an integer of at least 1; errors start with ``name``."""
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool):
            own = f"{type(size).__module__}.{type(size).__name__}; wirings come from torchliquid.wirings"
            given = repr(size) if isinstance(size, int | float | str | None) else own
            raise InputError(f"{name} must be an integer, not {given}")
        if size < 1:
            raise InputError(f"{name} must be at least 1, not {size}")
