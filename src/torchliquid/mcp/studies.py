"""Studies in the background: run ``torchliquid assess`` in its own process, and read its progress and verdict."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torchliquid.errors import InputError
from torchliquid.files import to_plain
from torchliquid.mcp.lines import quoted
from torchliquid.study.results import StudyResults

TAIL = 4096
"""Bytes that are read from the end of a log."""


class Studies:
    """The studies in a folder, which is created if it does not exist. One runs at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.lock = threading.Lock()
        self.running: tuple[str, subprocess.Popen[bytes]] | None = None

    def start(self, recording: Path, options: Mapping[str, str | int | Sequence[str] | None]) -> str:
        """Start a study of a file at low priority, with options of ``assess`` by name (None: not given), unless another
        is running. Returns its name."""
        each = {name: [value] if isinstance(value, str | int) else value or () for name, value in options.items()}
        given = [f"--{name}={value}" for name, values in each.items() for value in values]
        with self.lock:
            if self.running is not None and self.running[1].poll() is None:
                raise InputError(f"the study {self.running[0]!r} still runs; start another when it has ended")
            stem = re.sub(r"\W+", "-", recording.stem).strip("-")[:40] or "recording"
            name = next(n for i in range(1, 10**6) if not self._log(n := f"{stem}-{i}").exists())
            command = [*(["nice", "-n", "10"] if shutil.which("nice") else []), sys.executable, "-m", "torchliquid"]
            command += ["assess", str(recording), *given, f"--out={self.folder / name}", "--jobs=1"]
            with self._log(name).open("wb") as log:
                process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            self.running = name, process
        return name

    def names(self) -> list[str]:
        """The names of all studies in the folder."""
        return sorted(path.stem for path in self.folder.glob("*.log"))

    def read(self, name: str) -> dict[str, Any]:
        """The progress of a study, and its verdict when it is finished."""
        if name not in self.names():
            raise InputError(
                f"there is no study {name[:100]!r}; there are {', '.join(self.names()[-20:]) or 'none yet'}"
            )
        process = self.running[1] if self.running is not None and self.running[0] == name else None
        code = None if process is None else process.poll()
        results = self.folder / name / "results.json"
        found: dict[str, Any] = {"study": name, "state": "stopped"}
        if process is not None and code is None:
            found["state"] = "running"
        elif results.exists():
            found["state"] = "finished"
            found |= _verdict(StudyResults.from_json(results.read_text("utf-8")))
        elif code is not None:
            found["state"] = f"failed with code {code}"
        if found["state"] != "finished":
            found["last_line"] = quoted(self._last_line(name), 400)
        return found

    def stop(self) -> None:
        """Stop the running study. Its finished trials are kept."""
        if self.running is not None and self.running[1].poll() is None:
            self.running[1].terminate()
            self.running[1].wait()

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.log"

    def _last_line(self, name: str) -> str:
        with self._log(name).open("rb") as log:
            log.seek(0, 2)
            log.seek(max(log.tell() - TAIL, 0))
            lines = log.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _verdict(results: StudyResults) -> dict[str, Any]:
    """The verdict and its figures. Sentences that can contain names from the data are quoted."""
    primary, verdict = results.task.primary, results.verdict
    contenders = [
        {"contender": c.label, "validation": c.validation, "test": c.primary and c.primary.value}
        for c in results.competing
        if c.trials
    ]
    found: dict[str, Any] = {"metric": primary, "contenders": contenders, "target": quoted(results.task.target)}
    if verdict is None:
        found["verdict"] = "none: it needs scores of a liquid contender and of another one"
    else:
        found["verdict"] = verdict.answer
        found["sentences"] = [verdict.sentence, *(f"{f.question}: {f.answer}. {f.sentence}" for f in verdict.findings)]
        found["evidence"] = [quoted(sentence, 400) for sentence in verdict.evidence]
    plain: dict[str, Any] = to_plain(found, 5)
    return plain
