"""A model as plain arrays: what the live stream, C, integers and ONNX read instead of PyTorch modules.

A network is a chain of parts. Arrays have the modules' layout, in double precision. Products of two maps are properties
here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError
from torchliquid.layers import LTC, CfC, LrcSSM, MixtureOfLiquid
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.parts import is_called, odd_parts
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models import networks
from torchliquid.models.model import Model
from torchliquid.models.networks import Gated, Liquid, Network
from torchliquid.tasks import Task

ACTIVATIONS = ("lecun_tanh", "tanh", "relu", "silu", "gelu")
MODES = ("default", "no_gate", "pure")
SOLVERS = ("fused", "euler", "rk4")
"""Solvers that are known outside PyTorch. One that the layers learn later is rejected until it is added here."""

Affine = tuple[np.ndarray, np.ndarray]
"""A factor and a constant for each value."""


@dataclass(frozen=True, eq=False)
class Dense:
    """weight (rows, columns) and bias (rows,)."""

    weight: np.ndarray
    bias: np.ndarray

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Outputs (..., rows) for inputs (..., columns)."""
        return np.asarray(x @ self.weight.T + self.bias)

    def after(self, inner: Dense) -> Dense:
        """The composition of both maps."""
        return Dense(self.weight @ inner.weight, self.weight @ inner.bias + self.bias)

    def after_affine(self, inner: Affine) -> Dense:
        """The same map with a factor and a constant applied to each input first."""
        scale, shift = inner
        return Dense(self.weight * scale, self.bias + self.weight @ shift)


@dataclass(frozen=True, eq=False)
class Synapses:
    """One value per synapse, ordered by target neuron: conductance w * sigmoid(sigma * (source - mu)), potential
    ``reversal``.

    Attributes:
        source: (S,) int, the source neuron or input.
        count: (units,) int, the number of synapses that end at each neuron.
        scale, shift: (S,) of an affine map of the sources, which comes before mu and sigma.
    """

    weight: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray
    reversal: np.ndarray
    source: np.ndarray
    count: np.ndarray
    scale: np.ndarray
    shift: np.ndarray

    exported = ("weight", "slope", "offset", "reversal", "source", "count")

    @property
    def slope(self) -> np.ndarray:
        """(S,) with the affine map included: the conductance is w * sigmoid(slope * source + offset)."""
        return self.sigma * self.scale

    @property
    def offset(self) -> np.ndarray:
        """(S,)"""
        return -self.sigma * self.mu + self.sigma * self.shift

    @property
    def target(self) -> np.ndarray:
        """(S,) the target neuron of each synapse."""
        return np.repeat(np.arange(len(self.count)), self.count)


@dataclass(frozen=True, eq=False)
class Ltc:
    """Liquid time-constant neurons, stepped by one of :data:`SOLVERS`."""

    units: int
    sensory: Synapses
    synapses: Synapses
    gleak: np.ndarray  # (units,)
    vleak: np.ndarray  # (units,)
    capacitance: np.ndarray  # (units,)
    epsilon: float
    farthest: float  # the largest potential that fused steps can reach
    unfolds: int
    solver: str = "fused"
    input_map: Affine | None = None

    exported = ("sensory", "synapses", "pull", "conductance", "capacitance")

    @property
    def pull(self) -> np.ndarray:
        """(units,) gleak * vleak."""
        return self.gleak * self.vleak

    @property
    def conductance(self) -> np.ndarray:
        """(units,) gleak, in the solver's form."""
        return self.gleak + self.epsilon


@dataclass(frozen=True, eq=False)
class CfcLayer:
    """One layer of a CfC: heads f, g, a, b in this order; in mode pure only f, with w_tau and A.

    ``mask`` is true where a weight of f and g from the layer's inputs exists; None: all exist.
    """

    units: int
    heads: Dense  # (4 * units | units, inputs + units)
    mask: np.ndarray | None = None  # (units, inputs) bool
    rate: np.ndarray | None = None  # |w_tau|
    amplitude: np.ndarray | None = None  # A

    @property
    def inputs(self) -> int:
        return int(self.heads.weight.shape[1]) - self.units


@dataclass(frozen=True, eq=False)
class Cfc:
    """Closed-form continuous-time layers, each of which reads the previous one. Only a single layer has a backbone."""

    mode: str
    activation: str
    backbone: tuple[Dense, ...]
    layers: tuple[CfcLayer, ...]

    @property
    def units(self) -> int:
        return sum(layer.units for layer in self.layers)


