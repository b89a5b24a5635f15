"""How fast each neuron forgets at each sample: time constants of an LTC, or time scales of a CfC's gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.recording import Recording
from torchliquid.explain.neurons import Trajectory, follow, liquid_layers, neuron_names, of_layers, weights_hash
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model

MEANING = {
    "ltc": (
        "The time in which a small push to this neuron's potential fades to 37 % while its inputs and the potentials "
        "that feed its synapses stay as they are: capacitance over leak and synaptic conductance."
    ),
    "gated": (
        "The gap between samples over which the argument of this neuron's gate sigmoid(a t + b) changes by one: "
        "1 / |a|. It says how much the length of a gap matters, not how long the neuron remembers: a CfC jumps to its "
        "new state at each sample and nothing decays in between."
    ),
    "pure": (
        "The gap between samples over which this neuron's exponential exp(-t (|w_tau| + |f|)) falls to 37 %. It says "
        "how fast the answer to one sample approaches its limit as the gap grows, not how long the neuron remembers."
    ),
    "step": (
        "The time in which a small push to this neuron's state fades to 37 % by itself when steps like this sample's "
        "are repeated, computed from the share of it that one step leaves, d new / d old."
    ),
}

HEADS = {
    "default": ("towards head f as the gap grows", "towards head g as the gap grows"),
    "no_gate": ("head g fades as the gap grows", "head g is added as the gap grows"),
}

LEFT: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "fused": lambda z: 1 / (1 + z),
    "euler": lambda z: 1 - z,
    "rk4": lambda z: 1 - z + z**2 / 2 - z**3 / 6 + z**4 / 24,
}
"""The factor by which one step reduces a perturbation, given step / time constant."""


SAMPLES = 50_000


@dataclass(frozen=True, eq=False)
class TimeConstants:
    """The effective time constant (LTC) or the gate's time scale (CfC) of each neuron at each sample.

    Attributes:
        name: ``"time constant"`` or ``"gate time scale"``.
        meaning: a sentence that explains the quantity.
        unit: the recording's unit of time.
        neurons: H names, in the order of the state.
        series: names of the series.
        times: for each series (T,), in the recording's unit.
        values: for each series (T, H) float64, in the recording's unit; for an LTC those of its equation. Infinite if a
            gate does not move.
        stepped: the same for the solver's steps of an LTC: the time in which a perturbation decays to 37 % if the steps
            over a sample's gap are repeated. A few large steps forget more slowly than the equation. Infinite if a
            perturbation does not decay; None for a CfC, which has no steps.
        towards: for each series (T, H) int8, the direction of a CfC's gate with a longer gap: 1 towards the second
            head, -1 towards the first; None if there is no such direction.
        heads: what -1 and 1 mean, in words; or None.
        bounds: (H, 2) float64, smallest and largest possible time constant for any inputs; None for a CfC.
        inputs: for each series (T, C), inputs of the network.
        states: for each series (T, H), the neurons' states after each sample.
        weights_before, weights_after: SHA-256 of the weights before and after the run.
        samples, of_samples: number of samples used, and in the recording.
    """

    name: str
    meaning: str
    unit: str
    neurons: tuple[str, ...]
    series: tuple[str, ...]
    times: tuple[np.ndarray, ...]
    values: tuple[np.ndarray, ...]
    stepped: tuple[np.ndarray, ...] | None
    towards: tuple[np.ndarray, ...] | None
    heads: tuple[str, str] | None
    bounds: np.ndarray | None
    inputs: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]
    weights_before: str
    weights_after: str
    samples: int
    of_samples: int

    @property
    def shown(self) -> tuple[np.ndarray, ...]:
        """The time constants of an LTC's steps, or the gate time scales of a CfC."""
        return self.values if self.stepped is None else self.stepped


@torch.no_grad()
def time_constants(model: Model, recording: Recording, samples: int = SAMPLES) -> TimeConstants:
    """Time constants of a model's neurons along a recording, with the state carried through each series.

    For an LTC they are cm / (gleak + sum of synaptic conductances) at the inputs of a sample and the potentials after
    it (Hasani et al., arXiv 2006.04439); the conductance of a synapse from a neuron to itself is held constant. The
    solver's steps forget more slowly if they are long compared with it, see ``stepped``. A CfC does not decay; for its
    gates, see ``meaning``.

    Args:
        model: an LTC or a CfC, with or without a wiring.
        recording: with all channels of the model, in the time unit of its training.
        samples: approximate maximum number of samples to use: whole series, spread evenly, if there are 20 or more,
            else the beginning of each series.

    Raises:
        InputError: the model is of another kind, a channel is missing, times are in another unit, or there are no
            samples.
    """
    layers = liquid_layers(model)
    before = weights_hash(model)
    path = follow(model, recording, samples)
    scale = model.preprocessing.time_scale
    bounds, towards, stepped = None, None, None
    cell = layers[0].rnn_cell  # all layers have the same type
    if isinstance(cell, LTCCell):
        mode, meaning = "ltc", MEANING["ltc"]
        values = [tau * scale for tau in _over(_equation, layers, path)]
        stepped = tuple(tau * scale for tau in _over(_stepped, layers, path))
        bounds = np.concatenate([_bounds(layer.rnn_cell) for layer in layers]) * scale
    elif not isinstance(cell, CfCCell | WiredCfCCell):
        mode, meaning = "step", MEANING["step"]
        values = [tau * scale for tau in _over(_faded, layers, path)]
    else:
        mode = cell.mode
        meaning = MEANING["pure" if mode == "pure" else "gated"]
        rates = _over(_gate_rates, layers, path)
        with np.errstate(divide="ignore"):
            values = [scale / np.abs(rate) for rate in rates]
        if mode != "pure":
            towards = tuple(np.where(rate > 0, 1, -1).astype(np.int8) for rate in rates)
    kept = path.of_neurons
    values = [each[:, kept] for each in values]
    series = path.recording.series
    return TimeConstants(
        "gate time scale" if isinstance(cell, CfCCell | WiredCfCCell) else "time constant",
        meaning,
        path.recording.time_unit,
        neuron_names(model),
        tuple(s.name for s in series),
        tuple(s.times for s in series),
        tuple(values),
        stepped,
        towards,
        HEADS.get(mode),
        bounds,
        path.inputs,
        tuple(states[:, kept] for states in path.states),
        before,
        weights_hash(model),
        path.recording.n_samples,
        recording.n_samples,
    )


