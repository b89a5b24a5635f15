"""Rollouts of a simulated body as a recording whose target is the next observation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from torchliquid.data.recording import Recording


def next_observation(rollouts: Mapping[str, np.ndarray], keep: Callable[[int], np.ndarray] | None = None) -> Recording:
    """Observations (T, C) of each rollout, each with the observation one step later as its target (T - 1, C).

    Args:
        rollouts: by name, in order.
        keep: draws the steps that stay in the recording, given their number; None: all.
    """
    values, times, targets = [], [], []
    for rollout in rollouts.values():
        steps = np.arange(len(rollout) - 1)
        if keep is not None:
            steps = steps[keep(len(steps))]
        values.append(rollout[steps])
        times.append(steps)
        targets.append(rollout[steps + 1])
    return Recording.from_arrays(
        values,
        times,
        targets,
        channels=[f"observation_{c + 1}" for c in range(values[0].shape[1])],
        target="next_observation",
        time_unit="steps",
        names=list(rollouts),
    )
