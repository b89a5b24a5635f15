"""The circuit of a liquid model, from the inputs to the motor neurons, as a picture can show it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from torchliquid.explain.neurons import input_names, liquid_layer, neuron_kinds, neuron_names
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.models.model import Model

COLUMNS = ("sensory", "inter", "command", "motor")


@dataclass(frozen=True)
class Neuron:
    """A node of the picture; an input counts as a sensory neuron.

    Attributes:
        name: an input's or a neuron's name, as in all analyses.
        kind: ``"sensory"``, ``"inter"``, ``"command"`` or ``"motor"``, or ``"neuron"`` where nothing tells them apart.
        x, y: its place, each in [0, 1]; x grows from the inputs to the motor neurons.
        state: its place in the state of the network; None for an input.
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
        source, target: places in the circuit's neurons.
        polarity: 1 excitatory, -1 inhibitory.
        strength: at least 0; see the circuit's ``strength_means``.
    """

    source: int
    target: int
    polarity: int
    strength: float


@dataclass(frozen=True, eq=False)
class Circuit:
    """Who drives whom.

    Attributes:
        neurons: the inputs, then the neurons in the order of the state.
        synapses: the strongest first.
        left_out: how many weaker synapses are not among them.
        readout: (K, C + H) the weights by which the answers read the neurons.
        strength_means: a sentence that says what strength and polarity are.
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
CFC_MEANS = (
    "Strength is how far the neuron's next state moves, for a small push to the source, at the training mean, a state "
    "of zero and a usual gap; elsewhere it can be more, less, or of the other sign."
)
WIRED_CFC_MEANS = (
    CFC_MEANS + " Drawn are the synapses of the wiring; the time gates also read what the wiring leaves out, and those "
    "ways are not drawn."
)


@torch.no_grad()
def wiring(model: Model, most: int = 200) -> Circuit:
    """The circuit of a model.

    An LTC's synapses are its own. A wired CfC's are those of its wiring, and in each layer all to all; a CfC without a
    wiring has no synapses, only ways from each input and neuron to each neuron through the backbone. Strength and
    polarity of both are taken from the derivative of a step, see ``strength_means``.

    Args:
        model: an LTC or a CfC, wired or not.
        most: only so many of the strongest synapses are kept, so that a picture stays readable.

    Raises:
        InputError: another kind of model.
    """
    cell = liquid_layer(model).rnn_cell
    kinds = ("sensory",) * cell.input_size + neuron_kinds(model)
    names = input_names(model) + neuron_names(model)
    if isinstance(cell, LTCCell):
        weights, means = _ltc(cell), LTC_MEANS
    elif isinstance(cell, WiredCfCCell):
        weights, means = _wired_cfc(cell), WIRED_CFC_MEANS
    else:
        assert isinstance(cell, CfCCell)
        weights, means = _derivative(cell), CFC_MEANS
    sources, targets = np.nonzero(weights)
    strength = np.abs(weights[sources, targets])
    order = np.argsort(-strength, kind="stable")[:most]
    synapses = tuple(
        Synapse(
            int(sources[i]),
            int(targets[i]) + cell.input_size,
            1 if weights[sources[i], targets[i]] > 0 else -1,
            float(strength[i]),
        )
        for i in order
    )
    places = _layout(kinds, synapses)
    neurons = tuple(
        Neuron(name, kind, x, y, None if i < cell.input_size else i - cell.input_size)
        for i, (name, kind, (x, y)) in enumerate(zip(names, kinds, places, strict=True))
    )
    return Circuit(neurons, synapses, len(strength) - len(order), _readout(model, kinds), means)


def _readout(model: Model, kinds: tuple[str, ...]) -> np.ndarray:
    """(K, C + H): the motor neurons are read, or where nothing tells them apart all neurons are; zeros where a layer's
    output is mapped further."""
    weight = model.readout.weight.detach().cpu().numpy()
    read = [i for i, kind in enumerate(kinds) if kind == ("motor" if "motor" in kinds else "neuron")]
    found = np.zeros((len(weight), len(kinds)))
    if len(read) == weight.shape[1]:
        found[:, read] = weight
    return found


def _ltc(cell: LTCCell) -> np.ndarray:
    """(C + H, H) signed conductances, source by target."""
    weights = np.zeros((cell.input_size + cell.state_size, cell.state_size))
    for first, index, (w, _, _, erev) in (
        (0, cell.sensory_index, cell.sensory_synapses()),
        (cell.input_size, cell.synapse_index, cell.synapses()),
    ):
        pre, post = index.cpu().numpy()
        weights[first + pre, post] = (w * torch.where(erev > 0, 1.0, -1.0)).cpu().numpy()
    return weights


def _wired_cfc(cell: WiredCfCCell) -> np.ndarray:
    weights = np.zeros((cell.input_size + cell.state_size, cell.state_size))
    sources, first = np.arange(cell.input_size), 0
    for layer in cell.cells:
        own = np.arange(first, first + layer.hidden_size)
        part = _derivative(layer)
        if layer.sparsity_mask is not None:
            part = part * layer.sparsity_mask.T.cpu().numpy()
        weights[np.ix_(np.concatenate([sources, own + cell.input_size]), own)] = part
        sources, first = own + cell.input_size, first + layer.hidden_size
    return weights


def _derivative(cell: CfCCell) -> np.ndarray:
    """(C + H, H): d new state / d (inputs, state) at zeros and a span of 1."""
    weight = next(cell.parameters()).detach()

    def step(z: Tensor) -> Tensor:
        x, h = z.split([cell.input_size, cell.hidden_size])
        new: Tensor = cell.recur(x.expand(1, 1, -1), weight.new_ones(1, 1), h.unsqueeze(0))[0]
        return new[0, 0]

    with torch.enable_grad():
        slope = torch.autograd.functional.jacobian(step, weight.new_zeros(cell.input_size + cell.hidden_size))
    assert isinstance(slope, Tensor)
    return np.asarray(slope.T.cpu().numpy(), dtype=np.float64)


def _layout(kinds: tuple[str, ...], synapses: tuple[Synapse, ...]) -> list[tuple[float, float]]:
    """Columns by kind; in each, neurons in the order of the mean height of what drives them, which saves crossings."""
    columns = [k for k in COLUMNS if k in kinds] + (["neuron"] if "neuron" in kinds else [])
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
