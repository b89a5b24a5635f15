"""A study's metrics and differences as a reader meets them, with their unit."""

from __future__ import annotations

import math

from torchliquid.page.glossary import metric_label
from torchliquid.page.numbers import capital, decimals, number, significant
from torchliquid.study.results import Interval, TaskResult


def is_share(metric: str) -> bool:
    """Whether the metric is shown in per cent."""
    return metric == "accuracy"


def metric_unit(task: TaskResult, metric: str) -> str:
    """Unit behind a figure of this metric."""
    return "%" if is_share(metric) else task.unit if metric in ("rmse", "mae") else ""


def metric_axis(task: TaskResult, metric: str) -> str:
    """Title of an axis that shows the metric."""
    unit = metric_unit(task, metric)
    if not unit:
        unit = "in the target's own unit" if metric in ("rmse", "mae") else "nats" if metric == "log_loss" else "0 to 1"
    if metric == "r2":
        unit = "1 is perfect"
    return f"{capital(metric_label(metric))} ({unit})"


def score(task: TaskResult, metric: str, value: float, reach: float | None = None) -> str:
    """A metric's value with its unit, e.g. ``97.3 %``; without a reach to four digits at most."""
    scale = _scale(metric)
    if reach is not None:
        text = number(value * scale, _places(metric, reach))
    elif is_share(metric):
        text = number(value * scale, 1)
    else:
        text = significant(value) if metric in ("rmse", "mae", "log_loss") else number(value, 3)
    return f"{text} {metric_unit(task, metric)}".strip()


def score_interval(task: TaskResult, metric: str, value: float, reach: float) -> str:
    """``97.3 ± 0.4 %``."""
    scale, places = _scale(metric), _places(metric, reach)
    return f"{number(value * scale, places)} ± {number(reach * scale, places)} {metric_unit(task, metric)}".strip()


def gain(task: TaskResult, value: float, reach: float, signed: bool = False) -> str:
    """A difference of the primary metric with its unit, e.g. ``1.2 points``."""
    text = number(value * _scale(task.primary), _places(task.primary, reach))
    sign = "+" if signed and value > 0 and text.strip("0.,") else ""
    return f"{sign}{text} {_gain_unit(task)}".strip()


def gain_interval(task: TaskResult, interval: Interval) -> str:
    """``−0.4 to 1.2 points``; in words where there is none."""
    if not math.isfinite(interval.reach):
        return "unknown"
    scale, places = _scale(task.primary), _places(task.primary, interval.reach)
    low, high = number(interval.low * scale, places), number(interval.high * scale, places)
    return f"{low} to {high} {_gain_unit(task)}".strip()


def least(task: TaskResult, margin: float) -> str:
    """The smallest difference that matters, e.g. ``0.25 points``."""
    return f"{significant(margin * _scale(task.primary), 2)} {_gain_unit(task)}".strip()


def _scale(metric: str) -> float:
    return 100.0 if is_share(metric) else 1.0


def _places(metric: str, reach: float) -> int:
    return decimals(reach * _scale(metric), 0 if is_share(metric) else -12)


def _gain_unit(task: TaskResult) -> str:
    return "points" if is_share(task.primary) else metric_unit(task, task.primary)
