"""Is one contender better than another? An interval for the difference that keeps what it promises.

Two things make a test figure uncertain: the seed a model was trained from, and the test data it was scored on.
Their variances are estimated apart and added:

* seeds: the spread of each contender's figure between its seeds, divided by their number;
* data: the jackknife over blocks of the test data, every seed of both contenders losing the same block at once.
  Blocks are whole series where there are many. A few long recordings are cut in time into blocks so long that
  neighbours no longer tell of each other: the length comes from the autocorrelation of the difference.

The interval uses Student's t with the degrees of freedom of the sum (Satterthwaite), few seeds and few blocks
both counting for what they are. Three seeds alone, without the t, would cover two thirds where they claim 95 %.
Nothing is random here: the same figures always give the same interval.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from torchliquid.study.results import Interval

Figure = Callable[[np.ndarray], np.ndarray]
"""From summed statistics (..., K) to the figure (...), e.g. (n, squared error) to the root of their ratio."""

Combined = Callable[[Sequence[np.ndarray]], np.ndarray]

TAIL = 0.025  # what a 95 % interval leaves out on either side
MIN_BLOCKS = 4
BLOCK_IN_CORRELATION_TIMES = 8.0  # found by simulation: shorter blocks cover too little on one long recording


@dataclass(frozen=True)
class Term:
    """One contender's part in a figure.

    Args:
        sums: (seeds, cells, K) statistics of each trained model, summed within each cell of the test data.
        weight: what its figure counts for, 1 or -1 in a difference.
        deterministic: the same model for any seed, so that one trial says all. A contender that isn't, and has
            one trial, leaves its spread unknown: the interval is infinite.
        chosen_from: the number of contenders among which it was best on validation. The best of several owes
            part of its place to lucky seeds, which show on the test data too; its seeds' variance is raised so
            that the interval holds for all of them at once (Bonferroni).
    """

    sums: np.ndarray
    weight: float = 1.0
    deterministic: bool = False
    chosen_from: int = 1


def estimate(terms: Sequence[Term], figure: Figure, independent: bool) -> Interval:
    """95 % interval for the weighted sum of the contenders' figures, each a mean over its seeds.

    Args:
        terms: one or more contenders; all scored on the same cells.
        figure: from statistics summed over cells to the figure.
        independent: the cells are whole series; otherwise pieces of recordings, in order of time.
    """
    # A cell without a label says nothing, and is no block of its own.
    scored = np.any([(t.sums != 0).any((0, 2)) for t in terms], axis=0)
    if scored.any():
        terms = [replace(t, sums=t.sums[:, scored]) for t in terms]

    def combined(sums: Sequence[np.ndarray]) -> np.ndarray:
        return np.asarray(sum(t.weight * figure(s).mean(0) for t, s in zip(terms, sums, strict=True)))

    value = float(combined([t.sums.sum(1) for t in terms]))
    parts = [_seed_variance(t, figure) for t in terms if not t.deterministic]
    parts.append(_jackknife(terms, combined, block_labels(terms, combined, independent)))
    total = sum(variance for variance, _ in parts)
    reach = np.inf
    if total == 0:
        reach = 0.0
    elif np.isfinite(total) and np.isfinite(value):
        freedom = total**2 / sum(v**2 / f for v, f in parts)
        reach = float(stats.t.isf(TAIL, freedom) * np.sqrt(total))
    return Interval(value, value - reach, value + reach)


def compare(first: Term, second: Term, figure: Figure, higher_is_better: bool, independent: bool) -> Interval:
    """How much better the first contender is than the second: positive where the first is better."""
    sign = 1.0 if higher_is_better else -1.0
    pair = (replace(first, weight=sign), replace(second, weight=-sign))
    return estimate(pair, figure, independent)


def _seed_variance(term: Term, figure: Figure) -> tuple[float, float]:
    """Variance of the mean over seeds, and its degrees of freedom."""
    figures = figure(term.sums.sum(1))
    if len(figures) < 2:
        return np.inf, 1.0
    freedom = len(figures) - 1.0
    raised = stats.t.isf(TAIL / term.chosen_from, freedom) / stats.t.isf(TAIL, freedom)
    return float(term.weight**2 * raised**2 * figures.var(ddof=1) / len(figures)), freedom


def _jackknife(terms: Sequence[Term], combined: Combined, blocks: np.ndarray) -> tuple[float, float]:
    """Variance over test data, by leaving out one block at a time, and its degrees of freedom."""
    n = int(blocks.max()) + 1
    if n < 2:
        return np.inf, 1.0
    left_out = _leave_out(terms, combined, blocks)
    return float((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2)), n - 1.0


def _leave_out(terms: Sequence[Term], combined: Combined, blocks: np.ndarray) -> np.ndarray:
    """(blocks,) the combined figure without each block in turn."""
    rest = []
    for term in terms:
        per_block = np.zeros((int(blocks.max()) + 1, term.sums.shape[0], term.sums.shape[2]))
        np.add.at(per_block, blocks, term.sums.swapaxes(0, 1))
        rest.append((per_block.sum(0) - per_block).swapaxes(0, 1))
    return combined(rest)


def block_labels(terms: Sequence[Term], combined: Combined, independent: bool) -> np.ndarray:
    """(cells,) the block each cell belongs to: itself where cells are independent, else a run of neighbours."""
    n = terms[0].sums.shape[1]
    cells = np.arange(n)
    if independent or n <= MIN_BLOCKS:
        return cells
    influence = _leave_out(terms, combined, cells)
    length = max(1, int(np.ceil(BLOCK_IN_CORRELATION_TIMES * correlation_time(influence))))
    return cells * max(MIN_BLOCKS, n // length) // n


def correlation_time(x: np.ndarray) -> float:
    """Integrated autocorrelation time of a sequence, in samples; 0 for one whose neighbours are unrelated.

    Half of Sokal's tau less the sample itself: the sum of the autocorrelations up to the first lag that is five
    times the sum so far, which keeps the noise of the far lags out.
    """
    x = x - x.mean()
    n = len(x)
    variance = float(x @ x)
    if variance <= 0:
        return 0.0
    spectrum = np.abs(np.fft.rfft(x, 2 * n)) ** 2
    autocorrelation = np.fft.irfft(spectrum)[:n] / variance
    totals = autocorrelation[1 : n // 2].cumsum()
    enough = np.flatnonzero(np.arange(1, len(totals) + 1) >= 5 * (0.5 + totals))
    return max(0.0, float(totals[enough[0]] if len(enough) else totals.max(initial=0.0)))
