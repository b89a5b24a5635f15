"""A study's metrics and differences in words for readers."""

from __future__ import annotations

import math

from torchliquid import metrics
from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import SECONDS, capital, decimals, number, significant
from torchliquid.study.results import POOLED, Interval, StudyResults

UNITS = {
    "series": ("test series", "test series"),
    "groups": ("group of test series", "groups of test series"),
    "stretches": ("independent stretch of test data", "independent stretches of test data"),
    "": ("piece of test data", "pieces of test data"),
}
"""What is independent, singular and plural."""

NUMBERS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def is_share(metric: str) -> bool:
    """Whether the metric is shown in per cent."""
    return metrics.find(metric).share


def bounded(metric: str) -> bool:
    """Whether the metric has two bounds, so that a fixed number of decimal places suits it."""
    return all(map(math.isfinite, metrics.find(metric).bounds))


def metric_axis(metric: str) -> str:
    """Title of an axis for the metric."""
    return f"{capital(metric_label(metric))} ({metrics.find(metric).unit})"


def score(metric: str, value: float, reach: float = math.inf) -> str:
    """A metric's value, e.g. ``97.3 %``, rounded as its half interval supports; with few digits if it is unknown."""
    return _rounded(metric, value, reach) + _unit(metric)


def common_reach(difference: Interval, least: float) -> float:
    """A half interval by which all values of a statement are rounded alike, so that the difference, the ends of its
    interval and the smallest difference that matters are all readable."""
    reach = difference.reach if difference.known else math.inf
    finest = [reach, least if least > 0 else math.inf]
    if difference.known and difference.low * difference.high > 0:
        finest.append(min(abs(difference.low), abs(difference.high)))
    return max(min(finest), reach / 100 if difference.known else 0.0)


def gain(metric: str, value: float, reach: float, signed: bool = False) -> str:
    """A difference of the metric, e.g. ``1.2 points``."""
    text = _rounded(metric, value, reach)
    sign = "+" if signed and value > 0 and text.strip("0.,") else ""
    return f"{sign}{text}{_gain_unit(metric)}"


def gain_interval(metric: str, interval: Interval, least: float = math.inf) -> str:
    """``−0.4 to 1.2 points``; in words if there is none. An end that excludes zero is not rounded to zero."""
    if not interval.known:
        return "unknown"
    reach = common_reach(interval, least)
    low, high = (_rounded(metric, end, reach) for end in (interval.low, interval.high))
    return f"{low} to {high}{_gain_unit(metric)}"


def score_with(metric: str, interval: Interval, reach: float) -> str:
    """``97.3 ± 0.4 %``; ``99.6 % (97.1 to 100.0 %)`` if one end is closer, and in words if there is none; rounded for a
    half interval of this size. The ends stay within the possible range of the metric."""
    if not interval.known:
        why = {"few": " (too few to tell)", "wide": " (too few to tell)", "constant": " (nothing varies)"}
        return score(metric, interval.value, reach) + why.get(interval.reason, "")
    below, above = interval.value - interval.low, interval.high - interval.value
    least, most = metrics.find(metric).bounds
    rounding = 0.5 * 10.0 ** -places(metric, reach) / _scale(metric)
    inside = least <= interval.value - interval.reach - rounding and interval.value + interval.reach + rounding <= most
    if inside and max(below, above) <= 1.25 * min(below, above):
        return f"{_rounded(metric, interval.value, reach)} ± {_rounded(metric, interval.reach, reach)}{_unit(metric)}"
    low, high = (_rounded(metric, min(max(end, least), most), reach) for end in (interval.low, interval.high))
    return f"{score(metric, interval.value, reach)} ({low} to {high}{_unit(metric)})"


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


def nth(n: int) -> str:
    """``3rd``, ``11th``."""
    return f"{n}{'th' if n % 100 in (11, 12, 13) else {1: 'st', 2: 'nd', 3: 'rd'}.get(n % 10, 'th')}"


def least(metric: str, margin: float, reach: float) -> str:
    """The smallest difference that matters, e.g. ``0.25 points``, rounded like the values beside it."""
    text = _rounded(metric, margin, reach)
    return (text if text.strip("0.,") else significant(margin * _scale(metric), 1)) + _gain_unit(metric)


def places(metric: str, reach: float) -> int:
    """Decimal places of the metric with this half interval."""
    return decimals(reach * _scale(metric), 0 if is_share(metric) else -12)


def _rounded(metric: str, value: float, reach: float) -> str:
    scale = _scale(metric)
    if math.isfinite(reach) and reach > 0:
        return number(value * scale, places(metric, reach))
    if is_share(metric):
        return number(value * scale, 1)
    return number(value, 3) if bounded(metric) else significant(value, 4)


def _scale(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def _unit(metric: str) -> str:
    return " %" if is_share(metric) else ""


def _gain_unit(metric: str) -> str:
    return " points" if is_share(metric) else ""


def alarm_unit(results: StudyResults) -> tuple[str, float]:
    """The time for which false alarms are given, in words, and its length in the recording's unit: an hour or a day if
    the length of this unit is known."""
    unit = results.task.time_unit
    quiet = max((t.alarms[POOLED].quiet for c in results.contenders for t in c.trials if t.alarms), default=0.0)
    if unit not in SECONDS:
        return f"in 1,000 {unit}", 1000.0
    of_days = quiet * SECONDS[unit] >= 2 * 86400
    return ("a day", 86400 / SECONDS[unit]) if of_days else ("an hour", 3600 / SECONDS[unit])
