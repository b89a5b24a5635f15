"""Are the intervals of success rates reliable? Simulates comparisons without a true difference.

A policy's probability of success depends on its seed, on the world, on both together and on the shift. The 95 %
intervals of a rate and of a difference should contain the truth in 95 of 100 comparisons. Without a true difference,
at most 5 of 100 should say "worth it". ``--comparisons`` is the number of comparisons of each kind.
"""

from __future__ import annotations

import argparse

import numpy as np

from torchliquid.control.summary import BOUNDS, answer, rate
from torchliquid.study.stats.intervals import Term, compare, estimate

SEEDS, WORLDS = 5, 20
DRAWS = 20_000
"""Draws of seeds and worlds from which the true rate is computed."""


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


class Kind:
    """What a success depends on, as standard deviations of its logit."""

    def __init__(self, middle: float, seed: float, world: float, both: float, shift: float, shifts: int) -> None:
        self.middle, self.seed, self.world, self.both, self.shift, self.shifts = (
            middle,
            seed,
            world,
            both,
            shift,
            shifts,
        )
        rng = np.random.default_rng(0)
        # The shifts are fixed: they are those that were asked for.
        self.offsets = rng.normal(size=shifts) * shift
        spread = float(np.sqrt(seed**2 + world**2 + both**2))
        self.truth = float(logistic(middle + self.offsets + spread * rng.normal(size=(DRAWS, 1))).mean())

    def worlds(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.normal(size=n) * self.world

    def sums(self, rng: np.random.Generator, worlds: np.ndarray) -> np.ndarray:
        """(seeds, worlds, 2) episodes and successes of one contender in these worlds."""
        n = len(worlds)
        logit = self.middle + rng.normal(size=(SEEDS, 1, 1)) * self.seed + worlds[:, None] + self.offsets
        logit = logit + rng.normal(size=(SEEDS, n, 1)) * self.both
        won = rng.uniform(size=logit.shape) < logistic(logit)
        return np.stack([np.full((SEEDS, n), self.shifts), won.sum(2)], 2).astype(float)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=1000)
    comparisons = parser.parse_args().comparisons
    print(f"{SEEDS} seeds, {WORLDS} worlds, {comparisons} comparisons of each kind")
    print("| success | seeds | worlds | both | shifts | rate covered | difference covered | false worth it |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for middle in (0.0, 1.5, 3.0):
        for seed, world, both, shifts in (
            (0.0, 0.0, 0.0, 1),
            (0.5, 1.0, 0.5, 1),
            (1.0, 1.0, 0.5, 8),
            (0.3, 2.0, 0.3, 8),
        ):
            kind, rng = Kind(middle, seed, world, both, 1.0 if shifts > 1 else 0.0, shifts), np.random.default_rng(1)
            held, apart, wrong = 0, 0, 0
            for _ in range(comparisons):
                worlds = kind.worlds(rng, WORLDS)
                first, second = (Term(kind.sums(rng, worlds)) for _ in range(2))
                alone = estimate([first], rate, True, BOUNDS)
                held += alone.low <= kind.truth <= alone.high
                difference = compare(first, second, rate, True, True, BOUNDS)
                apart += difference.low <= 0 <= difference.high
                wrong += answer(difference) == "worth it"
            shares = " | ".join(f"{100 * count / comparisons:.1f} %" for count in (held, apart, wrong))
            print(f"| {100 * kind.truth:.0f} % | {seed} | {world} | {both} | {shifts} | {shares} |", flush=True)


if __name__ == "__main__":
    main()
