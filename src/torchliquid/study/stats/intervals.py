"""Is one contender better than another? An interval for the difference with the promised coverage.

A test score is uncertain for two reasons: the seed of the training, and the test data; with random shifts, the draws
are a third. The variances add up as in a two-way random-effects analysis of variance. The interaction of seed (or draw)
and data is in both, so it is subtracted once:

* seeds: the variance of each contender's score between its seeds, divided by their number, less the interaction;
* data: the jackknife over blocks of the test data, with the same block left out for all seeds of both contenders;
* draws: the variance of the difference between the draws, less their interaction with the data.

Blocks are whole series, or groups of series that belong together. A single recording is divided in time into blocks
that are long enough to be nearly independent: their length follows from the autocorrelation of the errors. What blocks
of a given length still miss is added (the first-order bias of batch means, see Flegal and Jones 2010).

The interval uses Student's t with the degrees of freedom of the sum (Satterthwaite), which accounts for few seeds and
few blocks. With fewer than :data:`FEWEST` blocks the interval is unknown.

No variance is no proof. If blocks rarely differ, the few that do say little about how rarely. Then the interval extends
as far as the truth could be if it consisted of events of the observed size (Wilson's interval; Tango's (1998) for
pairs). If nothing differs at all, an event may be as large as the metric allows. In a single recording it may have any
length, so the interval is unknown.

There are no random numbers here: the same scores always give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from torchliquid.study.results import Interval, Reason

Figure = Callable[[np.ndarray], np.ndarray]
"""From summed statistics (..., K) to the score (...), e.g. (n, squared error) to the root of their ratio."""

Bounds = tuple[float, float]

TAIL = 0.025  # outside a 95 % interval, on each side
NORMAL = float(stats.norm.isf(TAIL))
FEWEST = 6
"""Minimum number of independent blocks for an interval."""

BLOCK_IN_CORRELATION_TIMES = 5.0
"""Found by simulation (docs/statistics.md): shorter blocks cover too little on one long recording."""

UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True)
class Term:
    """One contender's part in a score.

    Args:
        sums: (seeds, cells, K) statistics of each trained model, summed within each cell of the test data; with several
            draws of the shifts (seeds, draws, cells, K).
        weight: weight of its score, 1 or -1 in a difference.
        deterministic: whether the model is the same for any seed, so that one trial is enough. If it is not and there
            is one trial, its spread is unknown and the interval infinite.
        chosen_from: number of contenders among which it was best on validation. The best of several owes part of its
            rank to its seeds, whose effect shows on the test data too. The variance of its seeds is increased so that
            the interval holds for all of them at once (Bonferroni).
    """

    sums: np.ndarray
    weight: float = 1.0
    deterministic: bool = False
    chosen_from: int = 1


@dataclass(frozen=True)
class _Part:
    """A variance and its degrees of freedom."""

    variance: float
    freedom: float


def estimate(
    terms: Sequence[Term], figure: Figure, independent: bool | np.ndarray, bounds: Bounds = UNBOUNDED
) -> Interval:
    """95 % interval for the weighted sum of the contenders' scores, each a mean over its seeds and draws.

    Args:
        terms: one or more contenders, all scored on the same cells.
        figure: from statistics summed over cells to the score.
        independent: (cells,) the series, or group of series, that each cell belongs to; True: each cell is its own
            series; False: all are pieces of one recording, in the order of time.
        bounds: the smallest and the largest possible score; the interval ends there. An interval that covers the whole
            possible range is unknown.
    """
    terms = [replace(t, sums=t.sums if t.sums.ndim == 4 else t.sums[:, None]) for t in terms]
    # A cell without a label contains no information and is not a block.
    scored = np.any([(t.sums != 0).any((0, 1, 3)) for t in terms], axis=0)
    units = _units(independent, terms[0].sums.shape[2])
    if scored.any():
        terms = [replace(t, sums=t.sums[:, :, scored]) for t in terms]
        units = None if units is None else units[scored]
    figures = [figure(t.sums.sum(2)) for t in terms]
    value = float(sum(t.weight * f.mean() for t, f in zip(terms, figures, strict=True)))

    blocks, missed = _blocks(terms, figure, units)
    n, unit = int(blocks.max()) + 1, "stretches" if units is None else "series"

    def unknown(reason: Reason) -> Interval:
        return Interval(value, -math.inf, math.inf, n, unit, reason=reason)

    if n < FEWEST or not math.isfinite(value):
        return unknown("few")
    left_out = [_leave_out(t.sums, figure, blocks) for t in terms]
    together = sum(t.weight * one.mean(0) for t, one in zip(terms, left_out, strict=True))
    assert isinstance(together, np.ndarray)  # (draws, blocks)
    if not np.isfinite(together).all():  # without one of the blocks, the score is undefined
        return unknown("few")
    variance = _jackknife(together.mean(0)) * missed
    draws = sum(t.weight * f.mean(0) for t, f in zip(terms, figures, strict=True))
    drawn = [_repeats(draws, together, missed)] if len(together) > 1 else []
    seeds = [
        _seeds(t, f.mean(1), one.mean(1), missed)
        for t, f, one in zip(terms, figures, left_out, strict=True)
        if not t.deterministic
    ]
    of_seeds, of_draws = (max(sum((part.variance for part in parts), 0.0), 0.0) for parts in (seeds, drawn))
    beside = of_seeds + of_draws
    if not math.isfinite(beside):
        return unknown("seed")
    span = _range(bounds, figures)
    usual, event = _events(value, together.mean(0))
    if not event:  # nothing varies: no proof, and in one recording the size of an event is unknown too
        if unit == "stretches" or (math.isinf(span) and beside == 0):
            return unknown("constant")
        event = span if math.isfinite(span) else 0.0
    spread = variance**2 / (n - 1) + sum(max(part.variance, 0.0) ** 2 / part.freedom for part in (*seeds, *drawn))
    freedom = (variance + beside) ** 2 / spread if spread > 0 else n - 1.0
    quantile = float(stats.t.isf(TAIL, freedom))
    share = event / n * missed
    reach = quantile * math.sqrt(variance + beside)
    up, down = (max(reach, _rare(sign * (value - usual), share, beside)) for sign in (1, -1))
    low, high = value - down, value + up
    if high - low > span:
        return unknown("wide")
    weights = [t.weight for t in terms]
    low = max(low, sum(w * bounds[w < 0] for w in weights))
    high = min(high, sum(w * bounds[w > 0] for w in weights))
    return Interval(value, low, high, n, unit, variance, of_seeds)


def compare(
    first: Term,
    second: Term,
    figure: Figure,
    higher_is_better: bool,
    independent: bool | np.ndarray,
    bounds: Bounds = UNBOUNDED,
) -> Interval:
    """How much better the first contender is than the second: positive if the first is better."""
    sign = 1.0 if higher_is_better else -1.0
    pair = (replace(first, weight=sign), replace(second, weight=-sign))
    return estimate(pair, figure, independent, bounds)


def _units(independent: bool | np.ndarray, n: int) -> np.ndarray | None:
    """(cells,) the unit of each cell; None: one recording."""
    if isinstance(independent, np.ndarray) and independent.ndim:
        return independent
    return np.arange(n) if independent else None


def _range(bounds: Bounds, figures: Sequence[np.ndarray]) -> float:
    """The range of the metric between its bounds; for an error without an upper bound, twice the largest value."""
    low, high = bounds
    if math.isfinite(high - low):
        return high - low
    return 2 * max(float(f.mean()) for f in figures) - low if math.isfinite(low) else math.inf


def _events(value: float, left_out: np.ndarray) -> tuple[float, float]:
    """The usual value of a block, and by how much others differ if they do; 0 if none does."""
    n = len(left_out)
    apart = n * value - (n - 1) * left_out
    usual = float(np.median(apart))
    apart = apart - usual
    size = float(np.abs(apart).sum())
    if size <= 1e-9 * n * max(abs(usual), 1e-300):
        return usual, 0.0
    return usual, float((apart**2).sum()) / size


def _rare(apart: float, share: float, beside: float) -> float:
    """How far the truth may be from a value that already is ``apart`` from the usual one, if it consists of rare events
    of the observed size: in a compound Poisson process the variance of their mean, at the truth and not at the value,
    is this mean times an event's share of it (as in Wilson's interval; Tango's (1998) for pairs)."""
    half = NORMAL**2 * share / 2
    return half + math.sqrt(max(half**2 + NORMAL**2 * (share * apart + beside), 0.0))


