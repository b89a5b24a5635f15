"""How long commands take until they print something: ``python -m benchmarks.startup``.

``import torch`` is timed beside them, because every answer of a model needs it.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROUNDS = 7
TABLE = "t,x,state\n" + "".join(f"{i},{i % 7 - 3},{'high' if i % 7 > 3 else 'low'}\n" for i in range(400))


def first_word(words: Sequence[str]) -> float:
    """Seconds until a process writes its first byte, or ends."""
    begun = time.perf_counter()
    with subprocess.Popen([sys.executable, *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        taken = time.perf_counter() - begun
        process.stdout.read()
    return taken


def table() -> str:
    """The rows, each the median of some rounds, all commands in turn."""
    with tempfile.TemporaryDirectory() as name:
        csv, model = Path(name) / "table.csv", Path(name) / "model.safetensors"
        csv.write_text(TABLE)
        train = ["-m", "torchliquid", "train", str(csv), "--target", "state", "--time", "t", "--time-unit", "s"]
        subprocess.run(
            [sys.executable, *train, "--epochs", "1", "--parameters", "300", "--out", str(model)],
            check=True,
            capture_output=True,
        )
        commands = {
            "`import torch` alone": ["-c", "import torch; print(1)"],
            "`torchliquid --help`": ["-m", "torchliquid", "--help"],
            "`predict`, no such model": ["-m", "torchliquid", "predict", "none.safetensors", str(csv)],
            "`predict`, no such table": ["-m", "torchliquid", "predict", str(model), "none.csv"],
            "`train`, no such column": ["-m", "torchliquid", "train", str(csv), "--target", "none"],
            "`train`, no such kind": [*train, "--kind", "none"],
            "`export`, no such target": ["-m", "torchliquid", "export", str(model), "--target", "none"],
            "`predict`": ["-m", "torchliquid", "predict", str(model), str(csv)],
            "`train`": [*train, "--epochs", "1", "--out", str(model)],
            "`inspect`": ["-m", "torchliquid", "inspect", str(model)],
            "`explain`": ["-m", "torchliquid", "explain", str(model), str(csv), "--out", str(Path(name) / "e")],
        }
        taken = [{work: first_word(words) for work, words in commands.items()} for _ in range(ROUNDS)]
    return "\n".join(f"| {work} | {statistics.median(one[work] for one in taken):.2f} s |" for work in commands)


if __name__ == "__main__":
    print(table())
