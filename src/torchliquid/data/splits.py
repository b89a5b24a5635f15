"""Cutting a recording in two without letting one part know the other: forward in time, or by series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from torchliquid.data.recording import Recording, Series
from torchliquid.errors import InputError


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

    Args:
        recording: with at least two series.
        held_out: share of the series that goes into the second part; at least one does, and at least one stays.
        seed: of the shuffle.

    Returns:
        The rest and the held out, each in the recording's order.

    Raises:
        InputError: a share that is none, or fewer than two series.
    """
    _check_share(held_out)
    n = recording.n_series
    if n < 2:
        raise InputError("one series cannot be split by series; split forward in time instead")
    rng = np.random.default_rng(seed)
    strata = _strata(recording)
    # Each stratum in random order, spread evenly over [0, 1): any first share of the whole is the same share of each.
    # One of each comes after all the others, so that every label can be learnt from.
    place, kinds = np.empty(n), np.unique(strata)
    for stratum in kinds:
        members = rng.permutation(np.flatnonzero(strata == stratum))
        place[members] = (np.arange(len(members)) + rng.random()) / len(members)
        place[members[-1]] += 1
    count = min(max(round(n * held_out), 1), n - len(kinds))
    chosen = set(np.argsort(place, kind="stable")[:count].tolist())
    return (
        recording.select(i for i in range(n) if i not in chosen),
        recording.select(i for i in range(n) if i in chosen),
    )


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