@dataclass(frozen=True, eq=False)
class LrcSsm:
    """Liquid-resistance liquid-capacitance neurons, see :class:`torchliquid.cells.LrcSSM`.

    Attributes:
        slope, offset: of the inputs' synapses, sigmoid(slope u + offset).
        drive: their effect on each neuron's resistance, then on its drive, (2 * units, inputs | units).
        shift: of a symmetric elastance; None: the plain one.
        enter: with a block, the map from the inputs to one value per unit; None if there are as many inputs as units.
        feed: the two maps at a block's end; None without a block: the states are the outputs.
    """

    units: int
    slope: np.ndarray
    offset: np.ndarray
    drive: Dense
    w: np.ndarray  # (units,), as all that follow
    k: np.ndarray
    mu: np.ndarray
    sigma: np.ndarray
    vleak: np.ndarray
    open_weight: np.ndarray
    open_bias: np.ndarray
    shift: np.ndarray | None
    exponential: bool
    enter: Dense | None = None
    feed: tuple[Dense, Dense] | None = None


@dataclass(frozen=True, eq=False)
class Lstm:
    """Gates input, forget, candidate, output (4 * units, inputs + units)."""

    units: int
    gates: Dense


@dataclass(frozen=True, eq=False)
class Gru:
    """Gates reset and update (2 * units, inputs + units); the candidate's halves (units, inputs) and (units, units)."""

    units: int
    gates: Dense
    candidate: Dense
    recalled: Dense


@dataclass(frozen=True, eq=False)
class Encoder:
    """A dense layer with tanh, applied to each sample separately."""

    dense: Dense


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution with a stride of 2, zeros around the picture and ReLU: weight (filters, kernel, kernel, channels)
    and bias (filters,)."""

    weight: np.ndarray
    bias: np.ndarray

    @property
    def dense(self) -> Dense:
        """As a dense layer over patches."""
        return Dense(self.weight.reshape(len(self.weight), -1), self.bias)


@dataclass(frozen=True, eq=False)
class Picture:
    """Convolutions of a picture among the inputs, applied to each sample separately, then a dense layer with tanh. The
    outputs are the inputs before and after the picture, then its features.

    Attributes:
        shape: height, width and channels. The picture is row by row with the channels last.
    """

    start: int
    shape: tuple[int, int, int]
    convolutions: tuple[Convolution, ...]
    dense: Dense

    @property
    def size(self) -> int:
        height, width, depth = self.shape
        return height * width * depth

    @property
    def maps(self) -> list[tuple[int, int, int]]:
        """The shape after each convolution."""
        found, (height, width, _) = [], self.shape
        for one in self.convolutions:
            height, width = -(-height // 2), -(-width // 2)
            found.append((height, width, len(one.bias)))
        return found


@dataclass(frozen=True, eq=False)
class Mixture:
    """Experts of which a router calls ``top_k`` at each sample.

    The states are the router's, each expert's, and for each expert the time since its last call.

    Attributes:
        router, experts: a part each, fed what the mixture is fed.
        gate: from the router's outputs to a number for each expert; the largest ones are called.
    """

    units: int
    router: Part
    gate: Dense
    experts: tuple[Part, ...]
    top_k: int


STATELESS = (Encoder, Picture)


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the chain.

    Attributes:
        core: its equations: :class:`Ltc`, :class:`Cfc`, :class:`LrcSsm`, :class:`Lstm`, :class:`Gru`, :class:`Encoder`
            or :class:`Picture`; for any other cell its recurrence, with arrays instead of tensors.
        inputs: number of inputs, with the span's logarithm if it is one.
        units: number of neurons, or of rows of a dense layer.
        memory: the LSTM of mixed memory, whose output is the state from which the core starts each step; None without.
        with_span: whether the logarithm of the span is the last input.
        first, outputs: which of the states are its outputs, before the maps.
        output_map, projection: applied to these, in this order.
    """

    core: Any
    inputs: int
    units: int
    outputs: int
    first: int = 0
    memory: Lstm | None = None
    with_span: bool = False
    output_map: Affine | None = None
    projection: Dense | None = None

    @property
    def states(self) -> int:
        """Number of hidden states that it keeps from sample to sample."""
        return 0 if type(self.core) in STATELESS else self.units

    @property
    def clocks(self) -> int:
        """How many of the states, at their end, are times since a call, of a mixture's experts."""
        return len(self.core.experts) if type(self.core) is Mixture else 0

    @property
    def neurons(self) -> int:
        """The states that are neurons'."""
        return self.states - self.clocks

    @property
    def inner(self) -> tuple[Part, ...]:
        """The parts that a mixture is made of: the router and the experts."""
        return (self.core.router, *self.core.experts) if type(self.core) is Mixture else ()

    @property
    def leave(self) -> Dense | None:
        """The projection and the output map in one; None where there is neither."""
        if self.projection is None and self.output_map is None:
            return None
        last = self.projection or Dense(np.eye(self.outputs), np.zeros(self.outputs))
        return last if self.output_map is None else last.after_affine(self.output_map)

    @property
    def cells(self) -> int:
        return self.states if self.memory is not None or type(self.core) is Lstm else 0


