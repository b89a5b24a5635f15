"""A study's metrics and differences as a reader meets them."""

from __future__ import annotations

import math

from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import capital, decimals, number, significant
from torchliquid.study.results import Interval

AXIS_UNITS = {
    "accuracy": "%",
    "rmse": "in the target's own unit",
    "mae": "in the target's own unit",
    "log_loss": "nats",
    "r2": "1 is perfect",
}


def is_share(metric: str) -> bool:
    """Whether the metric is shown in per cent."""
    return metric == "accuracy"


def metric_axis(metric: str) -> str:
    """Title of an axis that shows the metric."""
    return f"{capital(metric_label(metric))} ({AXIS_UNITS.get(metric, '0 to 1')})"


def score(metric: str, value: float, reach: float | None = None) -> str:
    """A metric's value, e.g. ``97.3 %``; without a reach to four digits at most."""
    scale = _scale(metric)
    if reach is not None:
        text = number(value * scale, _places(metric, reach))
    elif is_share(metric):
        text = number(value * scale, 1)
    else:
        text = significant(value) if metric in ("rmse", "mae", "log_loss") else number(value, 3)
    return text + _unit(metric)


def score_interval(metric: str, value: float, reach: float) -> str:
    """``97.3 ± 0.4 %``."""
    scale, places = _scale(metric), _places(metric, reach)
    return f"{number(value * scale, places)} ± {number(reach * scale, places)}{_unit(metric)}"


def gain(metric: str, value: float, reach: float, signed: bool = False) -> str:
    """A difference of the metric, e.g. ``1.2 points``."""
    text = number(value * _scale(metric), _places(metric, reach))
    sign = "+" if signed and value > 0 and text.strip("0.,") else ""
    return f"{sign}{text}{_gain_unit(metric)}"


def gain_interval(metric: str, interval: Interval) -> str:
    """``−0.4 to 1.2 points``; in words where there is none."""
    if not math.isfinite(interval.reach):
        return "unknown"
    scale, places = _scale(metric), _places(metric, interval.reach)
    low, high = number(interval.low * scale, places), number(interval.high * scale, places)
    return f"{low} to {high}{_gain_unit(metric)}"


def least(metric: str, margin: float) -> str:
    """The smallest difference that matters, e.g. ``0.25 points``."""
    return significant(margin * _scale(metric), 2) + _gain_unit(metric)


def _scale(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def _places(metric: str, reach: float) -> int:
    return decimals(reach * _scale(metric), 0 if is_share(metric) else -12)


def _unit(metric: str) -> str:
    return " %" if is_share(metric) else ""


def _gain_unit(metric: str) -> str:
    return " points" if is_share(metric) else ""
