"""Find series that share rows, such as overlapping windows of one recording, or a recording given twice.

Training data must not be in the test part. Times do not help, since each window may start at zero. So series are
compared by stretches of values: runs of changes that are too long to be equal by chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
import scipy  # its parts are imported when they are used

from torchliquid.data.recording import Recording, Series

LEAST = 0.05
"""Two series share rows if at least this share of the stretches of one is in the other."""

CERTAINTY = 20.0
"""Bits of information of a stretch, beyond those that identify a pair of positions."""

ODD = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, eq=False)
class Stretches:
    """All stretches of several series that contain enough information.

    Attributes:
        n: number of series.
        hashes: (M,) uint64, equal if the values are.
        series: (M,) series of each stretch.
        rows: (M,) first row of each stretch in its series.
    """

    n: int
    hashes: np.ndarray
    series: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, series: Sequence[Series]) -> Stretches:
        """Find the stretches: runs of changes, each given by the new values and the duration of the previous ones.

        The information of a change is -log2 of the share of such changes. A constant sensor contains none, the tick of
        a clock little.
        """
        symbols, steps, whose, rows = _changes(series)
        if not len(symbols):
            return cls(len(series), symbols, whose, rows)
        _, kind, count = np.unique(steps, return_inverse=True, return_counts=True)
        bits = -np.log2(count[kind] / len(steps))
        needed = 2 * np.log2(len(symbols)) + CERTAINTY
        information = np.concatenate([[0.0], np.cumsum(bits)])
        starts = np.arange(len(symbols))
        stops = np.searchsorted(information, information[:-1] + needed - 1e-6)
        firm = stops <= len(symbols)
        firm[firm] = whose[stops[firm] - 1] == whose[firm]
        hashes = _runs(symbols, starts[firm], stops[firm])
        return cls(len(series), hashes, whose[firm], rows[firm])._with_short(symbols, whose, rows, bits)

    def _with_short(self, symbols: np.ndarray, whose: np.ndarray, rows: np.ndarray, bits: np.ndarray) -> Stretches:
        """Add each series that is too short for a stretch as one stretch."""
        starts = np.searchsorted(whose, np.arange(self.n + 1))
        needed = 2 * np.log2(self.n)  # enough for two series that are entirely equal
        have = np.bincount(self.series, minlength=self.n)
        whole = [
            (hash(symbols[a:b].tobytes()) & (2**64 - 1), i, rows[a])
            for i, (a, b) in enumerate(pairwise(starts.tolist()))
            if not have[i] and b > a and bits[a:b].sum() >= needed
        ]
        if not whole:
            return self
        h, s, r = zip(*whole, strict=True)
        return Stretches(
            self.n,
            np.concatenate([self.hashes, np.array(h, dtype=np.uint64)]),
            np.concatenate([self.series, np.array(s)]),
            np.concatenate([self.rows, np.array(r)]),
        )

    def share(self, of: np.ndarray, known: np.ndarray) -> np.ndarray:
        """(n,) share of the stretches of each series in ``of`` (n,) that are also in one of ``known`` (n,); else 0."""
        asked = of[self.series]
        shared = np.isin(self.hashes[asked], self.hashes[known[self.series]])
        total = np.bincount(self.series[asked], minlength=self.n)
        return np.bincount(self.series[asked], shared, minlength=self.n) / np.maximum(total, 1)


def share_in(part: Recording, learnt: Sequence[Recording]) -> float:
    """The share of a part's stretches that are also in the training data."""
    series = [s for recording in (part, *learnt) for s in recording.series]
    asked = np.arange(len(series)) < part.n_series
    stretches = Stretches.of(series)
    shares = stretches.share(asked, ~asked)[asked]
    weights = np.bincount(stretches.series, minlength=len(series))[asked]
    return float(shares @ weights / max(weights.sum(), 1))


