"""How often roles are found where there are none, and where there are, written to docs/roles.md:
``python -m benchmarks.roles``.

Signals are made without a model: neurons that follow one of seven signals two samples behind, or none. What is
measured is the search of :func:`torchliquid.explain.roles` in one recording.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.stats import beta, rankdata

from torchliquid.explain.surrogates import Surrogates, chances, news

PAGE = Path("docs/roles.md")
RECORDINGS = 200
LENGTHS = (600, 1500)
LEVEL = 0.025
HEAD = f"""# Roles that are none, and roles that are found

Written by `python -m benchmarks.roles`; not by hand. `explain` looks for what each neuron follows. Here it looks in
{RECORDINGS} made recordings a row: seven neurons and seven signals that drift in the same way and have nothing to do
with each other, where any role that is found is false; and seven neurons that each follow one signal two samples
behind, with noise of half a deviation, through a memory of their own.

A role may be found falsely in one recording in twenty: half of that for what a neuron follows, which is measured here,
half for what is lost without it. "By correlation alone" is the same search without a look at what signals add to their
own past: what `explain` did at first.

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
    """(H, F) which links the search finds."""
    draws = Surrogates.draw([len(x)], False, seed)
    ranked = [rankdata(x, axis=0)], [rankdata(y, axis=0)]
    compared = tuple(map(news, ranked)) if with_news else ranked
    real, drawn = draws.correlations(*compared, max(6, len(x) // 100))
    return (
        chances(np.arctanh(np.minimum(np.abs(real).max(2), 1 - 1e-6)), np.arctanh(np.minimum(drawn, 1 - 1e-6))) <= LEVEL
    )


def followers(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    x = np.tanh((np.roll(y, 2, 0) - y.mean(0)) / y.std(0)) + 0.5 * rng.normal(size=y.shape)
    for t in range(1, len(x)):
        x[t] = 0.7 * x[t - 1] + 0.3 * x[t]
    return x


def row(name: str, process: Process, n: int) -> str:
    false = {True: 0, False: 0}
    right = 0
    for seed in range(RECORDINGS):
        x, y = (process(np.random.default_rng([seed, i]), n) for i in (0, 1))
        for with_news in false:
            false[with_news] += found(x, y, seed, with_news).any()
        right += np.diag(found(followers(y, np.random.default_rng([seed, 2])), y, seed, True)).sum()
    low, high = beta.ppf(
        [0.025, 0.975], [false[True], false[True] + 1], [RECORDINGS - false[True] + 1, RECORDINGS - false[True]]
    )
    shares = (
        f"{false[True] / RECORDINGS:.1%} ({np.nan_to_num(low):.1%} to {high:.1%})",
        f"{false[False] / RECORDINGS:.1%}",
    )
    return f"| {name} | {n:,} | {shares[0]} | {shares[1]} | {right / RECORDINGS:.1f} of 7 |"


def main() -> None:
    rows = [
        "| signals | samples | false, a recording (95 %) | by correlation alone | found |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, process in PROCESSES.items():
        for n in LENGTHS:
            rows.append(row(name, process, n))
            print(rows[-1], flush=True)
    PAGE.write_text(HEAD + "\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
