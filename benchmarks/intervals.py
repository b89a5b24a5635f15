"""How often intervals contain the truth: ``python -m benchmarks.intervals``.

Each process is drawn many times, with a linear model for each draw. Half of the samples train the model (a fifth of
them is the validation part), and the other half tests it. The coverage of intervals of 90 % is measured over all draws.
``values`` are exchangeable. Of the forecasts one process is steady; in the test part of the others the noise doubles or
the level begins to drift.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from torchliquid.data import Preprocessing, Recording
from torchliquid.models import Tabular, conformal
from torchliquid.models.conformal import Interval
from torchliquid.tasks import Task
from torchliquid.training.fit import hold_out

LEVEL, N = 0.9, 2400


def values(rng: np.random.Generator) -> Recording:
    """A target beside three channels, sample by sample."""
    x = rng.normal(size=(N, 3))
    return Recording.from_arrays(x, targets=x @ [1.0, -0.5, 0.2] + rng.standard_t(4, N))


def autoregressive(rng: np.random.Generator, noise: np.ndarray, level: np.ndarray) -> Recording:
    """x[t] = 0.8 x[t-1] + noise, around a level."""
    x, shocks = np.zeros(N), rng.normal(size=N) * noise
    for t in range(1, N):
        x[t] = 0.8 * x[t - 1] + shocks[t]
    return Recording.from_arrays((x + level)[:, None], channels=["x"])


LATE = (np.arange(N) >= N // 2).astype(float)
PROCESSES: dict[str, Callable[[np.random.Generator], Recording]] = {
    "values": values,
    "forecast, steady": lambda rng: autoregressive(rng, np.ones(N), np.zeros(N)),
    "forecast, noise doubles": lambda rng: autoregressive(rng, 1 + LATE, np.zeros(N)),
    "forecast, level drifts": lambda rng: autoregressive(
        rng, np.ones(N), 4 * np.maximum(np.arange(N) / N - 0.5, 0) ** 2 * 40
    ),
}


@dataclass(frozen=True)
class Covered:
    """The share of truths inside and the mean width, for intervals of fixed and of adaptive width."""

    fixed: tuple[float, float]
    adaptive: tuple[float, float]


def one(process: str, seed: int) -> Covered:
    """One draw."""
    whole = PROCESSES[process](np.random.default_rng(seed))
    (series,) = whole.series
    past, future = (replace(whole, series=(series.cut(*part),)) for part in ((0, N // 2), (N // 2, N)))
    asked = Task.infer(past) if process == "values" else Task.infer(past, "x", horizon=2)
    training, validation = hold_out(past, asked)
    scales, task = Preprocessing.fit(training), asked.fit(training)
    model = Tabular.fit("linear", task, scales, training, validation, lookback=8)
    conformal.add_interval(model, validation, LEVEL)
    truth = task.with_targets(future)
    outputs = model.outputs(future)
    adaptive = conformal.coverage(model, truth, outputs)
    interval = Interval.of(model)
    assert interval is not None
    model.metadata["interval"]["recent"] = []
    return Covered(conformal.coverage(model, truth, outputs), adaptive)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=100)
    draws = parser.parse_args().draws
    print("| process | fixed: inside | width | adaptive: inside | width |\n|---|---|---|---|---|")
    for process in PROCESSES:
        found = [one(process, seed) for seed in range(draws)]
        fixed, adaptive = (np.mean([getattr(c, form) for c in found], 0) for form in ("fixed", "adaptive"))
        moving = f"{adaptive[0]:.1%} | {adaptive[1]:.2f}" if process != "values" else "– | –"
        print(f"| {process} | {fixed[0]:.1%} | {fixed[1]:.2f} | {moving} |", flush=True)


if __name__ == "__main__":
    main()
