"""The one error a user's input can cause, and text from files as it may be printed."""

from __future__ import annotations

import unicodedata

LONGEST = 2000
"""Characters of a printed line; a longer one loses its middle."""

_JOINERS = "\u200c\u200d"
"""Invisible, but scripts and signs need them."""


def printable(text: object, keep: str = "", longest: int | None = LONGEST) -> str:
    """Text from a file without what would steer a terminal or hide how it reads.

    Control characters (line ends, escape sequences), what changes the direction of writing or cannot be seen, and
    halves of characters stand as their escapes, ``\\x1b``.

    Args:
        text: anything with a text.
        keep: characters that stay as they are, such as line ends.
        longest: characters after which the middle is left out; None: never.
    """
    words = str(text)
    if longest is not None and len(words) > longest:
        words = f"{words[: longest * 3 // 4]} ... {words[-longest // 4 :]}"
    if words.isprintable():
        return words
    return "".join(c if c in keep or c in _JOINERS or _harmless(c) else _escaped(c) for c in words)


def _harmless(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


class InputError(ValueError):
    """Something given from outside cannot be used; the message is one line: what, where, what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))
