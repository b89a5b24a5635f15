"""What each neuron does: what it follows, what the model loses without it, when it is active."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Role:
    """One neuron's part.

    Attributes:
        neuron, kind: its name and kind, as in all analyses.
        follows: the input, target or class (``"Occupancy = 1"``) that it follows best; None where none is significant.
        lag: how many samples behind it follows, and the same in the recording's unit of time at its median gap.
        correlation: rank correlation at that lag; negative where the neuron falls as the other rises.
        p: chance of a correlation this strong anywhere in the search without any link.
        loss: by how much the task's metric gets worse with the neuron held at its mean; negative: better.
        loss_p: chance of a loss this large, among all neurons, with targets of another time; NaN without targets.
        active: share of samples in which it lies in the upper half of its range (5 % to 95 % quantile).
        active_where: the same share for each class, or for the lower and the upper half of the target.
        clear: whether it follows anything, or the model loses by more than chance without it.
        sentence: all of this in words, with the figure that supports it.
    """

    neuron: str
    kind: str
    follows: str | None
    lag: int
    lag_time: float
    correlation: float
    p: float
    loss: float
    loss_p: float
    active: float
    active_where: Mapping[str, float]
    clear: bool
    sentence: str


@dataclass(frozen=True, eq=False)
class Roles:
    """The roles of H neurons, in the order of the state.

    Attributes:
        roles: H of them.
        features: the F things that neurons were compared with: channels, then the target or its classes.
        correlations, lags, p: (H, F) the strongest rank correlation, at which lag in samples, its adjusted chance.
        held_at: (H,) the mean at which each neuron was held.
        metric: name of the task's metric; None where the recording has no targets.
        higher_is_better: its direction.
        intact, without: the metric of the whole model, and (H,) without each neuron; NaN without targets.
        false_rate: the chance of any correlation being called significant without a link, and of any loss.
        control_found: neurons with a clear role when their activity is compared with another time's data.
        unit: the recording's unit of time.
        method: sentences that say how this was found.
        samples, of_samples: how many samples were used, of how many.
    """

    roles: tuple[Role, ...]
    features: tuple[str, ...]
    correlations: np.ndarray
    lags: np.ndarray
    p: np.ndarray
    held_at: np.ndarray
    metric: str | None
    higher_is_better: bool
    intact: float
    without: np.ndarray
    false_rate: float
    control_found: int
    unit: str
    method: str
    samples: int
    of_samples: int