@dataclass(frozen=True, eq=False)
class Units:
    """Series grouped into units that share rows.

    Attributes:
        stretches: of the series.
        unit: (n,) index of the unit of each series; series share rows directly or along a chain.
        start: (n,) row of the unit at which each series begins, as far as shared rows show.
    """

    stretches: Stretches
    unit: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, series: Sequence[Series]) -> Units:
        """Find the series that share rows."""
        stretches = Stretches.of(series)
        first, second, offset = _pairs(stretches)
        n = len(series)
        graph = scipy.sparse.coo_array((np.ones(len(first)), (first, second)), shape=(n, n)).tocsr()
        _, unit = scipy.sparse.csgraph.connected_components(graph, directed=False)
        start = np.zeros(n, dtype=np.int64)
        between = {(a, b): o for a, b, o in zip(first.tolist(), second.tolist(), offset.tolist(), strict=True)}
        seen = np.zeros(n, dtype=bool)
        for root in first.tolist():
            if seen[root]:
                continue
            order, before = scipy.sparse.csgraph.breadth_first_order(graph, root, directed=False)
            for one in order[1:].tolist():
                b = int(before[one])
                start[one] = start[b] + (between[b, one] if (b, one) in between else -between[one, b])
            seen[order] = True
        return cls(stretches, unit, start)


def _pairs(stretches: Stretches) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of series that share rows, and the offset of the second in rows.

    A stretch in many series links each only to the next one, which gives the same chains with fewer links.
    """
    n = stretches.n
    order = np.lexsort((stretches.rows, stretches.series, stretches.hashes))
    hashes, series, rows = stretches.hashes[order], stretches.series[order], stretches.rows[order]
    once = np.ones(len(order), dtype=bool)
    once[1:] = (hashes[1:] != hashes[:-1]) | (series[1:] != series[:-1])
    hashes, series, rows = hashes[once], series[once], rows[once]
    at = np.flatnonzero(hashes[1:] == hashes[:-1])
    pair, place, count = np.unique(series[at] * n + series[at + 1], return_index=True, return_counts=True)
    first, second = np.divmod(pair, max(n, 1))
    have = np.bincount(series, minlength=n)
    enough = count >= LEAST * np.minimum(have[first], have[second])
    offset = (rows[at] - rows[at + 1])[place]
    return first[enough], second[enough], offset[enough]


def _changes(series: Sequence[Series]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For rows that differ from the previous one: hash of the values, hash of the step, series and row."""
    lengths = [len(s) for s in series]
    whose = np.repeat(np.arange(len(series)), lengths)
    values = np.concatenate([s.values for s in series])
    rows = np.arange(len(values)) - (np.cumsum([0, *lengths[:-1]])[whose] if len(whose) else 0)
    hashes = _hashed(values)
    at = np.flatnonzero((hashes[1:] != hashes[:-1]) & (whose[1:] == whose[:-1])) + 1
    before = np.where(np.diff(whose[at], prepend=-1) == 0, np.roll(rows[at], 1), 0)
    stayed = (rows[at] - before).astype(np.uint64)
    with np.errstate(invalid="ignore"):
        steps = values[at] - values[at - 1]
    largest = np.nanmax(np.where(np.isfinite(steps), np.abs(steps), 0.0), axis=0, initial=0.0)
    steps = np.round(steps / np.where(largest > 0, largest, 1.0), 6)
    symbols, steps = _hashed(np.column_stack([hashes[at], stayed])), _hashed(np.column_stack([steps, stayed]))
    return symbols, steps, whose[at], rows[at]


def _hashed(rows: np.ndarray) -> np.ndarray:
    """(T,) uint64 hashes of rows (T, C); all NaN are equal, and so are both zeros."""
    return pl.from_numpy(rows).hash_rows().to_numpy()


def _runs(symbols: np.ndarray, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """Hashes of the symbols from each start to its stop: differences of a polynomial's prefixes, modulo 2**64."""
    powers = np.cumprod(np.concatenate([[np.uint64(1)], np.full(len(symbols), ODD)]), dtype=np.uint64)
    inverse = np.cumprod(np.concatenate([[np.uint64(1)], np.full(len(symbols), np.uint64(pow(int(ODD), -1, 2**64)))]))
    sums = np.concatenate([[np.uint64(0)], np.cumsum(symbols * powers[:-1], dtype=np.uint64)])
    return np.asarray((sums[stops] - sums[starts]) * inverse[starts])
