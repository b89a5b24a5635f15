"""A study's metrics and differences as a reader meets them."""

from __future__ import annotations

import math

from torchliquid import metrics
from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import capital, decimals, number, significant, time_unit
from torchliquid.study.results import POOLED, Interval, StudyResults

UNITS = {
    "series": ("test series", "test series"),
    "groups": ("group of test series", "groups of test series"),
    "stretches": ("independent stretch of test data", "independent stretches of test data"),
    "": ("piece of test data", "pieces of test data"),
}
"""What is independent, one and several."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Units of time whose length is known."""


def is_share(metric: str) -> bool:
    """Whether the metric is shown in per cent."""
    return metrics.find(metric).share


def metric_axis(metric: str) -> str:
    """Title of an axis that shows the metric."""
    return f"{capital(metric_label(metric))} ({metrics.find(metric).unit})"


def score(metric: str, value: float, reach: float = math.inf) -> str:
    """A metric's value, e.g. ``97.3 %``, rounded as its half interval supports; of an unknown one to few digits."""
    return _rounded(metric, value, reach) + _unit(metric)


def score_interval(metric: str, value: float, reach: float) -> str:
    """``97.3 ± 0.4 %``."""
    return f"{_rounded(metric, value, reach)} ± {_rounded(metric, reach, reach)}{_unit(metric)}"


def gain(metric: str, value: float, reach: float, signed: bool = False) -> str:
    """A difference of the metric, e.g. ``1.2 points``."""
    text = _rounded(metric, value, reach)
    sign = "+" if signed and value > 0 and text.strip("0.,") else ""
    return f"{sign}{text}{_gain_unit(metric)}"


def gain_interval(metric: str, interval: Interval) -> str:
    """``−0.4 to 1.2 points``; in words where there is none. An end that shuts zero out is not rounded to zero."""
    if not interval.known:
        return "unknown"
    reach = interval.reach
    if interval.low * interval.high > 0:
        reach = min(reach, max(min(abs(interval.low), abs(interval.high)), reach / 100))
    low, high = (_rounded(metric, end, reach) for end in (interval.low, interval.high))
    return f"{low} to {high}{_gain_unit(metric)}"


def score_with(metric: str, interval: Interval) -> str:
    """``97.3 ± 0.4 %``; ``99.6 % (97.1 to 100 %)`` where one end is nearer, and in words where there is none."""
    if not interval.known:
        why = {"few": " (too few to tell)", "wide": " (too few to tell)", "constant": " (nothing varies)"}
        return score(metric, interval.value) + why.get(interval.reason, "")
    below, above = interval.value - interval.low, interval.high - interval.value
    if max(below, above) <= 1.25 * min(below, above):
        return score_interval(metric, interval.value, interval.reach)
    low, high = (_rounded(metric, end, interval.reach) for end in (interval.low, interval.high))
    return f"{score(metric, interval.value, interval.reach)} ({low} to {high}{_unit(metric)})"


def unknown(interval: Interval) -> str:
    """Why there is no interval, e.g. ``four independent stretches of the test recording can't tell``."""
    n = NUMBERS[interval.blocks] if interval.blocks < len(NUMBERS) else str(interval.blocks)
    blocks = f"{n} {UNITS[interval.unit][interval.blocks != 1]}"
    return {
        "few": f"{blocks} can't tell",
        "wide": f"{blocks} can't tell, the 95 % interval is wider than all that is possible",
        "constant": "nothing varies, which proves nothing",
        "seed": "one seed can't tell",
        "": "interval unknown",
    }[interval.reason]


def least(metric: str, margin: float) -> str:
    """The smallest difference that matters, e.g. ``0.25 points``."""
    return significant(margin * _scale(metric), 2) + _gain_unit(metric)


def _rounded(metric: str, value: float, reach: float) -> str:
    scale = _scale(metric)
    if math.isfinite(reach) and reach > 0:
        return number(value * scale, decimals(reach * scale, 0 if is_share(metric) else -12))
    if is_share(metric):
        return number(value * scale, 1)
    return (
        number(value, 3)
        if math.isfinite(metrics.find(metric).best - metrics.find(metric).worst)
        else significant(value, 4)
    )


def _scale(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def _unit(metric: str) -> str:
    return " %" if is_share(metric) else ""


def _gain_unit(metric: str) -> str:
    return " points" if is_share(metric) else ""


def span(value: float, unit: str) -> str:
    """A length of time in a unit that reads well, e.g. ``3.5 minutes``; nothing where there is none."""
    if not math.isfinite(value):
        return "–"
    name, factor = time_unit(value, unit)
    return f"{significant(value / factor, 2)} {name}"


def alarm_unit(results: StudyResults) -> tuple[str, float]:
    """The time for which false alarms are told, in words, and how many of the recording's units it is: an hour or a
    day, where times are in a unit of which that is known."""
    unit = results.task.time_unit
    quiet = max((t.alarms[POOLED].quiet for c in results.contenders for t in c.trials if t.alarms), default=0.0)
    if unit not in SECONDS:
        return f"in 1,000 {unit}", 1000.0
    of_days = quiet * SECONDS[unit] >= 2 * 86400
    return ("a day", 86400 / SECONDS[unit]) if of_days else ("an hour", 3600 / SECONDS[unit])
