"""Cutting a recording in two without letting one part know the other: forward in time, or by series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy  # whose parts are loaded when they are used

from torchliquid.data.overlap import LEAST, Units
from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError

ENOUGH = 5
"""From so many series, or units of series that share rows, on, whole ones are held out; fewer are cut in time."""


def forward_split(recording: Recording, held_out: float, gap: int = 0) -> tuple[Recording, Recording]:
    """Cut each series in time.

    Args:
        recording: with targets for samples, or none.
        held_out: share of each series' samples, its last ones, that goes into the later part.
        gap: samples between the parts that go into neither (at least the horizon, when a forecast's targets
            were made before the cut).

    Returns:
        The earlier and the later part. Samples of one time stay together; a series too short to be cut is
        earlier whole.

    Raises:
        InputError: a share that is none, targets for whole series, or nothing left for a part.
    """
    _check_share(held_out)
    earlier: list[Series] = []
    later: list[Series] = []
    for s in recording.series:
        if s.targets is not None and not s.per_step:
            raise InputError("series with one target each cannot be cut in time; split by series instead")
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
                "of the sample before them; check that the times are not rounded (as 1.72998E+12), or that the column "
                "holds date and time together"
            )
        raise InputError(
            f"no series is long enough to hold out its last {held_out:.0%}: the longest has "
            f"{max((len(s) for s in recording.series), default=0)} samples"
        )
    return replace(recording, series=tuple(earlier)), replace(recording, series=tuple(later))


def series_split(recording: Recording, held_out: float, seed: int = 0) -> tuple[Recording, Recording]:
    """Share out whole series at random, labels in equal proportion where each series has one.

    What belongs together stays together: series of one group, and series that share rows, such as windows that overlap.
    Where these are fewer than five units, as the windows of one recording are, and no groups were given, the end of
    each is held out, and what shares rows with it is left out. The notes of the first part say so.

    Args:
        recording: with at least two series.
        held_out: share of the series that goes into the second part; at least one does, and at least one stays.
        seed: of the shuffle.

    Returns:
        The rest and the held out, each in the recording's order.

    Raises:
        InputError: a share that is none, fewer than two series, or all in one group.
    """
    _check_share(held_out)
    n = recording.n_series
    units = Units.of(recording.series)
    unit, groups = _with_groups(recording, units.unit)
    if groups == 1:
        name = next(s.group for s in recording.series if s.group is not None)
        raise InputError(
            f"all that is left to split is of one group, {name!r}; training, validation and test need one each at "
            "least: give more groups, or none"
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
        notes.append(f"{_named(recording, shared)} share rows: what is held out was learnt from as well.")
        left_out[:] = False
    elif shared.any():
        apart = f"; {int(left_out.sum())} with rows of two parts were left out" if left_out.any() else ""
        notes.append(f"{_named(recording, shared)} share rows with others; they were kept in one part{apart}.")
    rest = recording.select(np.flatnonzero(~chosen & ~left_out).tolist())
    return (
        replace(rest, notes=tuple(dict.fromkeys((*recording.notes, *notes)))),
        recording.select(np.flatnonzero(chosen).tolist()),
    )


def together(recording: Recording) -> Recording:
    """The recording with the series that share rows in one group, as they count once."""
    unit, _ = _with_groups(recording, Units.of(recording.series).unit)
    series = list(recording.series)
    for one in np.flatnonzero(np.bincount(unit) > 1):
        members = np.flatnonzero(unit == one)
        first = series[members[0]]
        for i in members:
            series[i] = replace(series[i], group=first.name if first.group is None else first.group)
    return replace(recording, series=tuple(series))


def _with_groups(recording: Recording, unit: np.ndarray) -> tuple[np.ndarray, int]:
    """Units joined where series are of one group, and how many there are then; 0 where no groups were given."""
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
    """(n,) true for whole units drawn at random, about a share of all series."""
    _, first, sizes = np.unique(unit, return_index=True, return_counts=True)
    rng = np.random.default_rng(seed)
    strata = _strata(recording)
    mixed = any(len(set(strata[unit == u].tolist())) > 1 for u in np.flatnonzero(sizes > 1))
    mixed |= 2 * len(np.unique(strata)) > len(sizes)
    strata = np.zeros(len(sizes), dtype=np.int64) if mixed else strata[first]
    # Each stratum in random order, spread evenly over [0, 1): any first share of the whole is the same share of each.
    # One of each comes after all the others, so that every label can be learnt from.
    place, kinds = np.empty(len(sizes)), np.unique(strata)
    for stratum in kinds:
        members = rng.permutation(np.flatnonzero(strata == stratum))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[-1]] += 1
    order = np.argsort(place, kind="stable")
    # As many as come nearest to the share.
    wanted = max(round(len(unit) * held_out), 1)
    count = 1 + int(np.abs(np.cumsum(sizes[order]) - wanted).argmin())
    taken = order[: min(count, len(sizes) - len(kinds))]
    return np.isin(unit, taken)


def _ends(recording: Recording, units: Units, held_out: float) -> np.ndarray:
    """(n,) true for the last of each unit's series, in the order in which they follow one another, of each label."""
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
    """How many series, and the first ones' names."""
    names = [recording.series[i].name for i in np.flatnonzero(which)]
    return f"{len(names)} series ({', '.join(names[:5])}{', ...' if len(names) > 5 else ''})"


def _strata(recording: Recording) -> np.ndarray:
    """One number a series: its label's; all 0 where series have no single label or hardly share any."""
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
