"""The circuit of a liquid model, from the inputs to the motor neurons, with positions for drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid.explain.neurons import (
    input_names,
    jacobian,
    liquid_layers,
    neuron_kinds,
    neuron_names,
    of_layers,
    of_neurons,
)
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.cfc import WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.mixture import MixtureOfLiquid
from torchliquid.models.model import Model
from torchliquid.models.networks import Encoder

COLUMNS = ("sensory", "inter", "command", "motor")


@dataclass(frozen=True)
class Neuron:
    """A node of the circuit; inputs are sensory neurons.

    Attributes:
        name: an input's or a neuron's name, as in all analyses.
        kind: ``"sensory"``, ``"inter"``, ``"command"`` or ``"motor"``, or ``"neuron"`` without a wiring.
        x, y: position, each in [0, 1]; x increases from the inputs to the motor neurons.
        state: index in the state of the network; None for an input.
    """

    name: str
    kind: str
    x: float
    y: float
    state: int | None


@dataclass(frozen=True)
class Synapse:
    """A connection.

    Attributes:
        source, target: indices of the circuit's neurons.
        polarity: 1 excitatory, -1 inhibitory.
        strength: at least 0; see the circuit's ``strength_means``.
    """

    source: int
    target: int
    polarity: int
    strength: float


@dataclass(frozen=True, eq=False)
class Circuit:
    """Neurons and their synapses.

    Attributes:
        neurons: the inputs, then the neurons in the order of the state.
        synapses: strongest first.
        left_out: number of weaker synapses that are left out.
        readout: (K, C + H) weights of the readout.
        strength_means: a sentence that explains strength and polarity.
    """

    neurons: tuple[Neuron, ...]
    synapses: tuple[Synapse, ...]
    left_out: int
    readout: np.ndarray
    strength_means: str


LTC_MEANS = (
    "Strength is the largest conductance of the synapse. It excites where its reversal potential is above zero: an "
    "open synapse pulls the neuron's potential towards it."
)
STEP_MEANS = (
    "Strength is how far the neuron's next state moves, for a small push to the source, at the training mean, a state "
    "of zero and a usual gap; elsewhere it can be larger, smaller, or have the other sign."
)
ENCODED_MEANS = (
    " The inputs act through dense layers: an input's strength is the sum, over the dense layers' outputs, of its "
    "slope at the training mean times the strength of that output."
)
WIRED_CFC_MEANS = (
    STEP_MEANS
    + " Drawn are the synapses of the wiring; the time gates also read what the wiring leaves out, and those ways are "
    "not drawn."
)


@torch.no_grad()
def wiring(model: Model, most: int = 200) -> Circuit:
    """The circuit of a model.

    The synapses of an LTC are its parameters. Those of a wired CfC are the synapses of its wiring, and within each
    layer all to all. A CfC without a wiring and all other cells have no synapses; every input and neuron reaches every
    neuron. For these, strength and polarity are the derivative of a step, see ``strength_means``.

    Args:
        model: an LTC, a CfC with or without a wiring, or a relative, with any number of layers.
        most: maximum number of synapses, the strongest ones, so that a picture stays readable.

    Raises:
        InputError: the model is of another kind.
    """
    layers = liquid_layers(model)
    n = model.preprocessing.n_inputs
    kinds = ("sensory",) * n + neuron_kinds(model)
    names = input_names(model) + neuron_names(model)
    is_neuron = of_neurons(layers)
    weights = np.zeros((n + len(is_neuron), len(is_neuron)))
    means = MEANS.get(type(layers[0].rnn_cell), STEP_MEANS)
    readings, slope, point = model.readout.weight.new_zeros(n), None, None
    if encoders := [network for network in model.network.chain if isinstance(network, Encoder)]:
        means += ENCODED_MEANS
        encode = nn.Sequential(*(nn.Sequential(each.linear, nn.Tanh()) for each in encoders))
        slope, point = _slope(encode, readings), encode(readings)
    columns = [(0, "sensory")] * n
    before = np.arange(n)
    for k, (layer, own) in enumerate(zip(layers, of_layers(layers), strict=True)):
        cell = layer.rnn_cell
        found = WEIGHTS.get(type(cell), _derivative)(cell, point)
        outside, inside = found[: cell.input_size], found[cell.input_size :]
        weights[before, own] = outside if slope is None else slope.T @ outside
        before = np.arange(own.start, own.stop) + n
        weights[before, own] = inside
        mixed = isinstance(layer, MixtureOfLiquid)
        read = partial(layer.around, readings.new_zeros(cell.input_size)) if mixed else layer.read
        slope, point = _slope(read, readings.new_zeros(layer.state_size)), None
        first = n + int(is_neuron[: own.start].sum())
        columns += [(k + 1, kind) for kind in kinds[first : first + int(is_neuron[own].sum())]]
    weights = weights[np.ix_(np.concatenate([np.ones(n, dtype=bool), is_neuron]), is_neuron)]
    sources, targets = np.nonzero(weights)
    strength = np.abs(weights[sources, targets])
    order = np.argsort(-strength, kind="stable")[:most]
    polarity = np.sign(weights[sources, targets]).astype(int)
    synapses = tuple(Synapse(int(sources[i]), int(targets[i]) + n, int(polarity[i]), float(strength[i])) for i in order)
    places = _layout(columns, synapses)
    neurons = tuple(
        Neuron(name, kind, x, y, None if i < n else i - n)
        for i, (name, kind, (x, y)) in enumerate(zip(names, kinds, places, strict=True))
    )
    readout = _readout(model, kinds, first)
    return Circuit(neurons, synapses, len(strength) - len(order), readout, means)


def _readout(model: Model, kinds: tuple[str, ...], start: int) -> np.ndarray:
    """(K, C + H) of the readout, which reads the layer that starts there: its motor neurons or, without a wiring, all
    neurons; zeros if a layer's output is mapped further, as in a mixture."""
    weight = model.readout.weight.detach().cpu().numpy()
    sought = "motor" if "motor" in kinds[start:] else "neuron"
    read = [i for i, kind in enumerate(kinds) if i >= start and kind == sought]
    found = np.zeros((len(weight), len(kinds)))
    if len(read) == weight.shape[1]:
        found[:, read] = weight
    return found