@dataclass(frozen=True, eq=False)
class Description:
    """A whole model: preprocessing, a chain of parts, a readout."""

    parts: tuple[Part, ...]
    readout: Dense
    preprocessing: Preprocessing
    task: Task


def describe(model: Model) -> Description:
    """A model as arrays.

    Raises:
        InputError: there are no arrays for a part (the message names it), or its weights alone do not define it.
    """
    parts: list[Part] = []
    for network in model.network.chain:
        reader = NETWORKS.get(type(network))
        if reader is None:
            raise unknown(model.kind, type(network))
        try:
            parts += reader(network)
        except NotImplementedError as error:
            raise unknown(model.kind, type(error.args[0])) from None
    return Description(tuple(parts), _dense(model.readout), model.preprocessing, model.task)


def _convolution(one: nn.Conv2d) -> Convolution:
    assert one.bias is not None
    return Convolution(_numbers(one.weight.permute(0, 2, 3, 1)).copy(), _numbers(one.bias))


def _picture(network: networks.PictureEncoder) -> list[Part]:
    convolutions = tuple(map(_convolution, network.layers))
    core = Picture(network.start, network.shape, convolutions, _dense(network.linear))
    inputs = network.output_size - network.FEATURES + network.size
    return [Part(core, inputs, network.output_size, network.output_size)]


def unknown(kind: str, missing: type) -> InputError:
    """The error for a class without arrays here."""
    return InputError(
        f"a {kind} cannot be exported: there is no C or ONNX for {missing.__name__}; LTC, CfC, LSTM and GRU can be"
    )


def of_layers(layer: nn.Module) -> list[Part]:
    """A layer outside a model, or each layer of a unidirectional stack, as arrays.

    Raises:
        InputError: the weights alone do not define the layer, or this form of it is not supported here.
        NotImplementedError: the class is not supported here; the class is the error's argument.
    """
    if getattr(layer, "bidirectional", False):
        raise InputError(f"a bidirectional {type(layer).__name__} cannot run live or be exported")
    if isinstance(layer, RecurrentLayer):
        return [_reader(each)(each) for each in (layer, *layer.others)]
    return [_reader(layer)(layer, k) for k in range(getattr(layer, "num_layers", 1))]


def _reader(layer: nn.Module) -> Callable[..., Part]:
    kind = type(layer)
    if kind in LAYERS:
        return LAYERS[kind]
    if RecurrentLayer in kind.__bases__ and not {"forward", "read", "project"} & vars(kind).keys():
        return of_recurrent
    raise NotImplementedError(layer)


