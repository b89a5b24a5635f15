"""Are the intervals of success rates reliable? Simulates comparisons without a true difference.

A policy's probability of success depends on its seed, on the world, on both together and on the shift. The 95 %
intervals of a rate and of a difference should contain the truth in 95 of 100 comparisons. Without a true difference,
at most 5 of 100 should say "worth it". ``python -m benchmarks.closed_loop`` prints the rows of a table in
docs/statistics.md, which :mod:`benchmarks.statistics` writes. ``--comparisons`` is their number for each kind.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np

from torchliquid.control.summary import BOUNDS, answer, rate
from torchliquid.page import Table
from torchliquid.study.stats.intervals import Term, compare, estimate

SEEDS, WORLDS, COMPARISONS = 5, 20, 500
DRAWS = 20_000
"""Draws of seeds and worlds from which the true rate is computed."""


def logistic(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


@dataclass
class Kind:
    """A kind of comparison.

    Attributes:
        middle: logit of the success of a mean seed in a mean world.
        seed, world, both, shift: standard deviations of the logit over seeds, worlds, pairs of them and shifts.
        shifts: number of shifts.
        offsets: (shifts,) effect of each shift on the logit. It is fixed, because a study names its shifts.
        truth: the true rate of success.
    """

    middle: float
    seed: float
    world: float
    both: float
    shift: float
    shifts: int

    def __post_init__(self) -> None:
        rng = np.random.default_rng(0)
        self.offsets = rng.normal(size=self.shifts) * self.shift
        spread = float(np.sqrt(self.seed**2 + self.world**2 + self.both**2))
        self.truth = float(logistic(self.middle + self.offsets + spread * rng.normal(size=(DRAWS, 1))).mean())

    def worlds(self, rng: np.random.Generator, n: int) -> np.ndarray:
        return rng.normal(size=n) * self.world

    def sums(self, rng: np.random.Generator, worlds: np.ndarray) -> np.ndarray:
        """(seeds, worlds, 2) episodes and successes of one contender in these worlds."""
        n = len(worlds)
        logit = self.middle + rng.normal(size=(SEEDS, 1, 1)) * self.seed + worlds[:, None] + self.offsets
        logit = logit + rng.normal(size=(SEEDS, n, 1)) * self.both
        won = rng.uniform(size=logit.shape) < logistic(logit)
        return np.stack([np.full((SEEDS, n), self.shifts), won.sum(2)], 2).astype(float)


def section(comparisons: int) -> str:
    """The part of docs/statistics.md, with so many comparisons of each kind."""
    rows = []
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
            shares = (f"{100 * count / comparisons:.1f} %" for count in (held, apart, wrong))
            rows.append((f"{100 * kind.truth:.0f} %", str(seed), str(world), str(both), str(shifts), *shares))
            print(*rows[-1], sep=", ", flush=True)
    head = ("success", "seeds", "worlds", "both", "shifts", "rate covered", "difference covered", "false worth it")
    return TEXT.format(comparisons=comparisons, seeds=SEEDS, worlds=WORLDS, table=Table(head, tuple(rows)).markdown())


TEXT = """## Success in closed loop

`torchliquid control` compares success rates over seeds and worlds with the same intervals. A world is a block, with its
episodes under all shifts, and the variance over seeds is added. This table simulates {comparisons} comparisons of each
kind without a true difference, with {seeds} seeds and {worlds} worlds each (`python -m benchmarks.closed_loop`). The
probability of success depends on the seed, the world, their interaction and the shift. The columns *seeds*, *worlds*
and *both* give the standard deviations of its logit, *shifts* the number of shifts. *Rate covered* and *difference
covered* are the shares of comparisons in which the interval contains the true rate or difference.

{table}

The interval of a difference contains the truth in 93 to 97 % of the comparisons. Without a difference, at most 4 % say
"worth it". The interval of a single rate is too narrow if seeds differ much and most episodes succeed, because five
seeds seldom include a bad one. No verdict depends on it.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS)
    section(parser.parse_args().comparisons)


if __name__ == "__main__":
    main()
