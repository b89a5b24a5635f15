"""Rollouts of a simulated body as a recording whose target is the next observation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from torchliquid.data.recording import Recording


def next_observation(
    rollouts: Mapping[str, np.ndarray], names: Sequence[str], keep: Callable[[int], np.ndarray] | None = None
) -> Recording:
    """Observations (T, C) of the named rollouts, each with the observation one step later as its target (T - 1, C).
    ``keep`` draws the steps that stay in the recording, given their number; None: all."""
    every = [np.arange(len(rollouts[name]) - 1) for name in names]
    times = every if keep is None else [steps[keep(len(steps))] for steps in every]
    values = [rollouts[name][steps] for name, steps in zip(names, times, strict=True)]
    return Recording.from_arrays(
        values,
        times,
        [rollouts[name][steps + 1] for name, steps in zip(names, times, strict=True)],
        channels=[f"observation_{c + 1}" for c in range(values[0].shape[1])],
        target="next_observation",
        time_unit="steps",
        names=names,
    )
