"""Numbers and names as C text. Names come from a model file, which may be hostile, so all are escaped."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from torchliquid.errors import printable

WIDTH = 110
REMARKED = " _.,:+=()%-"


@dataclass(frozen=True)
class Constant:
    """A declaration in the C with its comment."""

    text: str
    remark: str = ""


def number(value: float) -> str:
    """The shortest literal with this value in single precision; NAN and INFINITY are macros of math.h."""
    if not np.isfinite(value):
        return "NAN" if np.isnan(value) else "INFINITY" if value > 0 else "-INFINITY"
    text = str(np.float32(value))
    return f"{text}f" if any(c in text for c in ".e") else f"{text}.0f"


def array(name: str, values: np.ndarray | Sequence[float], kind: str = "float") -> str:
    """A constant array, in NumPy's row-major order."""
    flat = np.asarray(values).reshape(-1)
    items = [number(v) for v in flat] if kind == "float" else [str(int(v)) for v in flat]
    return f"static const {kind} {name}[{len(items)}] = {{\n{wrapped(items)}\n}};"


def wrapped(items: Iterable[str]) -> str:
    """Items with commas in indented lines."""
    lines, line = [], "   "
    for item in items:
        if len(line) + len(item) + 2 > WIDTH:
            lines.append(line)
            line = "   "
        line += f" {item},"
    return "\n".join([*lines, line])


def index_type(largest: int) -> str:
    """The smallest unsigned type that holds it."""
    return f"{np.min_scalar_type(largest)}_t"


def plain(c: str) -> bool:
    """Whether a character is a letter, digit, sign or symbol of any script. It must not control a terminal, be
    invisible or change the direction of text."""
    return unicodedata.category(c)[0] in "LMNPS" or c == " "


def string(name: str) -> str:
    """A C string literal in UTF-8. Characters that are not plain ASCII or could end the literal become octal escapes of
    their bytes, `?` included (trigraphs)."""
    text = "".join(
        c if plain(c) and c not in '"\\?' else "".join(f"\\{b:03o}" for b in c.encode("utf-8", "surrogatepass"))
        for c in name
    )
    # Three octal digits end by themselves. `*/` inside a literal is harmless, but some readers' tools may misread it.
    return '"' + text.replace("*/", "*\\057").replace("//", "/\\057") + '"'


def remark(name: str) -> str:
    """A name for a comment or a line of Markdown: harmless characters only, and cut if it is long."""
    text = "".join(c if plain(c) and (not c.isascii() or c in REMARKED or c.isalnum()) else "_" for c in name)
    return text if len(text) <= 60 else text[:57] + "..."


def cell(name: str) -> str:
    """A name for a cell of a Markdown table."""
    return remark(name).replace("_", "\\_")


def prose(line: str) -> str:
    """A line of Markdown that may hold a name: shown literally, neither as markup nor as HTML."""
    shown = re.sub(r"([\\`*_\[\]#|~])", r"\\\1", printable(line))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
