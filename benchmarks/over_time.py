"""Times all samples at once, and one after the other, for one sequence of growing length on the CPU.

``python -m benchmarks.over_time [LONGEST]`` writes ``docs/over-time.md``. The times are medians of interleaved runs, in
processor time, which other programs disturb less than the time on the clock.
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

Written by `python -m benchmarks.over_time`. Is it faster on a CPU to
[compute all samples at once](guides/loop.md#all-samples-at-once)? No: the compiled kernels are always faster. It is
faster only than a loop in Python, for an LrcSSM from 256 samples on. The table gives the processor time in milliseconds
of a training step (forward and backward) on one core, for one sequence of T samples with uneven spans:

* *kernels, float32*: one sample after the other, with the compiled kernels.
* *loop, float64*: the same in a Python loop, because double precision has no kernel.
* *parallel*: `over_time = "parallel"`. *Iterations* are those of Newton's method in float32.

A dash means not measured, because it takes too long.

| layer | T | kernels, float32 | parallel, float32 | loop, float64 | parallel, float64 | iterations |
|---|---|---|---|---|---|---|
"""
CONCLUSION = """
On a CPU, `over_time = "auto"` therefore never replaces a kernel. It replaces the loop in Python if the Jacobian is
diagonal and there are at least 256 samples.

**Work and depth.** Take H units, T samples, I iterations, a batch of B, and W for the work of one step. One sample
after the other needs work T W in T stages. In parallel, each iteration computes T steps, their Jacobians (H times the
work of a step), and a scan of T products of (H x H) matrices in log T stages. The total work is I T (H W + H^3); with a
diagonal Jacobian it is I T W in I log T stages. A single core has no idle lanes, so the work decides. The parallel way
pays if so many lanes are idle that a stage costs the same at any width: on a GPU with B H far below its number of
lanes, and with T so large that I (H + log T) < T.
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
