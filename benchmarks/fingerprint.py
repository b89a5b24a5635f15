"""Fingerprints of code: a finished result counts only for the code that gave it."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
from pathlib import Path

import torchliquid

DECIDING = (
    "backends",
    "cells",
    "data",
    "jobs",
    "layers",
    "models",
    "solvers",
    "study",
    "training",
    "alarms.py",
    "metrics.py",
    "parallel.py",
    "random.py",
    "scan.py",
    "tasks.py",
    "tracing.py",
    "wirings.py",
)
"""The parts of the package that can change a trial's figures. The kernels can, too."""
REPORTING = (
    "study/reporting",
    "study/stats/comparison.py",
    "study/stats/decide.py",
    "study/stats/intervals.py",
    "study/stats/verdict.py",
    "study/words.py",
)
"""The parts of `study` that only judge and report. They run again each time."""
_C_COMMENT = re.compile(r"""("(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])')|//[^\n]*|/\*.*?\*/""", re.DOTALL)


@functools.cache
def code(*more: str, kinds: tuple[str, ...] = (".py", ".cc", ".h", ".txt")) -> str:
    """A fingerprint of the code that decides the figures. Comments, docstrings and layout do not count.

    Args:
        more: further parts of the package that decide them.
        kinds: the endings of the files that count.
    """
    package = Path(torchliquid.__file__).parent
    places = [package / name for name in (*DECIDING, *more)] + [Path("native")]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]
    reporting = [package / name for name in REPORTING]
    digest = hashlib.sha256()
    for file in sorted(files):
        if file.suffix in kinds and not any(file.is_relative_to(place) for place in reporting):
            digest.update(meaning(file.read_text("utf-8"), file.suffix).encode())
    return digest.hexdigest()[:8]


def meaning(text: str, kind: str) -> str:
    """A source file without what cannot change a result: comments, docstrings and layout.

    Args:
        text: the file's text.
        kind: its ending. Python, C and C++ are understood; other files are returned as they are.
    """
    if kind == ".py":
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(body := getattr(node, "body", None), list):
                node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
        return ast.dump(tree)
    if kind in (".c", ".cc", ".h"):
        bare = _C_COMMENT.sub(lambda found: found[1] or " ", text)
        return "\n".join(" ".join(line.split()) for line in bare.splitlines() if line.strip())
    return text


def _is_text(line: ast.stmt) -> bool:
    """Whether a statement is only a string: a docstring, also one of an attribute."""
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)
