"""Which input moved the output, and how long ago: integrated gradients through time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Attribution:
    """Where the output comes from, on average over moments of a recording.

    Attributes:
        channels: C names.
        lags: (L,) 0, 1, ...: samples before the explained answer.
        lag_times: (L,) the same in the recording's unit of time: the mean age of these samples.
        unit: the recording's unit of time.
        share: (C, L) share of the absolute attribution, averaged over the moments; sums to 1 with ``older``.
        older: share of what came before the L samples, by way of the state.
        noisy_share, noisy_older: the same with noise on the readings.
        noise: its deviation, in units of each channel's deviation in training.
        alike: cosine of a moment's absolute attributions (C, L) without and with noise, the median over the moments.
        alike_by_chance: the same of two unrelated moments without noise: what ``alike`` is to be compared with.
        answers_kept: share of the moments whose answer the noise leaves alone: the same class, or in regression a
            change of less than a tenth of the target's deviation.
        completeness: largest difference between a moment's attributions' sum and the output's distance from the
            baseline's, relative to the mean of such distances.
        explained: a sentence that says which output was explained, against which baseline.
        moments: how many were explained.
        samples, of_samples: how many samples were used, of how many.
    """

    channels: tuple[str, ...]
    lags: np.ndarray
    lag_times: np.ndarray
    unit: str
    share: np.ndarray
    older: float
    noisy_share: np.ndarray
    noisy_older: float
    noise: float
    alike: float
    alike_by_chance: float
    answers_kept: float
    completeness: float
    explained: str
    moments: int
    samples: int
    of_samples: int
