"""How long one live step takes."""

from __future__ import annotations

import gc
import time

import numpy as np

from torchliquid.data import Series
from torchliquid.study.run.trial import Trainable

WARM_UP, STEPS, SECONDS = 50, 1000, 1.0


def live_step(model: Trainable, series: Series) -> tuple[float, float]:
    """Median and 99th percentile in microseconds of one live step: from a sample of a recording to the answer.

    At most ``STEPS`` steps after a warm-up, and at most ``SECONDS``.
    """
    stepper = model.live()
    gaps = np.diff(series.times, prepend=series.times[0])
    rows = [(series.values[i % len(series)], float(gaps[i % len(series)])) for i in range(WARM_UP + STEPS)]
    end = time.perf_counter() + SECONDS
    taken = []
    gc.disable()
    try:
        for values, elapsed in rows:
            start = time.perf_counter_ns()
            stepper.step(values, elapsed)
            taken.append(time.perf_counter_ns() - start)
            if time.perf_counter() > end and len(taken) > WARM_UP + 10:
                break
    finally:
        gc.enable()
    counted = np.array(taken[min(WARM_UP, len(taken) // 2) :]) / 1e3
    return float(np.median(counted)), float(np.quantile(counted, 0.99))
