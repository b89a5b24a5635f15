"""What a model computes, as plain arrays: the one thing that the C and ONNX generators read.

Maps that only rename numbers are folded together in double precision: an LTC's input mapping into its sensory
synapses, its output mapping and a CfC's projection into the readout, an LSTM's two biases into one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid.data.preprocessing import LIMIT, Preprocessing
from torchliquid.edge.plausible import Plausible, plausible
from torchliquid.errors import InputError
from torchliquid.layers import LTC, CfC
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.models import Model
from torchliquid.models.networks import Gated, Liquid
from torchliquid.tasks import Task

ACTIVATIONS = ("lecun_tanh", "tanh", "relu", "silu", "gelu")
MODES = ("default", "no_gate", "pure")
SOLVERS = ("fused", "euler", "rk4")
"""What the templates know: a kind that the layers learn later is refused until they know it too."""

LARGEST = 1e36
"""What no sum in the C may reach, so that nothing in single precision overflows."""


@dataclass(frozen=True, eq=False)
class Dense:
    """weight (rows, columns) and bias (rows,)."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True, eq=False)
class Synapses:
    """One value a synapse, ordered by target: conductance w * sigmoid(slope * source + offset) towards ``reversal``."""

    weight: np.ndarray
    slope: np.ndarray
    offset: np.ndarray
    reversal: np.ndarray
    source: np.ndarray  # int
    count: np.ndarray  # (units,) int: how many end at each neuron

    @property
    def target(self) -> np.ndarray:
        """(S,) the neuron at which each ends."""
        return np.repeat(np.arange(len(self.count)), self.count)


@dataclass(frozen=True, eq=False)
class Ltc:
    """Liquid time-constant neurons, stepped by one of :data:`SOLVERS`; ``pull`` and ``conductance`` are the leak's."""

    units: int
    sensory: Synapses
    synapses: Synapses
    pull: np.ndarray  # (units,) gleak * vleak
    conductance: np.ndarray  # (units,) gleak + epsilon
    capacitance: np.ndarray  # (units,)
    farthest: float  # from zero that fused steps bring a potential
    unfolds: int
    solver: str = "fused"

    @property
    def sensed(self) -> slice:
        """The neurons from the first to the last that an input reaches; one where there is none."""
        reached = np.flatnonzero(self.sensory.count)
        return slice(int(reached[0]), int(reached[-1]) + 1) if len(reached) else slice(0, 1)

    def strongest(self) -> float:
        """The largest sum of conductances, or of what they pull, that a neuron can meet."""
        conductance, pull = self.conductance.copy(), np.abs(self.pull)
        for synapses in (self.sensory, self.synapses):
            np.add.at(conductance, synapses.target, synapses.weight)
            np.add.at(pull, synapses.target, synapses.weight * np.abs(synapses.reversal))
        return float(max((conductance * max(self.farthest, 1.0)).max(), pull.max()))


