"""Means over seeds, with their 95 % intervals by Student's t."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats


def mean_and_half(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """The mean, and half the width of its 95 % interval: infinite for one value, or where one is not finite."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2 or not np.isfinite(values).all():
        return mean, math.inf
    return mean, float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