def _seeds(term: Term, figures: np.ndarray, left_out: np.ndarray, missed: float) -> _Part:
    if len(figures) < 2:
        return _Part(math.inf, 1.0)
    freedom = len(figures) - 1.0
    raised = stats.t.isf(TAIL / term.chosen_from, freedom) / stats.t.isf(TAIL, freedom)
    part = _repeats(figures, left_out, missed)
    return _Part(float(term.weight**2 * raised**2) * part.variance, freedom)


def _repeats(figures: np.ndarray, left_out: np.ndarray, missed: float) -> _Part:
    """Variance of a mean over seeds or draws (R,) without the interaction with the data. The interaction follows from
    the scores without each block (R, blocks), and is already part of the data's variance."""
    r, n = left_out.shape
    between = float(figures.var(ddof=1)) / r
    own = left_out - left_out.mean(1, keepdims=True)
    own = own - own.mean(0)
    shared = missed * (n - 1) / n * float((own**2).sum()) / (r * (r - 1))
    return _Part(between - shared, r - 1.0)


def _jackknife(left_out: np.ndarray) -> float:
    """Variance over the test data, from the scores with one block left out at a time."""
    n = len(left_out)
    return float((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))


def _leave_out(sums: np.ndarray, figure: Figure, blocks: np.ndarray) -> np.ndarray:
    """(seeds, draws, blocks) the scores with one block left out at a time."""
    n = int(blocks.max()) + 1
    found = np.empty((*sums.shape[:2], n))
    for place in np.ndindex(*sums.shape[:2]):
        per_block = np.zeros((n, sums.shape[3]))
        np.add.at(per_block, blocks, sums[place])
        found[place] = figure(per_block.sum(0) - per_block)
    return found


