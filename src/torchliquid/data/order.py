"""Rows whose times go back: late rows, a file written newest first, a clock that began anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

YEAR = 365.25 * 86400.0
RUN = 3
"""Samples, at least, of a stretch between two steps back of a clock."""


def restarts(times: np.ndarray) -> np.ndarray:
    """Where a clock begins anew, or forgets or finds its date again: the places of the samples after it.

    A step back counts where it leads into the first half of what has passed since the last one, and time goes on from
    there for some samples; so late rows do not.
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
    """Of dated samples those few, years apart from all others, that a device without the date wrote: (N,) bool."""
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
    """(N,) for each sample the number of its stretch, from 0: cut where the clock begins anew or the date is lost."""
    cuts = np.zeros(len(times), dtype=bool)
    if dated and (lost := lost_date(times)).any():
        cuts[1:] = lost[1:] != lost[:-1]
        for run in np.split(np.arange(len(times)), np.flatnonzero(cuts)):
            if len(run):
                cuts[restarts(times[run]) + run[0]] = True
    else:
        cuts[restarts(times)] = True
    return np.cumsum(cuts)


def told(
    series: Sequence[np.ndarray],
    runs: Sequence[np.ndarray],
    *,
    local: bool,
    dated: bool,
    where: Callable[[int, int], str],
    split: bool = False,
) -> list[str]:
    """Notes on times that go back, none where none does.

    Args:
        series: the times of each, as they came.
        runs: the times of each clock: of each series or, in a long table, of each parameter in it.
        local: they were dates without a zone.
        dated: they were dates.
        where: names a sample, given its run and its place there.
        split: restarts have been made series of their own.
    """
    notes = []
    lost = [lost_date(t) if dated else np.zeros(len(t), dtype=bool) for t in runs]
    for i, rows in enumerate(lost):
        if rows.any():
            first = int(rows.argmax())
            year = np.datetime64(int(runs[i][first]), "s").astype("datetime64[Y]")
            notes.append(
                f"{int(rows.sum())} rows, the first {where(i, first)}, are of {year}, years before all others: a "
                "device that lost the date may have written them; leave them out, or make each stretch a series "
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
    count = f"{moved} of {sum(map(len, series))} rows changed their place"
    if steps and not autumn and not split:
        i, place = steps[0]
        often = "once" if len(steps) == 1 else f"{len(steps)} times"
        notes.append(
            f"{count}: time steps back {often}, first at {where(i, place)} (from {runs[i][place - 1]:.15g} to "
            f"{runs[i][place]:.15g}), as of a clock that began anew or ran over. The stretches were put in order of "
            "time and so mixed; make each a series of its own (on_restart='split', --on-restart split)."
        )
        return notes
    clock = "; it looks like a clock put back in autumn: give times with their zone" if autumn else ""
    how = "they stand newest first and were" if newest_first else "they were"
    notes.append(f"{count}: {how} put in order of time{clock}.")
    return notes
