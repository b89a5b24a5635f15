"""Timing that is robust on a busy machine: the runs alternate, and medians are taken."""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from torchliquid import _native  # type: ignore[attr-defined]


def seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def together(
    *runs: Callable[[], object],
    inner: tuple[int, ...] | None = None,
    of_rounds: Callable[[list[float]], float] = statistics.median,
) -> list[float]:
    """Median seconds of each run. A round measures all runs one after the other; there are 5 to 15 rounds, about half a
    minute in all.

    Args:
        runs: the functions to time.
        inner: calls per measurement, for functions that take microseconds.
        of_rounds: how the rounds are combined; ``min`` for the cost of the work itself instead of a ratio.
    """
    inner = inner or (1,) * len(runs)
    warm = sum(seconds(run) * n for _ in range(2) for run, n in zip(runs, inner, strict=True)) / 2
    rounds = max(5, min(15, int(30 / warm)))
    times: list[list[float]] = [[] for _ in runs]
    gc.disable()
    try:
        for _ in range(rounds):
            for run, n, found in zip(runs, inner, times, strict=True):
                taken = seconds(lambda run=run, n=n: [run() for _ in range(n)]) / n  # type: ignore[misc]
                found.append(taken)
    finally:
        gc.enable()
    return [of_rounds(found) for found in times]


def peak_multiply_adds() -> float:
    """Multiply-adds per second of a plain loop on one core: the best of many short runs."""
    return max(_native.multiply_adds(200_000) / seconds(lambda: _native.multiply_adds(200_000)) for _ in range(200))


def matrix_multiply_adds(n: int = 512) -> float:
    """Multiply-adds per second of ``torch.mm`` on square matrices, with the threads that torch uses."""
    a, b, out = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    return max(n**3 / seconds(lambda: torch.mm(a, b, out=out)) for _ in range(50))


def peak_memory(code: str) -> float:
    """Peak memory of a process in MB, above its memory when ``code`` calls ``start()``. Works on Linux."""
    script = (
        "import re\n"
        "def status(key):\n"
        "    return int(re.search(key + r':\\s+(\\d+)', open('/proc/self/status').read()).group(1)) / 1024\n"
        "def start():\n"
        "    global before\n"
        "    open('/proc/self/clear_refs', 'w').write('5')\n"
        "    before = status('VmRSS')\n" + code + "\nprint(status('VmHWM') - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    return float(done.stdout.split()[-1])


def machine() -> list[str]:
    """The machine and its load, as lines of text."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next(
            (line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), model
        )
    return [
        f"processor: {model}, {os.cpu_count()} cores; kernels in use: {_native.instruction_set()}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}, PyTorch {torch.__version__}",
        f"load average at the start: {os.getloadavg()[0]:.1f} (other work on the machine makes every figure worse)",
    ]