def _blocks(terms: Sequence[Term], figure: Figure, units: np.ndarray | None) -> tuple[np.ndarray, float]:
    """(cells,) the block of each cell: its unit, or in one recording a run of neighbours; and the ratio of the variance
    to that of the means of such blocks."""
    if units is not None:
        return np.unique(units, return_inverse=True)[1], 1.0
    n = terms[0].sums.shape[2]
    cells = np.arange(n)
    if n < FEWEST:
        return cells, 1.0
    single = [t.weight * _leave_out(t.sums, figure, cells).mean((0, 1)) for t in terms]
    together = np.sum(single, 0)
    # A sequence that is constant up to rounding has no correlation time.
    varying = [one for one in single if one.std() > 1e-6 * together.std()]
    time = max(map(correlation_time, (together, *varying)))
    length = max(1, math.ceil(BLOCK_IN_CORRELATION_TIMES * time))
    return cells * max(1, n // length) // n, 1 / (1 - min(time / length, 0.5))


def correlation_time(x: np.ndarray) -> float:
    """Integrated autocorrelation time of a sequence, in samples; 0 if neighbours are unrelated.

    Half of Sokal's tau without the sample itself: the sum of the autocorrelations up to the first lag that is five
    times the sum so far, which leaves out the noise of larger lags.
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
