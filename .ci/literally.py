"""Does as a reader does: every block of a document as it is printed, in order, in an empty folder, nothing shortened.

``python .ci/literally.py docs/start.md`` fails where a block fails, and where a verdict that the document quotes is not
the one that came out. What installs is left out: the commands are those beside this Python. ``python .ci/literally.py
README.md demo`` only holds the quoted verdicts against the studies in a folder, which ``make demo`` wrote.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.M | re.S)
INSTALLS = re.compile(r"^(pip|apt-get|make|source) .*\n", re.M)
VERDICT = re.compile(r'"(A liquid network[^"]+)"')


def run(document: str, folder: Path) -> None:
    """All blocks in a folder; those of Python share their names."""
    names: dict[str, object] = {"__name__": "__main__"}
    beside = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    before = Path.cwd()
    os.chdir(folder)
    try:
        for language, block in BLOCK.findall(document):
            print(block, flush=True)
            if language == "python":
                exec(compile(block, "a block", "exec"), names)
            else:
                words = ["bash", "-euo", "pipefail", "-c", INSTALLS.sub("", block)]
                subprocess.run(words, env={**os.environ, "PATH": beside}, check=True)
    finally:
        os.chdir(before)


def contradictions(document: str, folder: Path) -> list[str]:
    """The verdicts that a document quotes and no study in a folder has: their answers, since which network is the best
    liquid one may hang on the last bits of a training, which processors do not share."""
    studies = [json.loads(path.read_bytes()) for path in folder.rglob("results.json")]
    found = [study["verdict"]["sentence"] for study in studies if study.get("verdict")]
    quoted = [" ".join(words.split()).rstrip(".") for words in VERDICT.findall(document)]
    return [
        f"the document says {words!r}, the studies {found}"
        for words in quoted
        if not any(sentence.startswith(words.split(":")[0]) for sentence in found)
    ]


def main(document: Path, study: Path | None = None) -> None:
    """Run it, or hold it against a study; exits with what is wrong."""
    text = document.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        if study is None:
            run(text, Path(name))
        sys.exit("\n".join(contradictions(text, study or Path(name))) or 0)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
