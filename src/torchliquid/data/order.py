"""Times that go back: late rows, files with the newest row first, clocks that restart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

YEAR = 365.25 * 86400.0
RUN = 3
"""Minimum number of samples between two restarts of a clock."""


def restarts(times: np.ndarray) -> np.ndarray:
    """Indices of the samples after a clock restarted, or lost or found its date.

    A step back counts if it leads to the first half of the time since the last restart, and time increases after it for
    some samples. Late rows do not count.
    """
    back = np.flatnonzero(np.diff(times) < 0) + 1
    found: list[int] = []
    start = 0
    for place in back:
        passed = times[place - 1] - times[start]
        goes_on = place + RUN <= len(times) and (np.diff(times[place : place + RUN]) >= 0).all()
        if place - start >= RUN and goes_on and times[place] <= times[start] + passed / 2:
            found.append(int(place))
            start = int(place)
    return np.array(found, dtype=np.int64)


def lost_date(times: np.ndarray) -> np.ndarray:
    """(N,) True for the few dated samples, years before all others, that a device without the date wrote."""
    none = np.zeros(len(times), dtype=bool)
    if len(times) < 2 * RUN:
        return none
    ordered = np.sort(times)
    gaps = np.diff(ordered)
    widest = int(gaps.argmax())
    before, after = ordered[widest] - ordered[0], ordered[-1] - ordered[widest + 1]
    if gaps[widest] < YEAR or gaps[widest] < 5 * max(before, after) or widest + 1 > len(times) / 2:
        return none
    return times <= ordered[widest]


def stretches(times: np.ndarray, dated: bool) -> np.ndarray:
    """(N,) number of the stretch of each sample, from 0; a stretch ends where the clock restarts or loses the date."""
    cuts = np.zeros(len(times), dtype=bool)
    if dated and (lost := lost_date(times)).any():
        cuts[1:] = lost[1:] != lost[:-1]
        for run in np.split(np.arange(len(times)), np.flatnonzero(cuts)):
            if len(run):
                cuts[restarts(times[run]) + run[0]] = True
    else:
        cuts[restarts(times)] = True
    return np.cumsum(cuts)


def describe(
    series: Sequence[np.ndarray],
    runs: Sequence[np.ndarray],
    *,
    local: bool,
    dated: bool,
    where: Callable[[int, int], str],
    split: bool = False,
) -> list[str]:
    """Notes on times that go back.

    Args:
        series: the times of each series, as read.
        runs: the times of each clock: of each series or, in a long table, of each of its parameters.
        local, dated: whether times are dates without a zone, and whether they are dates.
        where: names a sample, given its run and index.
        split: whether new series start at restarts.
    """
    notes = []
    lost = [lost_date(t) if dated else np.zeros(len(t), dtype=bool) for t in runs]
    for i, rows in enumerate(lost):
        if rows.any():
            first = int(rows.argmax())
            year = np.datetime64(int(runs[i][first]), "s").astype("datetime64[Y]")
            notes.append(
                f"{int(rows.sum())} rows, the first {where(i, first)}, are of {year}, years before all others; a "
                "device that lost the date may have written them. Leave them out, or make each stretch a series "
                "(on_restart='split', --on-restart split)."
            )
            break
    moved, autumn, newest_first = 0, False, True
    for t in series:
        back = -np.diff(t)
        if (back > 0).any():
            moved += int((np.argsort(t, kind="stable") != np.arange(len(t))).sum())
            autumn |= local and bool(((back >= 50 * 60) & (back <= 70 * 60)).any())
            newest_first &= bool((back >= 0).all())
    if not moved:
        return notes
    steps = [(i, int(p)) for i, t in enumerate(runs) for p in restarts(t) if not lost[i][p] and t[p] < t[:p].max()]
    count = f"{moved} of {sum(map(len, series))} rows were moved"
    if steps and not autumn and not split:
        i, place = steps[0]
        often = "once" if len(steps) == 1 else f"{len(steps)} times"
        notes.append(
            f"{count}: time steps back {often}, first at {where(i, place)} (from {runs[i][place - 1]:.15g} to "
            f"{runs[i][place]:.15g}), as if a clock restarted or overflowed. All rows were sorted by time, which mixes "
            "the stretches; make each a separate series (on_restart='split', --on-restart split)."
        )
        return notes
    clock = "; this looks like the end of daylight saving time: give times with their zone" if autumn else ""
    how = "the newest rows came first; they" if newest_first else "they"
    notes.append(f"{count}: {how} were sorted by time{clock}.")
    return notes
