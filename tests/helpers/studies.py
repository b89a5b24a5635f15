"""Whole studies made of random numbers with a known truth, for the tests of statistics, verdict and report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

from torchliquid.study.results import (
    Channel,
    ContenderResult,
    DataResult,
    Gaps,
    PartResult,
    ShiftResult,
    StudyResults,
    TaskResult,
    TrialResult,
)
from torchliquid.study.stats.scores import Scores

LIQUID = (("cfc", "CfC"), ("cfc_ncp", "CfC on NCP"), ("ltc_ncp", "LTC on NCP"))
NEURAL = (("lstm", "LSTM"), ("gru", "GRU"), ("transformer", "Transformer"))
CLASSICAL = (("linear", "Linear"), ("boosting", "Gradient boosting"))


@dataclass(frozen=True)
class Truth:
    """What holds in a simulated study; skills are shifts of the threshold below which a sample is answered right.

    ``memory`` is the correlation of neighbouring samples' difficulty in one long recording; None: many short series.
    """

    n_seeds: int = 5
    n_samples: int = 4000
    memory: float | None = 0.95
    seed_spread: float = 0.1
    liquid: float = 0.0
    classical: float = 0.0
    probe: float | None = None
    naive: float = -2.5
    easy: float = 1.0
    cheap: float = 1.0


def difficulties(rng: np.random.Generator, truth: Truth, shape: tuple[int, ...]) -> np.ndarray:
    noise = rng.standard_normal((*shape, truth.n_samples))
    if truth.memory is None:
        cells = truth.n_samples // 10
        return np.sqrt(0.5) * (noise + np.repeat(rng.standard_normal((*shape, cells)), 10, -1))
    innovations = noise * np.sqrt(1 - truth.memory**2)
    innovations[..., 0] = noise[..., 0]
    return lfilter([1.0], [1.0, -truth.memory], innovations, axis=-1)


def in_cells(right: np.ndarray, truth: Truth) -> np.ndarray:
    """(..., samples) right or wrong to (..., cells, 2) counts and hits."""
    cells = truth.n_samples // 10 if truth.memory is None else 256
    at = np.arange(truth.n_samples) * cells // truth.n_samples
    starts = np.searchsorted(at, np.arange(cells))
    hits = np.add.reduceat(right.astype(float), starts, axis=-1)
    counts = np.broadcast_to(np.bincount(at).astype(float), hits.shape)
    return np.stack([counts, hits], -1)


def surprise(sums: np.ndarray) -> np.ndarray:
    """(seeds, cells, 2) counts and log loss of a model as sure of each answer as its accuracy allows."""
    share = np.clip(sums[..., 1].sum(-1) / sums[..., 0].sum(-1), 0.5, 0.99)[:, None]
    wrong = sums[..., 0] - sums[..., 1]
    return np.stack([sums[..., 0], -sums[..., 1] * np.log(share) - wrong * np.log(1 - share)], -1)


def simulate(rng: np.random.Generator, truth: Truth) -> tuple[StudyResults, dict[str, Scores]]:
    """A study of accuracy with nine contenders, a clean test part and one shift of two severities."""
    common = {part: difficulties(rng, truth, ()) for part in ("validation", "test")}
    contenders, scores = [], {}
    kinds = [
        *((n, label, "liquid", truth.liquid) for n, label in LIQUID),
        *((n, label, "neural", 0.0) for n, label in NEURAL),
        *((n, label, "classical", truth.classical) for n, label in CLASSICAL),
        ("naive", "Naive", "naive", truth.naive),
    ]
    if truth.probe is not None:
        kinds.append(("one_sensor", "A linear model", "probe", truth.probe))
    for name, label, family, skill in kinds:
        n = truth.n_seeds if family in ("liquid", "neural") else 1
        luck = rng.normal(scale=truth.seed_spread, size=n) if n > 1 else np.zeros(1)
        own = {part: difficulties(rng, truth, ()) for part in common}

        def right(part: str, harder: float, own=own, luck=luck, skill=skill, n=n, family=family) -> np.ndarray:
            # All contenders' difficulties have the same spread: equal skill is equal accuracy.
            each = difficulties(rng, truth, (n,)) if n > 1 else own[part]
            hard = (2 * common[part] + 0.8 * own[part] + 0.6 * each) / np.sqrt(5 if n > 1 else 5.96)
            return np.atleast_2d(hard) < (truth.easy + skill + luck - harder)[:, None]

        validation = right("validation", 0.0).mean(1)
        clean = right("test", 0.0)
        hard = [right("test", harder) for harder in (0.3, 1.0)]
        cheap = truth.cheap if family == "liquid" else 1.0
        trials = tuple(
            TrialResult(
                seed=s,
                hyper={"lr": 0.01},
                validation=float(validation[s]),
                tests={"pooled": {"accuracy": float(clean[s].mean())}, "later": {"accuracy": float(clean[s].mean())}},
                windows={"pooled": {"accuracy": float(clean[s].mean()) - 0.004}},
                parameters=2490,
                bytes=int(12_000 * cheap),
                train_seconds=31.0 * cheap,
                epochs=40,
                operations=5_000 * cheap,
                latency_us=44.0 * cheap,
                latency_p99_us=61.0 * cheap,
                memory_mb=310.0,
                shifts={"sensor noise": tuple(float(h[s].mean()) for h in hard)},
            )
            for s in range(n)
        )
        contenders.append(ContenderResult(name, label, family, trials, detail="Light" if family == "probe" else ""))
        under = np.stack([in_cells(h, truth) for h in hard], 1)
        sums = in_cells(clean, truth)
        unit = "series" if truth.memory is None else "stretches"
        shifts = {"sensor noise": under}
        scores[name] = Scores(truth.memory is None, sums, shifts, unit=unit, proper=surprise(sums))
    results = StudyResults(
        title="simulated",
        task=TaskResult("classification", "step", "Occupancy", "accuracy", True, ("0", "1")),
        data=DataResult(
            "simulated.csv",
            (Channel("Light", 0.0, 120.0, 190.0), Channel("CO2", 0.02, 600.0, 300.0)),
            Gaps((0.0, 1.0, 2.0), (10, 3), 1.0, 2.0, "s"),
            (
                PartResult("training", 1, 8000, 8000),
                PartResult("validation", 1, 2000, 2000),
                PartResult("later", 1, 4000, 4000),
            ),
        ),
        contenders=tuple(contenders),
        shifts=(
            ShiftResult("sensor noise", (0.1, 1.0), ("noise of 0.1 standard deviations", "of 1"), "", "noise (std)"),
        ),
    )
    return results, scores
