"""All samples at once, or one after the other: the curve over T for one sequence, on this machine's CPU.

``python -m benchmarks.over_time [LONGEST]`` writes ``docs/over-time.md``. Medians of interleaved runs, in time of the
processor, which other programs disturb less than the clock's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch

from torchliquid import LTC, CfC, LrcSSM
from torchliquid.wirings import AutoNCP

LAYERS: dict[str, Callable[[], Any]] = {
    "LrcSSM(8, 64)": lambda: LrcSSM(8, 64),
    "LTC on AutoNCP(32, 4)": lambda: LTC(8, AutoNCP(32, 4)),
    "LTC(8, 16)": lambda: LTC(8, 16),
    "CfC(8, 32)": lambda: CfC(8, 32),
}
LENGTHS = (64, 256, 1000, 10_000, 100_000)
LOOPED = 1000
"""Longest sequence that the loop in Python is timed on."""


PAGE = Path(__file__).parents[1] / "docs" / "over-time.md"
INTRODUCTION = """# Parallel over time, on a CPU

Written by `python -m benchmarks.over_time`. A training step (forward and backward) of one sequence of T samples with
uneven spans, on one core, in milliseconds of the processor: by the compiled kernels in single precision; in parallel
(`over_time = "parallel"`); in double precision, which has no kernel, by the loop in Python, and in parallel. The last
column counts the iterations of Newton's method. A dash: not measured, because it takes too long.

| layer | T | kernels, float32 | parallel, float32 | loop, float64 | parallel, float64 | iterations |
|---|---|---|---|---|---|---|
"""
CONCLUSION = """
So `over_time = "auto"` never replaces a kernel on a CPU. It replaces the loop in Python from 256 samples on where the
Jacobian is diagonal.

**Work and depth.** With H units, I iterations and T samples, one after the other costs T steps in T stages. In parallel
an iteration costs T steps and their Jacobians, H times a step, and a scan of T products of (H x H) matrices, in log T
stages: I T (H W + H^3) work for a step of W. It pays where so many multipliers stand idle that a stage costs the same
however wide it is: on a GPU with B H far below its number of lanes, and T so long that I (H + log T) < T. With a
diagonal Jacobian the work is I T W in I log T stages. On a core, which has no idle lanes, the work decides.
"""


def main(longest: int) -> None:
    torch.set_num_threads(1)
    rows = []
    for name, make in LAYERS.items():
        for time in LENGTHS:
            if time <= longest and (time <= 10 * LOOPED or name.startswith("LrcSSM")):
                rows.append(_row(name, make, time))
                print(rows[-1], flush=True)
    PAGE.write_text(INTRODUCTION + "\n".join(rows) + "\n" + CONCLUSION)


def _row(name: str, make: Callable[[], Any], time: int) -> str:
    torch.manual_seed(0)
    layer = make()
    x, spans = torch.randn(1, time, 8), 2 * torch.rand(1, time)
    ways: dict[str, tuple[str, torch.dtype]] = {
        "kernels": ("sequential", torch.float32),
        "parallel": ("parallel", torch.float32),
        **({"loop": ("sequential", torch.float64)} if time <= LOOPED else {}),
        **({"parallel64": ("parallel", torch.float64)} if time <= LOOPED else {}),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    iterations = "–"
    for _ in range(5 if time < LOOPED else 3 if time == LOOPED else 1):
        for way, (over_time, dtype) in ways.items():
            layer.to(dtype).over_time = over_time
            start = process_time()
            output, _ = layer(x.to(dtype), timespans=spans.to(dtype))
            output.square().mean().backward()
            taken[way].append(1000 * (process_time() - start))
            if way == "parallel":
                solved = layer.rnn_cell.solved
                iterations = str(solved.iterations) if solved.converged else "does not converge"
    shown = [
        f"{median(taken[way]):.3g}" if way in taken else "–" for way in ("kernels", "parallel", "loop", "parallel64")
    ]
    return f"| {name} | {time:,} | {' | '.join(shown)} | {iterations} |"


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else LENGTHS[-1])
