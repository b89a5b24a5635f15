"""What would decide an undecided study: how much more test data, or how many more seeds."""

from __future__ import annotations

import math

from torchliquid.page import numbers
from torchliquid.study import words
from torchliquid.study.results import Interval
from torchliquid.study.stats.intervals import FEWEST

OUT_OF_REACH = 100
"""If more than this many times the existing data or seeds are needed, a study is not worthwhile."""


def what_would_decide(difference: Interval, least: float, seeds: int, seconds: float) -> str:
    """A sentence, from the variances of a study.

    Args:
        difference: between the two compared.
        least: the smallest difference that matters.
        seeds: number of trainings of each; 1 if the seeds have no effect.
        seconds: training time of one more seed of both.
    """
    if not difference.known and difference.blocks < FEWEST:
        wanted = f"{2 * FEWEST} {words.UNITS[difference.unit][1]} or more"
        there = "is 1" if difference.blocks == 1 else f"are {difference.blocks}"
        return f"To decide it, test on {wanted}; there {there}."
    if not difference.known:
        more = {"seed": "train from several seeds", "constant": "test on data where the two differ"}
        return f"To decide it, {more.get(difference.reason, 'test on several times as much data')}."
    # The result is "worth it" if zero is excluded, "not worth it" if the whole interval is below what matters.
    target = difference.value if difference.value >= least else least - difference.value
    allowed = (difference.data + difference.seeds) * (target / difference.reach) ** 2
    data = _times(difference.data, allowed - difference.seeds)
    more_seeds = _times(difference.seeds, allowed - difference.data)
    ways = []
    if more_seeds * seeds <= OUT_OF_REACH and seeds > 1:
        n = math.ceil(seeds * more_seeds)
        ways.append(f"{n} seeds for {seeds}, about {numbers.duration((n - seeds) * seconds)} of training")
    if data <= OUT_OF_REACH:
        if difference.unit == "stretches":
            ways.append(f"{numbers.significant(data, 2)} times as much test data")
        else:
            many = words.UNITS[difference.unit][1]
            ways.append(f"{math.ceil(data * difference.blocks)} {many} for {difference.blocks}")
    if ways:
        cheapest = "; seeds are the cheapest, no new data is needed" if len(ways) > 1 else ""
        return f"What would decide it, if the difference stays the same: {', or '.join(ways)}{cheapest}."
    both = _times(1.0, allowed / (difference.data + difference.seeds))
    if both <= OUT_OF_REACH:
        unit = difference.unit
        what = "as much test data" if unit == "stretches" else f"as many {words.UNITS[unit][1]}"
        return (
            f"What would decide it, if the difference stays the same: {numbers.significant(both, 2)} times {what} "
            "and of seeds, together; neither alone is enough."
        )
    return "The difference is so close to what decides that a hundred times the data and seeds would not be enough."


def _times(variance: float, allowed: float) -> float:
    """The divisor of a variance that is needed, at least one."""
    if variance <= 0 or allowed <= 0:
        return math.inf
    return max(variance / allowed, 1.0)