def arrays(*values: Any) -> Iterator[np.ndarray]:
    """All arrays in nested dataclasses and tuples, always in the same order. A dataclass can choose its arrays by a
    property ``exported``."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays(*value)
        elif is_dataclass(value) and not isinstance(value, type):
            names = getattr(value, "exported", None) or [f.name for f in fields(value)]
            yield from arrays(*(getattr(value, name) for name in names))


# -- one reader for each family


def _numbers(tensor: Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float64).numpy()


def _dense(linear: nn.Module) -> Dense:
    assert isinstance(linear, nn.Linear)
    return Dense(_numbers(linear.weight), _numbers(linear.bias))


def _affine(weight: Tensor | None, bias: Tensor | None, size: int) -> Affine | None:
    if weight is None and bias is None:
        return None
    scale = np.ones(size) if weight is None else _numbers(weight)
    return scale, np.zeros(size) if bias is None else _numbers(bias)


def of_recurrent(layer: RecurrentLayer) -> Part:
    """A layer with a cell."""
    layer.read_weights()
    cell = layer.rnn_cell
    try:
        part: Part = CELLS.get(type(cell), _as_it_is)(cell)
    except NotImplementedError:
        raise NotImplementedError(cell if type(layer) in LAYERS else layer) from None
    if layer.lstm is not None:
        part = replace(part, memory=_memory(layer.lstm))
    if isinstance(getattr(layer, "fc", None), nn.Linear):
        part = replace(part, projection=_dense(layer.get_submodule("fc")))
    return part


def _as_it_is(cell: RecurrentCell) -> Part:
    """A cell without arrays of its own, whose states are its outputs."""
    if {"read", "map_inputs"} & vars(type(cell)).keys() or RecurrentCell not in type(cell).__bases__:
        raise NotImplementedError(cell)
    recurrence: Any = cell.recurrence()
    core = type(recurrence)(*map(_plain, recurrence))
    return Part(core, cell.input_size, cell.state_size, cell.output_size)


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return _numbers(value)
    return tuple(map(_plain, value)) if type(value) in (list, tuple) else value


def _synapses(values: tuple[Tensor, ...], index: Tensor, units: int, input_map: Affine | None = None) -> Synapses:
    w, mu, sigma, erev = (_numbers(v) for v in values)
    pre, post = index.cpu().numpy()
    scale, shift = (np.ones(len(pre)), np.zeros(len(pre))) if input_map is None else (each[pre] for each in input_map)
    return Synapses(w, mu, sigma, erev, pre, np.bincount(post, minlength=units), scale, shift)


def _ltc(cell: LTCCell) -> Part:
    if cell.solver not in SOLVERS:
        raise InputError(
            f"an LTC with the adaptive solver {cell.solver} cannot be exported, because the number of its steps "
            "varies; "
            f"choose {', '.join(SOLVERS[:-1])} or {SOLVERS[-1]} with `torchliquid solvers MODEL RECORDING --write NEW`"
        )
    units, inputs = cell.state_size, cell.input_size
    input_map = _affine(cell.input_w, cell.input_b, inputs)
    gleak, vleak, capacitance = (_numbers(v) for v in cell.leak())
    core = Ltc(
        units,
        _synapses(cell.sensory_synapses(), cell.sensory_index, units, input_map),
        _synapses(cell.synapses(), cell.synapse_index, units),
        gleak,
        vleak,
        capacitance,
        cell.epsilon,
        float(torch.stack(cell.potential_bounds()).abs().max()),
        cell.ode_unfolds,
        cell.solver,
        input_map,
    )
    output_map = _affine(cell.output_w, cell.output_b, cell.output_size)
    return Part(core, inputs, units, cell.output_size, output_map=output_map)


def _cfc(cell: CfCCell) -> Part:
    backbone = tuple(_dense(linear) for linear in cell.backbone)
    core = _known(Cfc(cell.mode, cell.activation, backbone, (_cfc_layer(cell),)))
    return Part(core, cell.input_size, cell.state_size, cell.output_size)


def _wired_cfc(cell: WiredCfCCell) -> Part:
    core = _known(Cfc(cell.mode, "lecun_tanh", (), tuple(_cfc_layer(c) for c in cell.cells)))
    first = cell.state_size - core.layers[-1].units
    return Part(core, cell.input_size, cell.state_size, cell.output_size, first)


def _lrcssm(layer: LrcSSM) -> Part:
    layer.read_weights()
    cell: Any = layer.rnn_cell
    enter, feed = (getattr(module, name, None) for module, name in ((cell, "enter"), (layer, "feed")))
    if feed is not None and (is_called(feed) or any(odd_parts(feed, nn.Linear, nn.ReLU))):
        raise InputError("the feed of an LrcSSM was replaced by other modules, so its weights alone do not define it")
    weight = torch.cat([cell.sensory_w, cell.sensory_k])
    synapses, vleak, elastance, exponential = cell.recurrence()
    w, k, mu, sigma, reversal, p, q, *shift = (_numbers(values) for values in (*synapses, vleak, *elastance))
    slope = _numbers(cell.sensory_sigma)
    core = LrcSsm(
        cell.state_size,
        slope,
        -slope * _numbers(cell.sensory_mu),
        Dense(_numbers(weight), np.tile(_numbers(cell.gleak), 2)),
        w,
        k,
        mu,
        sigma,
        reversal,
        p,
        q,
        shift[0] if shift else None,
        exponential,
        None if enter is None else _dense(enter),
        None if feed is None else (_dense(feed[0]), _dense(feed[2])),
    )
    return Part(core, cell.input_size, cell.state_size, layer.output_size)


def _mixture(layer: MixtureOfLiquid) -> Part:
    layer.read_weights()
    cell = layer.rnn_cell
    router, *experts = (_reader(part)(part) for part in cell.parts)
    core = Mixture(cell.state_size, router, _dense(cell.gate), tuple(experts), cell.top_k)
    return Part(core, cell.input_size, cell.state_size, layer.output_size)


def _known(cfc: Cfc) -> Cfc:
    if cfc.activation not in ACTIVATIONS or cfc.mode not in MODES:
        raise InputError(f"there is no C or ONNX for a CfC of mode {cfc.mode!r} with {cfc.activation!r}")
    return cfc


def _cfc_layer(cell: CfCCell) -> CfcLayer:
    weight, bias, *pure = (_numbers(tensor) for tensor in cell.head_tensors())
    mask = None
    if cell.sparsity_mask is not None:
        mask = cell.sparsity_mask.cpu().numpy()[:, : cell.input_size] != 0
    if cell.mode != "pure":
        return CfcLayer(cell.hidden_size, Dense(weight, bias), mask)
    rate, amplitude = pure
    return CfcLayer(cell.hidden_size, Dense(weight, bias), mask, np.abs(rate), amplitude)


def _memory(memory: MemoryCell) -> Lstm:
    """Its gates in PyTorch's order of this package: candidate, input, forget (with 1 added), output."""
    weight = np.concatenate([_numbers(memory.input_map.weight), _numbers(memory.recurrent_map.weight)], 1)
    bias = _numbers(memory.input_map.bias).copy()
    units = len(bias) // 4
    bias[2 * units : 3 * units] += 1.0
    order = np.concatenate([np.arange(units) + units * gate for gate in (1, 2, 0, 3)])
    return Lstm(units, Dense(weight[order], bias[order]))


