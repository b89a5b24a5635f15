"""Measures everything and writes ``docs/performance.md`` with its drawing; some minutes."""

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
    dataset = load("occupancy")  # what is missing is said before the minutes of measuring
    torch.manual_seed(0)
    torch.set_num_threads(THREADS)
    about = measure.machine()
    peak, matrix = measure.peak_multiply_adds(), measure.matrix_multiply_adds()
    about.append(
        f"multiply-adds a second: {peak / 1e9:.0f} G by a plain loop on one core, "
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

Written by `make bench`; every figure below comes from one run of it.

{machine}

A ratio is the median time of the peer by ours, both measured in turn, {threads} threads each. *At best* is what the
arithmetic alone would take at the plain loop's rate on those threads: for a CfC each weight once forward and twice
back (over sequences the time gate's two maps are one, as all spans are equal here), for an LTC 12 multiply-adds a
synapse and sub-step forward and 22 back, counted from its formula (argument, exponential, reciprocal, sums). What the
kernels add to that, recomputing the forward pass on the way back instead of storing it, elementary functions and moving
data, is the distance to 100%: *of the limit* is *at best* by our time. *To reach* and *aim* were set before anything
was measured; a ratio below *to reach* is marked with †. A training step is a forward pass, a loss, a backward pass and
a step of Adam.

## Whole sequences

| work | ours | peer | ratio | to reach | aim | at best | of the limit |
|---|---|---|---|---|---|---|---|
{speed}

## Live

| work | ours | peer | ratio | to reach | aim | at best | of the limit |
|---|---|---|---|---|---|---|---|
{live}

The peer of the 10,000 streams is 10,000 single steps, timed on 500. ONNX Runtime runs the published cell on one thread.

## Memory at its peak, above the inputs

| work | ours | ncps | ratio | to reach | aim |
|---|---|---|---|---|---|
{memory}

## Growth

Milliseconds of a training step, the fastest of the rounds; the line closest to them and how far the furthest of them
lies from it. What is fixed (Adam, PyTorch's calls; over synapses also all that each neuron costs) keeps the exponent
of a fit without it below 1.

| work | over | size n: ms | line | furthest from it | exponent |
|---|---|---|---|---|---|
{curves}

![Cost over time steps, batch and synapses](performance.svg)

## A study

How much sooner a study of occupancy ends, with the same results; also alone, by `python -m benchmarks.study_speed`.

{study}

## To the first word

How long a command takes until it says something, with nothing kept from an earlier call; also alone, by
`python -m benchmarks.startup`. A file, a column or an option that is not there is said before PyTorch is loaded.

| command | first word after |
|---|---|
{startup}
"""


if __name__ == "__main__":
    main()
