"""Identifiers for the exported C and Python, made from names in any script."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterable

from torchliquid.errors import InputError

LONGEST = 31
"""Maximum number of characters in a model's name: as many as C99 distinguishes across files."""

WORDS = """
auto break case char const continue default do double else enum extern float for goto if inline int long register
restrict return short signed sizeof static struct switch typedef union unsigned void volatile while
alignas alignof and and_eq asm bitand bitor bool catch char8_t char16_t char32_t class co_await co_return co_yield compl
concept consteval constexpr constinit const_cast decltype delete dynamic_cast explicit export false friend mutable
namespace new noexcept not not_eq nullptr operator or or_eq private protected public reinterpret_cast requires
static_assert static_cast template this thread_local throw true try typeid typename using virtual wchar_t xor xor_eq
"""
HEADERS = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbool
stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype unistd pthread semaphore
"""
TAKEN = {*WORDS.split(), *HEADERS.split(), *keyword.kwlist, *sys.stdlib_module_names, "selftest", "torchliquid"}
"""Keywords of C, C++ and Python, and headers and modules that a file of such a name would hide."""


def ascii_word(name: str) -> str:
    """Lower-case letters, digits and single underscores that transcribe a name in any script; perhaps none."""
    if not name.isascii():
        from anyascii import anyascii

        # A space separates the syllables that Chinese characters become.
        name = "".join(
            c if c.isascii() else f" {anyascii(c)}" if "\u2e80" <= c <= "\u9fff" else anyascii(c) for c in name
        )
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def model_name(name: str) -> str:
    """A name for an exported model's files and functions, made from the name of a file."""
    word = ascii_word(name)[:LONGEST].rstrip("_")
    if not word or word[0].isdigit():
        word = f"model_{word}".rstrip("_")[:LONGEST].rstrip("_")
    return word if word not in TAKEN else f"{word[: LONGEST - 6]}_model"


def check_model_name(name: str) -> None:
    """Check a name that was asked for.

    Raises:
        InputError: it is not an identifier, or it is reserved in C, C++ or Python.
    """
    good = re.fullmatch(rf"[A-Za-z][A-Za-z0-9_]{{0,{LONGEST - 1}}}", name) and name.lower() not in TAKEN
    if not good:
        reason = "is reserved in C, C++ or Python" if name.lower() in TAKEN else "is not an identifier in C"
        raise InputError(f"--name {name[:60]!r} {reason}; use letters, digits and _, such as {model_name(name)}")


def enumerators(names: Iterable[str], instead: str) -> list[str]:
    """Upper-case identifiers, one for each name, all different. Without letters: ``instead`` and a number."""
    found: list[str] = []
    seen: set[str] = set()
    for i, name in enumerate(names):
        word = ascii_word(name)[:48].strip("_").upper() or f"{instead}{i}"
        one, n = word, 1
        while one in seen:
            n += 1
            one = f"{word}_{n}"
        seen.add(one)
        found.append(one)
    return found
