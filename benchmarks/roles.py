"""How often are false roles found, and how often true ones? ``python -m benchmarks.roles`` writes docs/roles.md.

The signals are generated without a model: each neuron follows one of seven signals with a lag of two samples, or none.
The benchmark measures the search of :func:`torchliquid.explain.roles` in one recording.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import beta

from torchliquid.explain.roles import needed
from torchliquid.explain.surrogates import Surrogates, chances, ranked
from torchliquid.page import Table

PAGE = Path("docs/roles.md")
RECORDINGS = 200
LENGTHS = (600, 1500)
LEVEL = 0.025
HEAD = f"""# False and true roles

Written by `python -m benchmarks.roles`. `explain` searches for what each neuron follows. How often does
it find roles that do not exist, and how often those that do? Each row uses {RECORDINGS} simulated recordings of two
kinds:

* *false*: seven neurons and seven signals that drift in the same way and are independent of each other. Any role
  found is false.
* *found*: seven neurons that each follow one signal with a lag of two samples, a memory of their own, and noise of
  half a standard deviation.

False roles are allowed in one recording in twenty: half of that for what a neuron follows, half for what is lost
without it. "By correlation alone" is the same search without testing what a signal adds to the neuron's own past, as
`explain` did at first.

"""
NEEDED = """
## What is lost without a neuron

The same signals. The model's answer is the mean of the seven neurons. For *false*, the target is an independent
signal; for *found*, it is the mean of the seven signals. "By the error alone" tests only whether the squared error
grows more than with the target of another time, as `explain` did at first.

"""

Process = Callable[[np.random.Generator, int], np.ndarray]


def slow(rng: np.random.Generator, n: int, memory: float = 0.9) -> np.ndarray:
    x = rng.normal(size=(n, 7))
    for t in range(1, n):
        x[t] += memory * x[t - 1]
    return x


PROCESSES: dict[str, Process] = {
    "slow, memory 0.9": slow,
    "slower, memory 0.99": lambda rng, n: slow(rng, n, 0.99),
    "trends": lambda rng, n: np.arange(n)[:, None] / n * rng.normal(0, 5, 7) + slow(rng, n, 0.5),
    "trends that bend": lambda rng, n: np.linspace(0, 1, n)[:, None] ** 2 * rng.normal(0, 5, 7) + slow(rng, n, 0.5),
    "random walks": lambda rng, n: rng.normal(size=(n, 7)).cumsum(0),
    "on and off in runs": lambda rng, n: (slow(rng, n, 0.95) > 0).astype(float),
}


def found(x: np.ndarray, y: np.ndarray, seed: int, with_news: bool) -> np.ndarray:
    """(H, F) the links that the search finds."""
    draws, lags = Surrogates.draw([len(x)], False, seed), max(6, len(x) // 100)
    real, drawn = draws.correlations(*(draws.telling([z]) if with_news else ranked([z]) for z in (x, y)), lags)
    return chances(np.abs(real).max(2), drawn) <= LEVEL


def missed(x: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """(H,) the neurons that the search finds to be needed."""
    draws = Surrogates.draw([len(x)], False, seed)
    adds = (x - x.mean(0)) / x.shape[1]
    return needed([adds[:, :, None]], [truth[:, None]], draws, draws, max(6, len(x) // 100))[0] <= LEVEL


def missed_by_error(x: np.ndarray, truth: np.ndarray, seed: int) -> np.ndarray:
    """(H,) the same, by the growth of the squared error compared with that for the truth of another time."""
    adds = (x - x.mean(0)) / x.shape[1]

    def grows(truth: np.ndarray) -> np.ndarray:
        """Twice the covariance; each neuron's own variance is the same at any time."""
        return np.maximum(adds.T @ (truth - truth.mean()), 0.0) / (np.linalg.norm(adds, axis=0) * np.linalg.norm(truth))

    offsets = Surrogates.draw([len(x)], False, seed).offsets
    assert offsets is not None
    drawn = np.stack([grows(np.roll(truth, offset)) for offset in offsets[:, 0]])
    return chances(grows(truth), drawn) <= LEVEL


def followers(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = np.tanh((np.roll(y, 2, 0) - y.mean(0)) / y.std(0)) + 0.5 * rng.normal(size=y.shape)
    for t in range(1, len(x)):
        x[t] = 0.7 * x[t - 1] + 0.3 * x[t]
    return x


def row(name: str, process: Process, n: int) -> tuple[str, ...]:
    """A row of the first table: what neurons follow."""
    alone, false, right = 0, 0, 0
    for seed in range(RECORDINGS):
        x, y = (process(np.random.default_rng([seed, i]), n) for i in (0, 1))
        false += found(x, y, seed, True).any()
        alone += found(x, y, seed, False).any()
        right += np.diag(found(followers(y, np.random.default_rng([seed, 2])), y, seed, True)).sum()
    return line(name, n, false, alone, right)


def needed_row(name: str, process: Process, n: int) -> tuple[str, ...]:
    """A row of the second table: what is lost without them."""
    alone, false, right = 0, 0, 0
    for seed in range(RECORDINGS):
        x, y = (process(np.random.default_rng([seed, i]), n) for i in (0, 1))
        y = (y - y.mean(0)) / y.std(0)
        false += missed(x / x.std(0), y[:, 0], seed).any()
        alone += missed_by_error(x / x.std(0), y[:, 0], seed).any()
        right += missed(followers(y, np.random.default_rng([seed, 2])), y.mean(1), seed).sum()
    return line(name, n, false, alone, right)


def line(name: str, n: int, false: int, alone: int, right: int) -> tuple[str, ...]:
    low, high = beta.ppf([0.025, 0.975], [false, false + 1], [RECORDINGS - false + 1, RECORDINGS - false])
    share = f"{false / RECORDINGS:.1%} ({np.nan_to_num(low):.1%} to {high:.1%})"
    return name, f"{n:,}", share, f"{alone / RECORDINGS:.1%}", f"{right / RECORDINGS:.1f} of 7"


def main() -> None:
    text = HEAD
    for between, before, of in (("", "correlation", row), (NEEDED, "the error", needed_row)):
        rows = []
        for name, process in PROCESSES.items():
            for n in LENGTHS:
                rows.append(of(name, process, n))
                print(*rows[-1], sep=", ", flush=True)
        head = ("signals", "samples", "false, a recording (95 %)", f"by {before} alone", "found")
        text += between + Table(head, tuple(rows)).markdown() + "\n"
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