# Each of the following is called with a layer, the trajectory, the numbers of the series and of the layer, and the
# indices of the layer's states, and returns (T, H) in the model's unit of time.

Of = Callable[[RecurrentLayer, Trajectory, int, int, slice], np.ndarray]


def _over(of: Of, layers: Sequence[RecurrentLayer], path: Trajectory) -> list[np.ndarray]:
    """For each series what a function gives for each layer, side by side."""
    places = list(zip(range(len(layers)), layers, of_layers(layers), strict=True))
    return [
        np.concatenate([of(layer, path, i, k, own) for k, layer, own in places], 1) for i in range(len(path.states))
    ]


def _equation(layer: RecurrentLayer, path: Trajectory, i: int, number: int, own: slice) -> np.ndarray:
    """The time constants of an LTC's equation."""
    cell: LTCCell = layer.rnn_cell  # type: ignore[assignment]
    return _array(cell.time_constants(*_tensors(layer, path.fed[i][number], path.states[i][:, own])))


def _stepped(layer: RecurrentLayer, path: Trajectory, i: int, number: int, own: slice) -> np.ndarray:
    """The time constants of an LTC's steps over each gap. A step leaves a share of a perturbation that is the solver's
    stability function at -(step / tau). An adaptive solver leaves the equation's share."""
    cell: LTCCell = layer.rnn_cell  # type: ignore[assignment]
    tau, gap = _equation(layer, path, i, number, own), path.spans[i][:, None].astype(np.float64)
    if cell.solver not in LEFT:
        return tau
    step = gap / cell.ode_unfolds
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rate = -np.log(np.abs(LEFT[cell.solver](step / tau))) / step
        return np.where(gap > 0, np.where(rate > 0, 1 / rate, np.inf), tau)


def _tensors(layer: RecurrentLayer, *arrays: np.ndarray) -> list[Tensor]:
    weight = next(layer.parameters())
    return [torch.from_numpy(array).to(weight) for array in arrays]


def _array(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.cpu().numpy(), dtype=np.float64)


def _bounds(cell: RecurrentCell) -> np.ndarray:
    """The bounds: with all synapses open, and with all closed."""
    assert isinstance(cell, LTCCell)
    gleak, _, cm = cell.leak()
    return _array(torch.stack([cm / (gleak + cell.open_conductance()), cm / gleak], 1))


def _before(layer: RecurrentLayer, path: Trajectory, i: int, x: Tensor, after: Tensor, own: slice) -> Tensor:
    """(T, H) states before each sample's step, after the memory if there is one."""
    before = torch.cat([torch.zeros_like(after[:1]), after[:-1]])
    if layer.lstm is not None and path.cells is not None:
        (memory,) = _tensors(layer, path.cells[i][:, own])
        before, _ = layer.lstm(x, (before, torch.cat([torch.zeros_like(memory[:1]), memory[:-1]])))
    return before


def _faded(layer: RecurrentLayer, path: Trajectory, i: int, number: int, own: slice) -> np.ndarray:
    """From the share of a perturbation that one step leaves."""
    x, after, spans = _tensors(layer, path.fed[i][number], path.states[i][:, own], path.spans[i])
    before = _before(layer, path, i, x, after, own).requires_grad_(True)
    with torch.enable_grad():
        new = layer.rnn_cell.recur(x.unsqueeze(1), spans.unsqueeze(1), before)[0][:, 0]
        ends = range(new.shape[1])
        left = [torch.autograd.grad(new[:, h].sum(), before, retain_graph=True)[0][:, h] for h in ends]
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = -np.log(np.abs(_array(torch.stack(left, 1))))
        return np.where(rate > 0, path.spans[i][:, None] / rate, np.inf)


def _gate_rates(layer: RecurrentLayer, path: Trajectory, i: int, number: int, own: slice) -> np.ndarray:
    cell: CfCCell | WiredCfCCell = layer.rnn_cell  # type: ignore[assignment]
    x, after = _tensors(layer, path.fed[i][number], path.states[i][:, own])
    return _array(cell.gate_rates(x, _before(layer, path, i, x, after, own), after))
