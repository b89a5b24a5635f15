"""A study's metrics and differences as a reader meets them."""

from __future__ import annotations

import math

from torchliquid import metrics
from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import capital, decimals, number, significant
from torchliquid.study.results import Interval


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
    """``−0.4 to 1.2 points``; in words where there is none."""
    if not math.isfinite(interval.reach):
        return "unknown"
    low, high = (_rounded(metric, end, interval.reach) for end in (interval.low, interval.high))
    return f"{low} to {high}{_gain_unit(metric)}"


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
