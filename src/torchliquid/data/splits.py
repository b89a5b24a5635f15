"""Split a recording into two parts without leakage: forward in time, or by series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy  # its parts are imported when they are used

from torchliquid.data.overlap import LEAST, Units
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError, listed

ENOUGH = 5
"""Minimum number of series, or of units of series that share rows, of which whole ones are held out. With fewer, their
ends are held out."""


def forward_split(recording: Recording, held_out: float, gap: int = 0) -> tuple[Recording, Recording]:
    """Split each series in time.

    Args:
        recording: with targets per sample, or without targets.
        held_out: share of each series' samples at its end that become the later part.
        gap: number of samples between the parts that are in neither (at least the horizon, if targets of a forecast
            were computed before).

    Returns:
        The earlier and the later part. Samples with the same time stay together. A series that is too short to be cut
        is in the earlier part.

    Raises:
        InputError: the share or the gap is invalid, targets are per series, or a part is empty.
    """
    _check_share(held_out)
    if gap < 0:
        raise InputError(f"the gap must be 0 or more samples, not {gap}")
    earlier: list[Series] = []
    later: list[Series] = []
    for s in recording.series:
        if s.targets is not None and not s.per_step:
            raise InputError("series with one target each cannot be split in time; split by series instead")
        n = len(s)
        cut = n - round(n * held_out)
        while 0 < cut < n and s.times[cut] == s.times[cut - 1]:
            cut += 1
        if not 0 < cut < n or cut - gap < 1:
            earlier.append(s)
            continue
        earlier.append(s.cut(0, cut - gap))
        later.append(s.cut(cut, n))
    if not later:
        gaps = recording.gaps()
        equal = int((gaps == 0).sum())
        if 2 * equal > len(gaps):
            raise InputError(
                f"the last {held_out:.0%} cannot be held out: {equal} of {recording.n_samples} samples have the time "
                "of the previous one; check that the times are not rounded (such as 1.72998E+12), and that the column "
                "contains both date and time"
            )
        raise InputError(
            f"no series is long enough to hold out its last {held_out:.0%}: the longest has "
            f"{max((len(s) for s in recording.series), default=0)} samples"
        )
    return replace(recording, series=tuple(earlier)), replace(recording, series=tuple(later))


def series_split(recording: Recording, held_out: float, seed: int = 0) -> tuple[Recording, Recording]:
    """Split whole series at random, stratified by label if each series has one.

    Series of one group stay together, and so do series that share rows, such as overlapping windows. If there are no
    groups and fewer than five such units, as with windows of one recording, the end of each is held out, and series
    that share rows with it are left out. The notes of the first part say so.

    Args:
        recording: with at least two series.
        held_out: share of the series in the second part; both parts get at least one.
        seed: of the shuffle.

    Returns:
        The rest and the held-out part, in the recording's order.

    Raises:
        InputError: the share is invalid, there are fewer than two series, or all are in one group.
    """
    _check_share(held_out)
    n = recording.n_series
    units = Units.of(recording.series)
    unit, groups = _with_groups(recording, units.unit)
    if groups == 1:
        name = next(s.group for s in recording.series if s.group is not None)
        raise InputError(
            f"all series left to split are in one group, {name!r}; training, validation and test each need at least "
            "one: give more groups, or none"
        )
    if n < 2:
        raise InputError("one series cannot be split by series; split forward in time instead")
    sizes, notes = np.bincount(unit), []
    shared = np.bincount(units.unit)[units.unit] > 1
    if not groups and shared.any() and len(sizes) < ENOUGH:
        chosen = _ends(recording, units, held_out)
    elif len(sizes) > 1:
        chosen = _drawn(recording, unit, held_out, seed)
    else:
        chosen = _drawn(recording, np.arange(n), held_out, seed)
    left_out = ~chosen & (units.stretches.share(~chosen, chosen) >= LEAST)
    if left_out.sum() == n - chosen.sum():
        notes.append(f"{_named(recording, shared)} share rows: the held-out part is also in the training part.")
        left_out[:] = False
    elif shared.any():
        apart = f"; {int(left_out.sum())} with rows in both parts were left out" if left_out.any() else ""
        notes.append(f"{_named(recording, shared)} share rows with others; they were kept in one part{apart}.")
    rest = recording.select(np.flatnonzero(~chosen & ~left_out).tolist())
    return (
        replace(rest, notes=tuple(dict.fromkeys((*recording.notes, *notes)))),
        recording.select(np.flatnonzero(chosen).tolist()),
    )


def together(recording: Recording) -> Recording:
    """The recording with series that share rows put into one group, so that they count once."""
    unit, _ = _with_groups(recording, Units.of(recording.series).unit)
    series = list(recording.series)
    for one in np.flatnonzero(np.bincount(unit) > 1):
        members = np.flatnonzero(unit == one)
        first = series[members[0]]
        for i in members:
            series[i] = replace(series[i], group=first.name if first.group is None else first.group)
    return replace(recording, series=tuple(series))


def _with_groups(recording: Recording, unit: np.ndarray) -> tuple[np.ndarray, int]:
    """Units joined by group, and their number; 0 if there are no groups."""
    if not recording.grouped:
        return unit, 0
    n = recording.n_series
    named = [f"\0{i}" if s.group is None else s.group for i, s in enumerate(recording.series)]
    _, group = np.unique(named, return_inverse=True)
    places = np.tile(np.arange(n), 2)
    others = n + np.concatenate([unit, n + group])
    graph = scipy.sparse.coo_array((np.ones(2 * n), (places, others)), shape=(3 * n, 3 * n))
    _, joined = np.unique(scipy.sparse.csgraph.connected_components(graph, directed=False)[1][:n], return_inverse=True)
    return joined, int(joined.max()) + 1


def _drawn(recording: Recording, unit: np.ndarray, held_out: float, seed: int) -> np.ndarray:
    """(n,) True for units drawn at random, about ``held_out`` of all series."""
    _, first, sizes = np.unique(unit, return_index=True, return_counts=True)
    rng = np.random.default_rng(seed)
    strata = _strata(recording)
    mixed = any(len(set(strata[unit == u].tolist())) > 1 for u in np.flatnonzero(sizes > 1))
    mixed |= 2 * len(np.unique(strata)) > len(sizes)
    strata = np.zeros(len(sizes), dtype=np.int64) if mixed else strata[first]
    # Each stratum is spread evenly over [0, 1) in random order, so that any first share has the same share of each.
    # One of each comes last, so that every label is in the rest.
    place, kinds = np.empty(len(sizes)), np.unique(strata)
    for stratum in kinds:
        members = rng.permutation(np.flatnonzero(strata == stratum))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[-1]] += 1
    order = np.argsort(place, kind="stable")
    # The number that is closest to the share.
    wanted = max(round(len(unit) * held_out), 1)
    count = 1 + int(np.abs(np.cumsum(sizes[order]) - wanted).argmin())
    taken = order[: min(count, len(sizes) - len(kinds))]
    return np.isin(unit, taken)


def _ends(recording: Recording, units: Units, held_out: float) -> np.ndarray:
    """(n,) True for the last series of each unit and label, in the order of their rows."""
    strata = _strata(recording)
    chosen = np.zeros(len(strata), dtype=bool)
    for one in np.unique(units.unit):
        for stratum in np.unique(strata):
            members = np.flatnonzero((units.unit == one) & (strata == stratum))
            members = members[np.argsort(units.start[members], kind="stable")]
            chosen[members[len(members) - round(len(members) * held_out) :]] = True
    if not chosen.any():
        chosen[np.lexsort((units.start, units.unit))[-1]] = True
    return chosen


def _named(recording: Recording, which: np.ndarray) -> str:
    """The number of series, and the names of the first ones."""
    names = [recording.series[i].name for i in np.flatnonzero(which)]
    return f"{len(names)} series ({listed(names)})"


def _strata(recording: Recording) -> np.ndarray:
    """Label index of each series; all 0 if series do not have one label each or hardly share labels."""
    labels = []
    for s in recording.series:
        values = set() if s.targets is None else set(s.targets.reshape(-1).tolist())
        if len(values) != 1:
            return np.zeros(recording.n_series, dtype=np.int64)
        labels.append(str(values.pop()))
    kinds, strata = np.unique(labels, return_inverse=True)
    return strata if 2 * len(kinds) <= len(labels) else np.zeros(recording.n_series, dtype=np.int64)


def _check_share(held_out: float) -> None:
    if not 0 < held_out < 1:
        raise InputError(f"the share to hold out must lie between 0 and 1, not {held_out}")
