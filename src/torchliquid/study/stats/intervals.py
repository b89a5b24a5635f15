"""Is one contender better than another? An interval for the difference that keeps what it promises.

Two things make a test figure uncertain: the seed a model was trained from, and the test data it was scored on; under
shifts that are drawn at random, the draws are a third. The variances add as in a two-way random-effects analysis of
variance, so that the interaction of seed (or draw) and data, which is in both, counts once:

* seeds: the spread of each contender's figure between its seeds, divided by their number, less the interaction;
* data: the jackknife over blocks of the test data, every seed of both contenders losing the same block at once;
* draws: the spread of the difference between the draws, less their interaction with the data.

Blocks are whole series, or groups of series that belong together. One recording is cut in time into blocks so long that
neighbours no longer tell of each other: the length comes from the autocorrelation of the errors. What a block of a
given length still misses is added (the first-order bias of batch means, see Flegal and Jones 2010).

The interval uses Student's t with the degrees of freedom of the sum (Satterthwaite), few seeds and few blocks both
counting for what they are. Fewer than :data:`FEWEST` blocks can't decide: the interval is unknown.

No variance is no proof. Where blocks differ rarely, the few that do say little of how rarely: the interval reaches as
far as the truth could lie if it were made of events of the size seen (Wilson's interval; Tango's (1998) for pairs).
Where nothing differs at all, an event may be as large as the metric allows; in one recording it may be of any length,
and nothing is known.

Nothing is random here: the same figures always give the same interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from torchliquid.study.results import Interval, Reason

Figure = Callable[[np.ndarray], np.ndarray]
"""From summed statistics (..., K) to the figure (...), e.g. (n, squared error) to the root of their ratio."""

Bounds = tuple[float, float]

TAIL = 0.025  # what a 95 % interval leaves out on either side
NORMAL = float(stats.norm.isf(TAIL))
FEWEST = 6
"""Independent blocks from which on there is an interval."""

BLOCK_IN_CORRELATION_TIMES = 5.0
"""Found by simulation (docs/statistics.md): shorter blocks cover too little on one long recording."""

UNBOUNDED: Bounds = (-math.inf, math.inf)


@dataclass(frozen=True)
class Term:
    """One contender's part in a figure.

    Args:
        sums: (seeds, cells, K) statistics of each trained model, summed within each cell of the test data; with
            several draws of the shifts (seeds, draws, cells, K).
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


@dataclass(frozen=True)
class _Part:
    """A variance and its degrees of freedom."""

    variance: float
    freedom: float


def estimate(
    terms: Sequence[Term], figure: Figure, independent: bool | np.ndarray, bounds: Bounds = UNBOUNDED
) -> Interval:
    """95 % interval for the weighted sum of the contenders' figures, each a mean over its seeds and draws.

    Args:
        terms: one or more contenders; all scored on the same cells.
        figure: from statistics summed over cells to the figure.
        independent: (cells,) the series, or group of series, that each cell belongs to; True: each cell is a series of
            its own; False: all are pieces of one recording, in order of time.
        bounds: the least and the greatest figure that is possible; the interval ends there. One that is wider than all
            that is possible says nothing and is unknown.
    """
    terms = [replace(t, sums=t.sums if t.sums.ndim == 4 else t.sums[:, None]) for t in terms]
    # A cell without a label says nothing, and is no block of its own.
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
    if not np.isfinite(together).all():  # without one of the blocks, the figure is not defined
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
    if not event:  # nothing varies: no proof, and in one recording not even how much an event would count
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
    """How much better the first contender is than the second: positive where the first is better."""
    sign = 1.0 if higher_is_better else -1.0
    pair = (replace(first, weight=sign), replace(second, weight=-sign))
    return estimate(pair, figure, independent, bounds)


def _units(independent: bool | np.ndarray, n: int) -> np.ndarray | None:
    """(cells,) which unit each belongs to; None: one recording."""
    if isinstance(independent, np.ndarray) and independent.ndim:
        return independent
    return np.arange(n) if independent else None


def _range(bounds: Bounds, figures: Sequence[np.ndarray]) -> float:
    """The metric's range: from bound to bound; of an error without an upper one, twice the largest figure."""
    low, high = bounds
    if math.isfinite(high - low):
        return high - low
    return 2 * max(float(f.mean()) for f in figures) - low if math.isfinite(low) else math.inf


def _events(value: float, left_out: np.ndarray) -> tuple[float, float]:
    """What a block usually says, and by how much one says another thing where it does; 0 where none does."""
    n = len(left_out)
    apart = n * value - (n - 1) * left_out
    usual = float(np.median(apart))
    apart = apart - usual
    size = float(np.abs(apart).sum())
    if size <= 1e-9 * n * max(abs(usual), 1e-300):
        return usual, 0.0
    return usual, float((apart**2).sum()) / size


def _rare(apart: float, share: float, beside: float) -> float:
    """How far the truth may lie out from a value that lies ``apart`` from the usual already, where rare events of the
    size seen make it: in a compound Poisson process the variance of their mean, at the truth and not at the value, is
    that mean times an event's share of it (Wilson's way; Tango's (1998) for pairs)."""
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
    """Variance of a mean over seeds or draws (R,) that is theirs alone, without the interaction with the data, which
    the figures without each block (R, blocks) show: the data's variance holds it already."""
    r, n = left_out.shape
    between = float(figures.var(ddof=1)) / r
    own = left_out - left_out.mean(1, keepdims=True)
    own = own - own.mean(0)
    shared = missed * (n - 1) / n * float((own**2).sum()) / (r * (r - 1))
    return _Part(between - shared, r - 1.0)


def _jackknife(left_out: np.ndarray) -> float:
    """Variance over the test data, from the figure without each block in turn."""
    n = len(left_out)
    return float((n - 1) / n * np.sum((left_out - left_out.mean()) ** 2))


def _leave_out(sums: np.ndarray, figure: Figure, blocks: np.ndarray) -> np.ndarray:
    """(seeds, draws, blocks) the figure without each block in turn."""
    n = int(blocks.max()) + 1
    found = np.empty((*sums.shape[:2], n))
    for place in np.ndindex(*sums.shape[:2]):
        per_block = np.zeros((n, sums.shape[3]))
        np.add.at(per_block, blocks, sums[place])
        found[place] = figure(per_block.sum(0) - per_block)
    return found


def _blocks(terms: Sequence[Term], figure: Figure, units: np.ndarray | None) -> tuple[np.ndarray, float]:
    """(cells,) the block each cell belongs to: its unit, or in one recording a run of neighbours; and how many times
    the variance is that of the means of such blocks."""
    if units is not None:
        return np.unique(units, return_inverse=True)[1], 1.0
    n = terms[0].sums.shape[2]
    cells = np.arange(n)
    if n < FEWEST:
        return cells, 1.0
    single = [t.weight * _leave_out(t.sums, figure, cells).mean((0, 1)) for t in terms]
    together = np.sum(single, 0)
    # What is constant but for rounding has no time of its own.
    varying = [one for one in single if one.std() > 1e-6 * together.std()]
    time = max(map(correlation_time, (together, *varying)))
    length = max(1, math.ceil(BLOCK_IN_CORRELATION_TIMES * time))
    return cells * max(1, n // length) // n, 1 / (1 - min(time / length, 0.5))


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
