"""Fuzz exported C under address and undefined-behaviour sanitizers: ``python -m tests.edge.fuzz --seconds 3600``.

The time is shared among networks of every family, in single precision and in integers.
"""

from __future__ import annotations

import argparse
import subprocess
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.helpers.exports import HOST, in_int8, make_model, readings, samples_of

from torchliquid.edge import artifact
from torchliquid.edge.compilers import STRICT
from torchliquid.edge.quantize import Widths

NETWORKS = (
    "ltc ncp",
    "ltc memory",
    "cfc memory",
    "cfc ncp pure memory",
    "lrcssm block",
    "mixture of others",
    "lstm",
    "gru",
)
SANITIZED = ("-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")


def fuzz(name: str, int8: bool, seconds: int) -> str:
    """Fuzz one export; libFuzzer's last words. Raises where it found something."""
    model = make_model(name)
    made = artifact.make(model, HOST, "builtin", False, samples_of(model, readings(60)))
    if int8:
        made = in_int8(model, made.walked, Widths(8, 8, 16))
    with TemporaryDirectory() as folder:
        made.write(Path(folder))
        source = Path(__file__).with_suffix(".c")
        build = ["clang", *STRICT, *SANITIZED, "-I.", str(source), "model.c", "-o", "fuzz"]
        subprocess.run(build, cwd=folder, check=True)
        run = ["./fuzz", f"-max_total_time={seconds}", "-max_len=2048", "-print_final_stats=1", "-verbosity=0"]
        done = subprocess.run(run, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise AssertionError(f"{name}{' int8' if int8 else ''}: {done.stderr[-3000:]}")
    return next(line for line in done.stderr.splitlines() if "number_of_executed_units" in line).split()[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="of fuzzing, all together")
    parser.add_argument("--jobs", type=int, default=1, help="how many run at once")
    asked = parser.parse_args()
    seconds = max(1, asked.seconds // (2 * len(NETWORKS)))
    every = list(product(NETWORKS, (False, True)))
    with ThreadPoolExecutor(asked.jobs) as pool:
        for (name, int8), runs in zip(every, pool.map(lambda one: fuzz(*one, seconds), every), strict=True):
            print(f"{name}{' int8' if int8 else ''}: {int(runs):,} inputs, nothing found", flush=True)


if __name__ == "__main__":
    main()
