"""Simulated processes with a known best possible answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from torchliquid import Recording
from torchliquid.tasks import Task

NOISE = 0.5
FLIPPED = 0.05
GAP, TIME_CONSTANT = 1.0, 5.0


@dataclass(frozen=True)
class Process:
    """A process to learn.

    Attributes:
        title, equation: for a page.
        draw: a recording of so many samples.
        best: the primary metric of the best possible answer, on average over recordings.
        answers: the best answer to each sample, from a recording's values and gaps. Values before the recording count
            as zero.
        target, horizon: those of a forecast.
    """

    title: str
    equation: str
    draw: Callable[[np.random.Generator, int], Recording]
    best: float
    answers: Callable[[np.ndarray, np.ndarray], np.ndarray]
    target: str | None = None
    horizon: int | None = None

    def task(self, recording: Recording) -> Task:
        return Task.infer(recording, self.target, horizon=self.horizon)

    def reached(self, part: Recording) -> float:
        """The primary metric of the best possible answer on one part of a recording, without knowledge of its past."""
        (series,) = self.task(part).with_targets(part).series
        answers = self.answers(series.values[:, 0], np.diff(series.times, prepend=series.times[0]))
        truth = np.asarray(series.targets)
        if self.task(part).kind == "classification":
            return float(np.mean(answers == truth))
        return float(np.sqrt(np.nanmean((answers - truth.astype(float)) ** 2)))


def drifting(rng: np.random.Generator, memory: float, *shape: int) -> np.ndarray:
    """Standard normal numbers of a shape; neighbours along the last axis have the correlation ``memory``."""
    noise = rng.standard_normal(shape)
    noise[..., 1:] *= np.sqrt(1 - memory**2)
    return np.asarray(lfilter([1.0], [1.0, -memory], noise, axis=-1))


def _filtered(rng: np.random.Generator, n: int, past: dict[int, float]) -> Recording:
    """x(t) = sum of past[k] x(t - k) + N(0, 1)."""
    denominator = np.zeros(max(past) + 1)
    denominator[0] = 1.0
    for lag, weight in past.items():
        denominator[lag] = -weight
    x = lfilter([1.0], denominator, rng.standard_normal(n + 1000))[1000:]
    return Recording.from_arrays(x[:, None], np.arange(float(n)), channels=["x"])


def _ago(x: np.ndarray, lag: int) -> np.ndarray:
    return np.concatenate([np.zeros(lag), x])[: len(x)]


def ar2(rng: np.random.Generator, n: int) -> Recording:
    return _filtered(rng, n, {1: 1.6, 2: -0.8})


def seasonal(rng: np.random.Generator, n: int) -> Recording:
    return _filtered(rng, n, {12: 0.9})


def delayed(rng: np.random.Generator, n: int) -> Recording:
    x = rng.standard_normal(n)
    y = np.concatenate([np.zeros(20), x[:-20]]) + NOISE * rng.standard_normal(n)
    return Recording.from_arrays(x[:, None], targets=y)


def xor(rng: np.random.Generator, n: int) -> Recording:
    x = rng.integers(0, 2, n)
    y = np.roll(x, 2) ^ np.roll(x, 6) ^ (rng.random(n) < FLIPPED)
    return Recording.from_arrays(x[:, None].astype(float), targets=np.where(y, "one", "nought"))


def integrated(x: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    y = np.zeros(len(x))
    for i in range(1, len(x)):
        kept = np.exp(-gaps[i] / TIME_CONSTANT)
        y[i] = kept * y[i - 1] + (1 - kept) * x[i - 1]
    return y


def leaky(rng: np.random.Generator, n: int) -> Recording:
    """The input is held from each sample to the next: y(i) is exact."""
    gaps, x = rng.exponential(GAP, n), rng.standard_normal(n)
    y = integrated(x, gaps)
    y += NOISE * y.std() * rng.standard_normal(n)
    return Recording.from_arrays(x[:, None], np.cumsum(gaps), y, time_unit="s")


def switched(x: np.ndarray) -> np.ndarray:
    last = np.maximum.accumulate(np.where(np.abs(x) > 1, np.arange(len(x)), 0))
    return x[last] > 0


def hysteresis(rng: np.random.Generator, n: int) -> Recording:
    """On above 1, off below -1, unchanged in between."""
    x = lfilter([np.sqrt(1 - 0.9**2)], [1.0, -0.9], rng.standard_normal(n))
    y = switched(x) ^ (rng.random(n) < FLIPPED)
    return Recording.from_arrays(x[:, None], targets=np.where(y, "on", "off"))


def leaky_best() -> float:
    """Standard deviation of the noise, the only error of the recursion over past inputs and spans."""
    # y's variance: v = E[k^2] v + E[(1 - k)^2], with k = exp(-gap / time constant) and exponential gaps.
    kept, squared = 1 / (1 + GAP / TIME_CONSTANT), 1 / (1 + 2 * GAP / TIME_CONSTANT)
    return float(NOISE * np.sqrt((1 - 2 * kept + squared) / (1 - squared)))


PROCESSES = {
    "ar2": Process(
        "AR(2)",
        "x(t) = 1.6 x(t-1) - 0.8 x(t-2) + N(0, 1), one step ahead",
        ar2,
        1.0,
        lambda x, gaps: 1.6 * x - 0.8 * np.concatenate([x[:1] / 1.125, x[:-1]]),  # before the first: its expectation
        "x",
        1,
    ),
    "seasonal": Process(
        "Seasonal AR",
        "x(t) = 0.9 x(t-12) + N(0, 1), one step ahead",
        seasonal,
        1.0,
        lambda x, gaps: 0.9 * _ago(x, 11),
        "x",
        1,
    ),
    "delayed": Process(
        "Delayed copy", "y(t) = x(t-20) + N(0, 0.5), x white", delayed, NOISE, lambda x, gaps: _ago(x, 20)
    ),
    "xor": Process(
        "XOR of two past inputs",
        "y(t) = x(t-2) xor x(t-6), 5 % flipped, x fair coins",
        xor,
        1 - FLIPPED,
        lambda x, gaps: np.where(_ago(x, 2) != _ago(x, 6), "one", "nought"),
    ),
    "leaky": Process(
        "Leaky integrator at irregular times",
        "5 y' = x - y, x white and held, exponential gaps of mean 1, noise of half y's deviation",
        leaky,
        leaky_best(),
        integrated,
    ),
    "hysteresis": Process(
        "Threshold with hysteresis",
        "on above 1, off below -1, else as before, 5 % flipped",
        hysteresis,
        1 - FLIPPED,
        lambda x, gaps: np.where(switched(x), "on", "off"),
    ),
}
