"""Figures as a reader meets them: rounded to what their spread supports, with their unit."""

from __future__ import annotations

import math

from torchliquid.study.results import Interval, TaskResult

METRIC_LABELS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "roc_auc": "ROC AUC",
    "average_precision": "average precision",
    "rmse": "RMSE",
    "mae": "MAE",
    "r2": "R²",
}


def decimals(reach: float, least: int = -12) -> int:
    """Decimal places that a figure with this half interval deserves: the interval's first digit, two if it is 1.

    Args:
        reach: half of the interval.
        least: places to keep at any rate: 0 never rounds to tens.
    """
    if not math.isfinite(reach) or reach <= 0:
        return 3
    places = -math.floor(math.log10(reach))
    if reach * 10.0**places < 2:
        places += 1
    return max(min(places, 6), least)


def number(value: float, places: int) -> str:
    """With a fixed number of decimal places (negative ones round tens, hundreds, ...) and a real minus sign."""
    if not math.isfinite(value):
        return "–"
    text = f"{round(value, places) + 0.0:,.{max(places, 0)}f}"
    return text.replace("-", "−") if float(text.replace(",", "")) != 0 else text.lstrip("-")


def significant(value: float, digits: int = 3) -> str:
    """With so many significant digits, in plain notation."""
    if not math.isfinite(value) or value == 0:
        return "–" if value != 0 else "0"
    return number(value, digits - 1 - math.floor(math.log10(abs(value))))


def is_share(metric: str) -> bool:
    """Whether the metric is shown in per cent."""
    return metric == "accuracy"


def capital(text: str) -> str:
    """With a large first letter, the others as they are."""
    return text[:1].upper() + text[1:]


def metric_label(metric: str) -> str:
    """What a metric is called in a sentence."""
    return METRIC_LABELS.get(metric, metric)


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


def duration(seconds: float) -> str:
    """``0.4 s``, ``35 s``, ``12 min``, ``3.1 h``."""
    if not math.isfinite(seconds):
        return "–"
    if seconds < 60:
        return f"{significant(seconds, 2)} s"
    return f"{significant(seconds / 60, 2)} min" if seconds < 5400 else f"{significant(seconds / 3600, 2)} h"


def microseconds(value: float) -> str:
    """``42 µs``, ``1.3 ms``."""
    if not math.isfinite(value):
        return "–"
    return f"{significant(value, 2)} µs" if value < 1000 else f"{significant(value / 1000, 2)} ms"


def size(n_bytes: float) -> str:
    """``950 B``, ``14 kB``, ``2.1 MB``; nothing where nothing is saved."""
    if not n_bytes > 0:
        return "–"
    if n_bytes < 1000:
        return f"{number(n_bytes, 0)} B"
    return f"{significant(n_bytes / 1e3, 2)} kB" if n_bytes < 1e6 else f"{significant(n_bytes / 1e6, 2)} MB"


def count(n: float) -> str:
    """A whole number with its thousands set apart."""
    return number(n, 0)


def share(part: float) -> str:
    """``0 %``, ``0.3 %``, ``12 %``."""
    return f"{significant(part * 100, 2)} %"