@dataclass(frozen=True, eq=False)
class CfcLayer:
    """One layer of a CfC: heads f, g, a, b in this order; in mode pure f alone, with w_tau and A.

    The weights of f and g from the layer's inputs exist where ``mask`` is true; None: all.
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
    """Closed-form continuous-time layers, each reading the one before; a backbone only with a single layer."""

    mode: str
    activation: str
    backbone: tuple[Dense, ...]
    layers: tuple[CfcLayer, ...]

    @property
    def units(self) -> int:
        return sum(layer.units for layer in self.layers)


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


Core = Ltc | Cfc | Lstm | Gru


@dataclass(frozen=True, eq=False)
class Network:
    """A whole model.

    Attributes:
        core: the recurrence.
        memory: an LSTM whose output the core starts each step from; None without mixed memory.
        with_span: whether the logarithm of the span is one more input.
        readout: from the states ``first`` to ``first + columns`` to the answers.
        limits: which readings and gaps are plausible.
        name: of the C's files, types and functions.
    """

    core: Core
    memory: Lstm | None
    with_span: bool
    readout: Dense
    first: int
    preprocessing: Preprocessing
    task: Task
    limits: Plausible
    name: str = "model"

    @property
    def units(self) -> int:
        return self.core.units

    @property
    def features(self) -> int:
        """Values that the recurrence is fed at each step."""
        return self.preprocessing.n_inputs + self.with_span

    @property
    def cells(self) -> int:
        """Cell states besides the hidden ones."""
        return self.units if self.memory is not None or isinstance(self.core, Lstm) else 0

    def bounded(self) -> bool:
        """Whether no input can make a state overflow in single precision, by its equations."""
        core = self.core
        if isinstance(core, Cfc) and core.mode == "pure":
            return False
        if isinstance(core, Ltc):
            if core.solver != "fused":
                return False
            return core.strongest() < LARGEST / 1e6 and self.reach() < LARGEST
        return self.reach() < LARGEST

    def reach(self) -> float:
        """A value that no sum on the way to a bounded state, or from it to the answers, exceeds."""
        peaks: list[float] = []

        def through(dense: Dense, source: float) -> float:
            peaks.append(float((np.abs(dense.weight).sum(1) * source + np.abs(dense.bias)).max()))
            return peaks[-1]

        state = 2.0  # |tanh f| + s |tanh g|, and less of the gated kinds
        if self.memory is not None:
            through(self.memory.gates, LIMIT)
        core = self.core
        if isinstance(core, Ltc):
            state = max(core.farthest, 1.0)
            for synapses, source in ((core.sensory, LIMIT), (core.synapses, state)):
                peaks.append(float((np.abs(synapses.slope) * source + np.abs(synapses.offset)).max(initial=0.0)))
        elif isinstance(core, Cfc):
            source = LIMIT
            for dense in core.backbone:
                peak = through(dense, source)
                source = peak if core.activation in ("relu", "silu", "gelu") else 2.0
            for layer in core.layers:
                through(layer.heads, source)
        else:
            for dense in (core.gates,) if isinstance(core, Lstm) else (core.gates, core.candidate, core.recalled):
                through(dense, LIMIT)
        through(self.readout, state)
        return max(peaks) + self.task.change * LIMIT


def describe(model: Model, limits: Plausible | None = None, name: str = "model") -> Network:
    """The network of a model.

    Args:
        limits: None: those that its training part gives.
        name: an identifier.

    Raises:
        InputError: arithmetic that no generator here knows, by its name; weights that are no finite numbers.
    """
    network = model.network
    limits = limits or plausible(model.preprocessing)
    if type(network) is Liquid and type(network.layer) in (LTC, CfC):
        layer = network.layer
        layer.read_weights()
        core: Core
        cell = layer.rnn_cell
        readout, first = _dense(model.readout), 0
        if isinstance(layer, CfC) and type(cell) in (CfCCell, WiredCfCCell):
            core, first = _cfc(cell)
            if isinstance(layer.fc, nn.Linear):
                readout = _after(readout, _dense(layer.fc))
        elif type(cell) is LTCCell:
            core = _ltc(cell)
            readout = _after_affine(readout, cell)
        else:
            raise _unknown(model, cell)
        memory = None if layer.lstm is None else _memory(layer.lstm)
        found = Network(core, memory, False, readout, first, model.preprocessing, model.task, limits, name)
    elif type(network) is Gated and type(network.rnn) in (nn.LSTM, nn.GRU):
        gated = _lstm(network.rnn) if isinstance(network.rnn, nn.LSTM) else _gru(network.rnn)
        found = Network(gated, None, True, _dense(model.readout), 0, model.preprocessing, model.task, limits, name)
    else:
        raise _unknown(model, getattr(network, "layer", network))
    _check(found)
    return found


def _unknown(model: Model, module: nn.Module) -> InputError:
    return InputError(
        f"a {model.kind} cannot be exported: there is no C or ONNX for {type(module).__name__}; "
        "LTC, CfC, LSTM and GRU can be"
    )


def _check(network: Network) -> None:
    for array in arrays(network.core, network.memory, network.readout):
        if array.dtype == np.float64 and not (np.abs(array) < 3e38).all():
            raise InputError("a weight of the model is not a finite number; train it again")
    if isinstance(network.core, Ltc) and not (
        (network.core.capacitance > 0).all()
        and (network.core.conductance > 0).all()
        and all((s.weight >= 0).all() for s in (network.core.sensory, network.core.synapses))
    ):
        raise InputError("an LTC's conductances and capacitances must be positive; train the model again")
    scales = network.preprocessing
    for name, std, mean in zip(scales.channels, scales.std, scales.mean, strict=True):
        if not (1e-30 < std < 1e30 and abs(mean) < 1e30):
            raise InputError(f"the channel {name!r} has a scale that single precision cannot hold: deviation {std:g}")
    if not 1e-30 < scales.time_scale < 1e30:
        raise InputError(f"the time scale {scales.time_scale:g} is one that single precision cannot hold")
    if not all(abs(v) < 1e30 for v in (*network.task.mean, *network.task.std, network.task.change)):
        raise InputError("the target has a scale that single precision cannot hold; scale it before training")


def arrays(*values: Any) -> Iterable[np.ndarray]:
    """All arrays in nested dataclasses and tuples, always in the same order."""
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple):
            yield from arrays(*value)
        elif is_dataclass(value) and not isinstance(value, type):
            yield from arrays(*(getattr(value, f.name) for f in fields(value)))


# -- one reader a family


def _numbers(tensor: Tensor | nn.Module) -> np.ndarray:
    assert isinstance(tensor, Tensor)  # nn.LSTM and nn.GRU do not say so of their weights
    return tensor.detach().to("cpu", torch.float64).numpy()


def _dense(linear: nn.Linear) -> Dense:
    return Dense(_numbers(linear.weight), _numbers(linear.bias))


def _after(outer: Dense, inner: Dense) -> Dense:
    """The one map that does both."""
    return Dense(outer.weight @ inner.weight, outer.weight @ inner.bias + outer.bias)


def _after_affine(readout: Dense, cell: LTCCell) -> Dense:
    scale = np.ones(cell.output_size) if cell.output_w is None else _numbers(cell.output_w)
    shift = np.zeros(cell.output_size) if cell.output_b is None else _numbers(cell.output_b)
    return Dense(readout.weight * scale, readout.bias + readout.weight @ shift)


def _synapses(values: Iterable[Tensor], index: Tensor, units: int) -> Synapses:
    w, mu, sigma, erev = (_numbers(v) for v in values)
    pre, post = index.cpu().numpy()
    return Synapses(w, sigma, -sigma * mu, erev, pre, np.bincount(post, minlength=units))


def _ltc(cell: LTCCell) -> Ltc:
    if cell.solver not in SOLVERS:
        raise InputError(
            f"an LTC with the adaptive solver {cell.solver} cannot be exported: its steps have no fixed number; "
            f"choose {', '.join(SOLVERS[:-1])} or {SOLVERS[-1]} by `torchliquid solvers MODEL RECORDING --write NEW`"
        )
    sensory = _synapses(cell.sensory_synapses(), cell.sensory_index, cell.state_size)
    scale = np.ones(cell.input_size) if cell.input_w is None else _numbers(cell.input_w)
    shift = np.zeros(cell.input_size) if cell.input_b is None else _numbers(cell.input_b)
    sensory = replace(
        sensory,
        slope=sensory.slope * scale[sensory.source],
        offset=sensory.offset + sensory.slope * shift[sensory.source],
    )
    gleak, vleak, cm = (_numbers(v) for v in cell.leak())
    synapses = _synapses(cell.synapses(), cell.synapse_index, cell.state_size)
    farthest = float(torch.stack(cell.potential_bounds()).abs().max())
    return Ltc(
        cell.state_size,
        sensory,
        synapses,
        gleak * vleak,
        gleak + cell.epsilon,
        cm,
        farthest,
        cell.ode_unfolds,
        cell.solver,
    )


def _cfc(cell: nn.Module) -> tuple[Cfc, int]:
    """The layers, and where the states begin that the readout reads."""
    assert isinstance(cell, CfCCell | WiredCfCCell)
    activation = cell.activation if isinstance(cell, CfCCell) else "lecun_tanh"
    if activation not in ACTIVATIONS or cell.mode not in MODES:
        raise InputError(f"there is no C or ONNX for a CfC of mode {cell.mode!r} with {activation!r}")
    if isinstance(cell, WiredCfCCell):
        first = cell.state_size - cell.layer_sizes[-1]
        return Cfc(cell.mode, "lecun_tanh", (), tuple(_cfc_layer(c) for c in cell.cells)), first
    backbone = tuple(_dense(linear) for linear in cell.backbone)  # type: ignore[arg-type]
    return Cfc(cell.mode, cell.activation, backbone, (_cfc_layer(cell),)), 0


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
    """Its gates come as candidate, input, forget (with 1 added), output."""
    weight = np.concatenate([_numbers(memory.input_map.weight), _numbers(memory.recurrent_map.weight)], 1)
    bias = _numbers(memory.input_map.bias).copy()
    units = len(bias) // 4
    bias[2 * units : 3 * units] += 1.0
    order = np.concatenate([np.arange(units) + units * gate for gate in (1, 2, 0, 3)])
    return Lstm(units, Dense(weight[order], bias[order]))


def _lstm(rnn: nn.LSTM) -> Lstm:
    weight = np.concatenate([_numbers(rnn.weight_ih_l0), _numbers(rnn.weight_hh_l0)], 1)
    return Lstm(rnn.hidden_size, Dense(weight, _numbers(rnn.bias_ih_l0) + _numbers(rnn.bias_hh_l0)))


def _gru(rnn: nn.GRU) -> Gru:
    inputs, states = _numbers(rnn.weight_ih_l0), _numbers(rnn.weight_hh_l0)
    bias_in, bias_state = _numbers(rnn.bias_ih_l0), _numbers(rnn.bias_hh_l0)
    gates = 2 * rnn.hidden_size
    return Gru(
        rnn.hidden_size,
        Dense(np.concatenate([inputs[:gates], states[:gates]], 1), bias_in[:gates] + bias_state[:gates]),
        Dense(inputs[gates:], bias_in[gates:]),
        Dense(states[gates:], bias_state[gates:]),
    )