def _gates(rnn: nn.LSTM | nn.GRU, k: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The weights of inputs and of states of the k-th layer, and both biases."""
    weights = [_numbers(rnn.get_parameter(f"{name}_l{k}")) for name in ("weight_ih", "weight_hh")]
    zeros = np.zeros(len(weights[0]))
    biases = [_numbers(rnn.get_parameter(f"{name}_l{k}")) if rnn.bias else zeros for name in ("bias_ih", "bias_hh")]
    return weights[0], weights[1], biases[0], biases[1]


def _lstm(rnn: nn.LSTM, k: int) -> Part:
    if rnn.proj_size:
        raise InputError("there is no C or ONNX for an LSTM with a projection")
    inputs, states, bias_in, bias_state = _gates(rnn, k)
    core = Lstm(rnn.hidden_size, Dense(np.concatenate([inputs, states], 1), bias_in + bias_state))
    return Part(core, inputs.shape[1], rnn.hidden_size, rnn.hidden_size)


def _gru(rnn: nn.GRU, k: int) -> Part:
    inputs, states, bias_in, bias_state = _gates(rnn, k)
    gates = 2 * rnn.hidden_size
    core = Gru(
        rnn.hidden_size,
        Dense(np.concatenate([inputs[:gates], states[:gates]], 1), bias_in[:gates] + bias_state[:gates]),
        Dense(inputs[gates:], bias_in[gates:]),
        Dense(states[gates:], bias_state[gates:]),
    )
    return Part(core, inputs.shape[1], rnn.hidden_size, rnn.hidden_size)


CELLS: dict[type[nn.Module], Callable[[Any], Part]] = {LTCCell: _ltc, CfCCell: _cfc, WiredCfCCell: _wired_cfc}
LAYERS: dict[type[nn.Module], Callable[..., Part]] = {
    LTC: of_recurrent,
    CfC: of_recurrent,
    LrcSSM: _lrcssm,
    MixtureOfLiquid: _mixture,
    nn.LSTM: _lstm,
    nn.GRU: _gru,
}
NETWORKS: dict[type[Network], Callable[[Any], list[Part]]] = {
    Liquid: lambda network: of_layers(network.layer),
    networks.Encoder: lambda network: [
        Part(Encoder(_dense(network.linear)), network.linear.in_features, network.output_size, network.output_size)
    ],
    networks.PictureEncoder: _picture,
    Gated: lambda network: [replace(part, with_span=True) for part in of_layers(network.rnn)],
}
"""By exact class: a subclass may compute something else."""
