"""Runs all speed measurements and writes ``docs/performance.md`` with its drawing, in some minutes."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks import cases, curves, measure, startup, study_speed
from torchliquid.datasets import load

DOCS = Path(__file__).parents[1] / "docs"
THREADS = 2


def row(case: cases.Case, peak: float) -> str:
    ours, theirs = measure.together(case.ours, case.theirs, inner=case.inner)
    ratio = theirs / ours
    if case.peer.startswith("single"):
        # 500 single steps stand for 10,000, all in one call for ours.
        ratio, theirs, case.multiply_adds = ratio * 20, theirs * 20, case.multiply_adds * 20
    missed = " †" if ratio < case.reach else ""
    at_best = case.multiply_adds / peak
    line = (
        f"| {case.name.removeprefix('500 of ')} | {time(ours)} | {case.peer} {time(theirs)} | **{ratio:.3g} ×**"
        f"{missed} | "
        f"{case.reach:.2g} × | {case.aim:g} × | {time(at_best)} | {at_best / ours:.0%} |"
    )
    print(line, flush=True)
    return line


def time(seconds: float) -> str:
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def main() -> None:
    dataset = load("occupancy")  # missing data must raise now, not after minutes of measuring
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    about = measure.machine()
    peak, matrix = measure.peak_multiply_adds(), measure.matrix_multiply_adds()
    about.append(
        f"multiply-adds per second: {peak / 1e9:.0f} G by a plain loop on one core, "
        f"{matrix / 1e9:.0f} G by torch.mm of 512 x 512 on {THREADS} threads"
    )
    print("\n".join(about), flush=True)
    speed = [row(case, THREADS * peak) for case in cases.whole_sequences()]
    live = [row(case, peak if "live" in case.name else THREADS * peak) for case in cases.live_steps()]
    ours, theirs = (measure.peak_memory(cases.memory_code(ours)) for ours in (True, False))
    share = f"**1/{theirs / ours:.0f}**"
    memory = f"| training LTC(8, 64), B 64, T 128 | {ours:.0f} MB | {theirs:.0f} MB | {share} | 1/20 | 1/100 |"
    print(memory, flush=True)
    grown = curves.measure_curves()
    table = []
    for curve in grown:
        sizes = ", ".join(f"{n}: {ms:.3g}" for n, ms in zip(curve.sizes, curve.milliseconds, strict=True))
        line = curves.line(curve)
        table.append(
            f"| {curve.name} | {curve.axis} | {sizes} | {line.fixed:.2g} + {line.slope:.3g} n | "
            f"{line.deviation:.1%} | {line.exponent:.2f} |"
        )
        print(table[-1], flush=True)
    study = study_speed.table(dataset)
    (DOCS / "performance.svg").write_text(curves.drawing(grown))
    (DOCS / "performance.md").write_text(
        TEXT.format(
            machine="\n".join(f"* {line}" for line in about),
            threads=THREADS,
            speed="\n".join(speed),
            live="\n".join(live),
            memory=memory,
            curves="\n".join(table),
            study=study,
            startup=startup.table(),
        )
    )


TEXT = """# Performance

Written by `make bench`, in one run. How fast are the layers beside `ncps`, `nn.LSTM` and ONNX Runtime, and how near are
they to what the processor can do?

{machine}

A training step is a forward pass, a loss, a backward pass and a step of Adam. The columns are:

* *ratio*: the median time of the peer divided by ours. Both are measured alternately with {threads} threads each.
* *to reach*, *aim*: set before anything was measured. A ratio below *to reach* is marked with †.
* *at best*: the time of the arithmetic alone, at the plain loop's rate on those threads. For a CfC, each weight
  counts once in the forward pass and twice in the backward pass; the two maps of the time gate count as one where all
  spans are equal. For an LTC, it is 12 multiply-adds per synapse and sub-step in the forward pass and 22 in the
  backward pass, counted from the formula (argument, exponential, reciprocal, sums).
* *of the limit*: *at best* divided by our time. The kernels also recompute the forward pass in the backward pass
  instead of storing it, evaluate elementary functions and move data.

## Whole sequences

| work | ours | peer | ratio | to reach | aim | at best | of the limit |
|---|---|---|---|---|---|---|---|
{speed}

## Live

| work | ours | peer | ratio | to reach | aim | at best | of the limit |
|---|---|---|---|---|---|---|---|
{live}

The peer of the 10,000 streams is 10,000 single steps, extrapolated from 500. ONNX Runtime runs the published cell on
one thread.

## Peak memory, without the inputs

| work | ours | ncps | ratio | to reach | aim |
|---|---|---|---|---|---|
{memory}

## Growth

How does the time of a training step grow with its size? The table gives the milliseconds of the fastest round, the
line that fits them best, and the largest deviation from it. The exponent is that of a fit without a constant; it is
below 1 because of constant costs (Adam, PyTorch's calls; over synapses also the costs per neuron).

| work | over | size n: ms | line | largest deviation | exponent |
|---|---|---|---|---|---|
{curves}

![Cost over time steps, batch and synapses](performance.svg)

## A study

How much faster is a study of occupancy, with the same results? `python -m benchmarks.study_speed` measures this alone.

{study}

## To the first word

How long does a command take until it prints something, in a new process? `python -m benchmarks.startup` measures this
alone. A missing file, column or option is reported before PyTorch is loaded.

| command | first word after |
|---|---|
{startup}
"""


if __name__ == "__main__":
    main()
