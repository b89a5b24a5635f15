"""Dynamics of a trained network: whether small differences in its state die out or grow along a recording."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.preprocessing import aligned
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.explain.neurons import follow, has_experts, jacobian, liquid_layers, neuron_names
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model
from torchliquid.models.networks import Network

MULTIPLES = np.logspace(-1, 3, 17)
"""Factors by which all gaps are multiplied."""

QUANTILES = (0.1, 0.5, 0.9)
"""Quantiles of each input at which fixed points are searched."""

STARTS = 8
"""Number of states along the recording from which the search for fixed points starts."""


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A state that does not change at a constant input.

    Attributes:
        at: the input, in words.
        inputs: (C,) the input, in the channels' units.
        state: (H,) the state.
        spectral_radius: of the Jacobian of a step; below 1 small perturbations die out, above 1 they grow.
        stable: whether ``spectral_radius`` is below 1.
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
    """Stability and bounds of a model's state.

    Attributes:
        neurons: H names, in the order of the state.
        unit: the recording's unit of time.
        fixed_points: the fixed points found at the mean input and at quantiles of it, at the usual gap.
        lyapunov: largest Lyapunov exponent per sample along the recording.
        gap: the median gap, in the recording's unit.
        multiples: (G,) factors by which all gaps are multiplied.
        lyapunov_by_gap: (G,) the exponent for each factor.
        turns_positive_at: smallest median gap, in the recording's unit, with a positive exponent; None: there is none.
        bounds: (H, 2) proven bounds of each neuron's state for any inputs; None if there are none.
        bounds_because: a sentence that gives the reason.
        seen: (H, 2) smallest and largest state along the recording.
        samples, of_samples: number of samples used, and in the recording.
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


def dynamics(model: Model, recording: Recording, samples: int = 10_000, seed: int = 0) -> Dynamics:
    """Fixed points, Lyapunov exponents at the recording's gaps and at longer ones, and bounds of the state.

    Fixed points are searched at constant inputs (the mean and quantiles of each channel) and the usual gap, by
    iteration from states along the recording and Newton's method. There may be more.

    Args:
        model: an LTC or a CfC, with or without a wiring.
        recording: with all of the model's channels.
        samples: approximate maximum number of samples for the states; the exponent along the recording uses 2,000,
            those of longer gaps 500.
        seed: of the direction in which neighbours start.

    Raises:
        InputError: the model is of another kind or a mixture, a channel is missing, times are in another unit, or no
            series has two samples.
    """
    layers = liquid_layers(model)
    if has_experts(model):
        raise InputError("a mixture has no fixed points: the experts that are not called wait, and know how long")
    path = follow(model, recording, samples)
    states = np.concatenate(path.states)
    by_gap = _exponents(model, path.recording, MULTIPLES, 500, seed)
    if np.isnan(by_gap).any():
        if max(len(series) for series in path.recording.series) > 1:
            longest = MULTIPLES[np.isnan(by_gap).argmax()]
            raise InputError(
                f"if all gaps are {longest:.3g} times as long, the state does not stay finite: use more solver steps"
            )
        raise InputError("no series is long enough to follow a small difference; give a series of at least two samples")
    gap = path.recording.median_gap()
    positive = np.flatnonzero(by_gap > 0)
    proven, reasons = zip(*map(_bounds, layers), strict=True)
    bounds = None if any(each is None for each in proven) else np.concatenate([b for b in proven if b is not None])
    return Dynamics(
        neuron_names(model),
        path.recording.time_unit,
        _fixed_points(model, np.concatenate(path.inputs), states),
        largest_lyapunov_exponent(model, path.recording, seed=seed),
        gap,
        MULTIPLES,
        by_gap,
        float(MULTIPLES[positive[0]] * gap) if len(positive) else None,
        bounds,
        reasons[0],
        np.stack([states.min(0), states.max(0)], 1).astype(np.float64),
        path.recording.n_samples,
        recording.n_samples,
    )


