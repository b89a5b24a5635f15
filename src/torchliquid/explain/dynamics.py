"""How a trained network moves: whether small differences in its state die out or grow along a recording."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
import torch

from torchliquid.data.recording import Recording
from torchliquid.models.model import Model, aligned


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A state that a constant input leaves where it is.

    Attributes:
        at: which input, in words.
        inputs: (C,) that input, in the channels' own units.
        state: (H,) the state.
        spectral_radius: of the step's Jacobian there: below 1 a small push dies out, above 1 it grows.
        stable: whether it is below 1.
        residual: largest change of any neuron in one more step.
    """

    at: str
    inputs: np.ndarray
    state: np.ndarray
    spectral_radius: float
    stable: bool
    residual: float


@dataclass(frozen=True, eq=False)
class Dynamics:
    """Whether a model's state settles, and where it can go.

    Attributes:
        neurons: H names, in the order of the state.
        unit: the recording's unit of time.
        fixed_points: those that were found, at the mean input and at quantiles of it, at the usual gap.
        lyapunov: largest Lyapunov exponent along the recording, per sample, at its own gaps.
        gap: the median gap, in the recording's unit.
        multiples: (G,) by which all gaps were stretched.
        lyapunov_by_gap: (G,) the exponent at each.
        turns_positive_at: the least gap, in the recording's unit, from which on it is positive; None: it never is.
        bounds: (H, 2) between which each neuron's state must lie whatever the inputs are; None where nothing is proven.
        bounds_because: a sentence that says why, or why not.
        seen: (H, 2) least and largest state along the recording.
        samples, of_samples: how many samples were used, of how many.
    """

    neurons: tuple[str, ...]
    unit: str
    fixed_points: tuple[FixedPoint, ...]
    lyapunov: float
    gap: float
    multiples: np.ndarray
    lyapunov_by_gap: np.ndarray
    turns_positive_at: float | None
    bounds: np.ndarray | None
    bounds_because: str
    seen: np.ndarray
    samples: int
    of_samples: int


@torch.no_grad()
def largest_lyapunov_exponent(model: Model, recording: Recording, samples: int = 2000, seed: int = 0) -> float:
    """Mean growth, per sample, of the logarithm of a small difference between two states driven by the same samples.

    Negative: two copies with different states come together again, and so do two machines that round differently.
    Positive: they part, however exactly each computes. Estimated by following a neighbour that is brought back to its
    first distance after each sample (Benettin et al., Meccanica 15, 1980), in double precision.

    Args:
        model: a copy of it is run.
        recording: what drives it; the state is carried through each series.
        samples: how many of it are used; the first tenth of each series lets the neighbour turn into the direction of
            growth and is not counted.
        seed: of the direction in which the neighbour starts.

    Returns:
        Per sample, in natural logarithms; -inf where a difference is gone after a single sample.
    """
    twin = copy.deepcopy(model).double().eval()
    generator = torch.Generator().manual_seed(seed)
    growth: list[float] = []
    for series in aligned(recording, model.preprocessing).series:
        left = samples - len(growth)
        if left <= 0:
            break
        inputs, spans = (part[:left] for part in model.preprocessing(series))
        growth += _growth(twin, inputs, spans, generator)[len(spans) // 10 :]
    return float(np.mean(growth)) if growth else math.nan


def _growth(model: Model, inputs: np.ndarray, spans: np.ndarray, generator: torch.Generator) -> list[float]:
    distance, state = 1e-7, None
    found: list[float] = []
    for x, span in zip(torch.from_numpy(inputs).double(), torch.from_numpy(spans).double(), strict=True):
        _, state = model.network(x.expand(2, 1, -1), span.expand(2, 1), None, state)
        apart = torch.cat([(part[1] - part[0]).reshape(-1) for part in state])
        norm = float(apart.norm())
        if found or norm > 0:
            found.append(math.log(norm / distance) if norm > 0 else -math.inf)
        if norm == 0:  # the first sample starts both alike; later, nothing is left of the difference
            apart = torch.randn(apart.shape, generator=generator, dtype=torch.float64)
            norm = float(apart.norm())
        pieces = (apart * distance / norm).split([part[0].numel() for part in state])
        state = tuple(
            torch.stack([part[0], part[0] + piece.reshape(part[0].shape)])
            for part, piece in zip(state, pieces, strict=True)
        )
    return found