def _ltc(cell: LTCCell, _: Tensor | None) -> np.ndarray:
    """(C + H, H) signed conductances, source by target."""
    weights = np.zeros((cell.input_size + cell.state_size, cell.state_size))
    for first, index, (w, _, _, erev) in (
        (0, cell.sensory_index, cell.sensory_synapses()),
        (cell.input_size, cell.synapse_index, cell.synapses()),
    ):
        pre, post = index.cpu().numpy()
        weights[first + pre, post] = (w * torch.where(erev > 0, 1.0, -1.0)).cpu().numpy()
    return weights


def _wired_cfc(cell: WiredCfCCell, at: Tensor | None) -> np.ndarray:
    weights = np.zeros((cell.input_size + cell.state_size, cell.state_size))
    sources, first = np.arange(cell.input_size), 0
    for layer in cell.cells:
        own = np.arange(first, first + layer.hidden_size)
        part = _derivative(layer, None if first else at)
        if layer.sparsity_mask is not None:
            part = part * layer.sparsity_mask.T.cpu().numpy()
        weights[np.ix_(np.concatenate([sources, own + cell.input_size]), own)] = part
        sources, first = own + cell.input_size, first + layer.hidden_size
    return weights


def _derivative(cell: RecurrentCell, at: Tensor | None) -> np.ndarray:
    """(C + H, H): d new state / d (inputs, state) at these inputs (None: zeros), a state of zeros and a span of 1."""
    weight = next(cell.parameters()).detach()

    def step(z: Tensor) -> Tensor:
        x, h = z.split([cell.input_size, cell.state_size])
        new: Tensor = cell.recur(x.expand(1, 1, -1), weight.new_ones(1, 1), h.unsqueeze(0))[0]
        return new[0, 0]

    inputs = weight.new_zeros(cell.input_size) if at is None else at
    return _slope(step, torch.cat([inputs, weight.new_zeros(cell.state_size)])).T


def _slope(of: Callable[[Tensor], Tensor], at: Tensor) -> np.ndarray:
    return np.asarray(jacobian(of, at).cpu().numpy(), dtype=np.float64)


WEIGHTS: dict[type[RecurrentCell], Callable[[Any, Tensor | None], np.ndarray]] = {
    LTCCell: _ltc,
    WiredCfCCell: _wired_cfc,
}
"""(C + H, H), source by target, at these inputs; for cells without an entry, the derivative."""
MEANS = {LTCCell: LTC_MEANS, WiredCfCCell: WIRED_CFC_MEANS}


def _layout(kinds: list[tuple[int, str]], synapses: tuple[Synapse, ...]) -> list[tuple[float, float]]:
    """Columns by layer and kind. In each, neurons are ordered by the mean height of their sources, which reduces
    crossings."""
    columns = sorted(set(kinds), key=lambda key: (key[0], (*COLUMNS, "neuron").index(key[1])))
    y = np.zeros(len(kinds))
    x = np.array([columns.index(k) / max(len(columns) - 1, 1) for k in kinds])
    for column in columns:
        members = [i for i, k in enumerate(kinds) if k == column]
        pull = {
            i: [(s.strength, y[s.source]) for s in synapses if s.target == i and x[s.source] < x[i]] for i in members
        }
        height = {
            i: np.average([at for _, at in p], weights=[w for w, _ in p]) if sum(w for w, _ in p) else i
            for i, p in pull.items()
        }
        if column != columns[0]:
            members.sort(key=lambda i: float(height[i]))
        y[members] = (np.arange(len(members)) + 0.5) / len(members)
    return list(zip(x.tolist(), y.tolist(), strict=True))