def largest_lyapunov_exponent(model: Model, recording: Recording, samples: int = 2000, seed: int = 0) -> float:
    """Mean growth per sample of the logarithm of a small difference between two states with the same inputs.

    If it is negative, two copies with different states converge, and so do two machines that round differently. If it
    is positive, they diverge, however exactly each computes. It is estimated with a neighbouring state that is rescaled
    to its initial distance after each sample (Benettin et al., Meccanica 15, 1980), in double precision.

    Args:
        model: a copy of it is run.
        recording: the inputs. The state is carried through each series; the direction of the neighbour is carried from
            series to series, because short ones are too short for it to align.
        samples: number of samples to use; the first tenth, in which the neighbour aligns, is not counted.
        seed: of the initial direction of the neighbour.

    Returns:
        Per sample, in natural logarithms; -inf if a difference vanishes after one sample.
    """
    return float(_exponents(model, recording, (1.0,), samples, seed)[0])


@torch.no_grad()
def _exponents(
    model: Model, recording: Recording, multiples: Sequence[float] | np.ndarray, samples: int, seed: int
) -> np.ndarray:
    """(G,) the exponent with all gaps stretched by each multiple."""
    twin = copy.deepcopy(model).cpu().double().eval()
    generator = torch.Generator().manual_seed(seed)
    stretch = torch.tensor(multiples, dtype=torch.float64)
    growth: list[np.ndarray] = []
    towards: Tensor | None = None
    for series in aligned(recording, model.preprocessing).series:
        left = samples - len(growth)
        if left <= 0:
            break
        inputs, spans = (part[:left] for part in model.preprocessing(series))
        found, towards = _growth(twin, inputs, spans, stretch, generator, towards)
        growth += found
    counted = growth[len(growth) // 10 :]
    return np.asarray(np.mean(counted, axis=0)) if counted else np.full(len(stretch), math.nan)


def _growth(
    model: Model,
    inputs: np.ndarray,
    spans: np.ndarray,
    stretch: Tensor,
    generator: torch.Generator,
    towards: Tensor | None,
) -> tuple[list[np.ndarray], Tensor | None]:
    """For each sample (G,) growth. A trajectory and its neighbour run in parallel for each multiple.

    ``towards`` (G, D) is the direction of the neighbours at the end of the previous series; the new one is returned.
    """
    n, distance, state = len(stretch), 1e-7, None
    found: list[np.ndarray] = []
    samples = zip(torch.from_numpy(inputs).double(), torch.from_numpy(spans).double(), strict=True)
    for t, (x, span) in enumerate(samples):
        _, state = model.network(x.expand(2 * n, 1, -1), (span * stretch).repeat(2)[:, None], None, state)
        apart = torch.cat([(part[n:] - part[:n]).reshape(n, -1) for part in state], 1)
        norm = apart.norm(dim=1)
        if t:  # before the first sample both are equal, up to rounding
            found.append(torch.log(norm / distance).numpy())
        elif towards is not None:
            apart, norm = towards, towards.norm(dim=1)
        gone = (norm == 0) | (t == 0 and towards is None)
        apart[gone] = torch.randn(apart.shape, generator=generator, dtype=torch.float64)[gone]
        towards = apart / apart.norm(dim=1, keepdim=True)
        pieces = (towards * distance).split([part[0].numel() for part in state], 1)
        state = tuple(
            torch.cat([part[:n], part[:n] + piece.reshape(part[:n].shape)])
            for part, piece in zip(state, pieces, strict=True)
        )
    return found, towards


def _fixed_points(model: Model, inputs: np.ndarray, states: np.ndarray) -> tuple[FixedPoint, ...]:
    network = copy.deepcopy(model.network).cpu().double().eval().requires_grad_(False)
    scales = model.preprocessing
    _, state = network(torch.zeros(1, 1, scales.n_inputs).double(), torch.ones(1, 1).double())
    parts = [own for own in network.own_states(state) if own]
    sizes = [part.shape[1] for own in parts for part in own]
    # Of each layer's states the first part is neurons; the second, if any, is its memory's.
    neurons = np.concatenate([np.full(part.shape[1], k == 0) for own in parts for k, part in enumerate(own)])
    places = {"mean input": inputs.mean(0)}
    places |= {f"{q:.0%} quantile of each input": np.quantile(inputs, q, axis=0) for q in QUANTILES}
    starts = torch.zeros(1 + STARTS, len(neurons)).double()
    starts[1:, neurons] = torch.from_numpy(states[np.linspace(0, len(states) - 1, STARTS).astype(int)]).double()
    points = []
    for at, x in places.items():
        x = np.array(x, dtype=np.float64)
        if scales.with_mask:
            x[scales.n_channels :] = 1.0
        step = _step(network, torch.from_numpy(x), sizes)
        found: list[Tensor] = []
        settled = starts
        with torch.no_grad():
            for _ in range(200):
                settled = step(settled)
        for state in settled:
            point = _newton(step, state)
            if point is not None and not any(bool((point - other).abs().max() < 1e-4) for other in found):
                found.append(point)
        for point in found:
            radius = float(torch.linalg.eigvals(jacobian(step, point)).abs().max())
            residual = float((step(point) - point).abs().max())
            raw = x[: scales.n_channels] * scales.std + scales.mean
            points.append(FixedPoint(at, raw, point.numpy()[neurons], radius, radius < 1, residual))
    return tuple(points)


def _step(network: Network, x: Tensor, sizes: list[int]) -> Callable[[Tensor], Tensor]:
    """The state after one more sample at the usual gap, from one state (S,) or several (B, S)."""

    def step(state: Tensor) -> Tensor:
        rows = state.reshape(-1, state.shape[-1])
        inputs, spans = x.expand(len(rows), 1, -1), x.new_ones(len(rows), 1)
        _, new = network(inputs, spans, None, tuple(rows.split(sizes, 1)))
        return torch.cat(new, 1).reshape(state.shape)

    return step


def _newton(step: Callable[[Tensor], Tensor], state: Tensor) -> Tensor | None:
    """A root of step(state) - state near a state; None if none is found."""
    for _ in range(30):
        gap = step(state) - state
        if not bool(torch.isfinite(gap).all()):
            return None
        if float(gap.abs().max()) < 1e-10:
            return state
        slope = jacobian(step, state)
        state = state - torch.linalg.lstsq(slope - torch.eye(len(state)).to(slope), gap[:, None]).solution[:, 0]
    return None


def _bounds(layer: RecurrentLayer) -> tuple[np.ndarray | None, str]:
    cell = layer.rnn_cell
    if isinstance(cell, LTCCell):
        if cell.solver != "fused":
            return None, f"Nothing is proven for the solver {cell.solver}: a large step can leave the range."
        low, high = (bound.cpu().numpy() for bound in cell.potential_bounds())
        why = (
            "Each solver step puts the potential between itself, its leak potential and the reversal potentials of its "
            "synapses, whatever the inputs and gaps are; it starts at 0."
        )
        if layer.lstm is not None:
            low, high = np.minimum(low, -1.0), np.maximum(high, 1.0)
            why += " The memory sets it between -1 and 1 before each sample."
        return np.stack([low, high], 1).astype(np.float64), why
    if not isinstance(cell, CfCCell | WiredCfCCell):
        return None, f"Nothing is proven for {type(layer).__name__}."
    if cell.mode == "pure":
        return None, "Nothing is proven in mode pure: A - A exp(...) f has no bound in f."
    most = 1.0 if cell.mode == "default" else 2.0
    why = {
        "default": "The state is a mean, weighted by the gate, of two hyperbolic tangents.",
        "no_gate": "The state is one hyperbolic tangent plus at most another.",
    }[cell.mode]
    return np.tile([-most, most], (layer.state_size, 1)), why
