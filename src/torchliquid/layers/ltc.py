"""Liquid time-constant networks (Hasani et al., arXiv 2006.04439)."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from torchliquid import cells
from torchliquid.errors import InputError, check_size
from torchliquid.layers.cell import RecurrentCell, own_wiring
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack
from torchliquid.solvers import ADAPTIVE, FIXED, Solver
from torchliquid.torch_private import is_transformed
from torchliquid.tracing import is_traced, values_are_hidden
from torchliquid.wirings import FullyConnected, Wiring

SOLVERS = ("fused", *FIXED, *ADAPTIVE)
"""Names of the solvers of an LTC."""

INIT = {
    "gleak": (0.001, 1.0),
    "vleak": (-0.2, 0.2),
    "cm": (0.4, 0.6),
    "w": (0.001, 1.0),
    "sigma": (3.0, 8.0),
    "mu": (0.3, 0.8),
}
"""Ranges of the initial physical values."""

LEAST = {"w": 0.0, "sensory_w": 0.0, "gleak": 0.0, "cm": 1e-6}
"""Lower bounds of the parameters that must not be negative. The capacitance must be positive."""


class LTCCell(RecurrentCell):
    """One step of a liquid time-constant network.

    The parameters are physical quantities of neurons and synapses. Only the synapses of the wiring are stored: ``w``,
    ``mu``, ``sigma`` and ``erev`` are vectors (S,), ordered by target, and so are ``sensory_w`` etc.

    Args:
        wiring: the wiring.
        in_features: number of inputs C; None if the wiring is built.
        input_mapping, output_mapping: ``"affine"``, ``"linear"`` or None.
        ode_unfolds: solver steps per sample.
        epsilon: added to the solver's denominator to avoid division by zero.
        implicit_param_constraints: how w, cm and gleak are kept positive. True: by a softplus. False: they are clamped
            whenever they are read: in every forward pass (also within an optimiser's step), as attributes, and in a
            ``state_dict``.
        solver: ``"fused"``: the authors' semi-implicit steps, of order 1, stable at any span, with compiled kernels.
            ``"euler"`` (order 1) and ``"rk4"`` (order 4): explicit, stable only for short steps (see
            :meth:`fastest_rate`). ``"dopri5"`` and ``"tsit5"``: adaptive, without ``ode_unfolds``.
        rtol, atol, adjoint: of the adaptive solvers, see :func:`torchliquid.solvers.adaptive`.

    Raises:
        InputError: a mapping or the solver is unknown, ``ode_unfolds`` is below 1, or the wiring does not match.
    """

    gleak: nn.Parameter
    vleak: nn.Parameter
    cm: nn.Parameter
    w: nn.Parameter
    mu: nn.Parameter
    sigma: nn.Parameter
    erev: nn.Parameter
    sensory_w: nn.Parameter
    sensory_mu: nn.Parameter
    sensory_sigma: nn.Parameter
    sensory_erev: nn.Parameter
    input_w: nn.Parameter | None
    input_b: nn.Parameter | None
    output_w: nn.Parameter | None
    output_b: nn.Parameter | None
    stable_solver = "fused"

    def __init__(
        self,
        wiring: Wiring,
        in_features: int | None = None,
        input_mapping: str | None = "affine",
        output_mapping: str | None = "affine",
        ode_unfolds: int = 6,
        epsilon: float = 1e-8,
        implicit_param_constraints: bool = True,
        solver: str = "fused",
        rtol: float = 1e-4,
        atol: float = 1e-6,
        adjoint: bool = False,
    ) -> None:
        super().__init__()
        if solver not in SOLVERS:
            raise InputError(f"solver must be one of {', '.join(SOLVERS)}, not {solver!r}")
        if adjoint and solver == "fused":
            raise InputError(f"adjoint=True is for {' and '.join(ADAPTIVE)}; fused backpropagates through its steps")
        for name, mapping in (("input_mapping", input_mapping), ("output_mapping", output_mapping)):
            if mapping not in ("affine", "linear", None):
                raise InputError(f"{name} must be 'affine', 'linear' or None, not {mapping!r}")
        check_size(ode_unfolds=ode_unfolds)
        self.wiring, self.output_size = own_wiring(wiring, in_features)
        assert self.wiring.input_dim is not None
        self.input_size, self.state_size = self.wiring.input_dim, self.wiring.units
        self.ode_unfolds = ode_unfolds
        self.epsilon = epsilon
        self.implicit_param_constraints = implicit_param_constraints
        self.solver = solver
        self.stepper = None if solver == "fused" else Solver(solver, ode_unfolds, rtol, atol, adjoint)

        for name in ("gleak", "vleak", "cm"):
            self._allocate(name, self.state_size)
        self._fixed = self.fixed()
        for prefix, index in (("", self.synapse_index), ("sensory_", self.sensory_index)):
            for name in ("w", "mu", "sigma", "erev"):
                self._allocate(prefix + name, index.shape[1])
        for side, mapping, n in (
            ("input", input_mapping, self.input_size),
            ("output", output_mapping, self.output_size),
        ):
            self._allocate(f"{side}_w", n if mapping else None)
            self._allocate(f"{side}_b", n if mapping == "affine" else None)
        self.reset_parameters()

    def _allocate(self, name: str, n: int | None) -> None:
        self.register_parameter(name, None if n is None else nn.Parameter(torch.empty(n)))

    def structure(self) -> dict[str, np.ndarray]:
        assert self.wiring is not None
        assert self.wiring.sensory_adjacency_matrix is not None
        between, sensory = self.wiring.adjacency_matrix, self.wiring.sensory_adjacency_matrix
        return {"synapse_mask": between != 0, "sensory_mask": sensory != 0}

    def fixed(self) -> dict[str, Tensor]:
        there = self.structure()
        places = {"synapse_index": there["synapse_mask"], "sensory_index": there["sensory_mask"]}
        return {name: torch.from_numpy(_synapses(mask)[1]) for name, mask in places.items()}

    @property
    def synapse_index(self) -> Int[Tensor, "2 S"]:
        """Source and target of each synapse between neurons, ordered by target."""
        return self._fixed["synapse_index"]

    @property
    def sensory_index(self) -> Int[Tensor, "2 S"]:
        """Source and target of each synapse from an input, ordered by target."""
        return self._fixed["sensory_index"]

    @property
    def synapse_mask(self) -> Float[Tensor, "H H"]:
        """1 if there is a synapse, source by target, as in a ``state_dict``."""
        return torch.from_numpy(self.structure()["synapse_mask"]).to(self.erev)

    @property
    def sensory_mask(self) -> Float[Tensor, "C H"]:
        """1 if there is a synapse from an input, source by target."""
        return torch.from_numpy(self.structure()["sensory_mask"]).to(self.erev)

    def _save_to_state_dict(self, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
        if not self.implicit_param_constraints:
            self.clamp_parameters()
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        for name, mask in self.structure().items():
            index = state_dict.pop(prefix + name.replace("mask", "index"), None)
            if index is not None and values_are_hidden(index):
                state_dict[prefix + name] = torch.from_numpy(mask)
            elif index is not None:  # written by an earlier version
                own = self._fixed[name.replace("mask", "index")]
                same = index.shape == own.shape and torch.equal(index.cpu().round().to(own.dtype), own.cpu())
                state_dict[prefix + name] = torch.from_numpy(mask if same else ~mask)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __getattr__(self, name: str) -> Any:
        value = super().__getattr__(name)
        if name in LEAST and not self.implicit_param_constraints and type(value) is nn.Parameter:
            _project(value, LEAST[name])
        return value

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the parameters, such as after ``to_empty``."""
        assert self.wiring is not None
        for prefix, polarity in (
            ("", self.wiring.erev_initializer()),
            ("sensory_", self.wiring.sensory_erev_initializer()),
        ):
            self.get_parameter(f"{prefix}erev").copy_(torch.from_numpy(_synapses(polarity)[0]))
        for name, parameter in self.named_parameters():
            kind = name.removeprefix("sensory_")
            if kind in INIT:
                parameter.uniform_(*INIT[kind])
                if self.implicit_param_constraints and name in LEAST:
                    parameter.add_(torch.log(-torch.expm1(-parameter)))  # the inverse of softplus
            elif kind.endswith("put_w"):
                parameter.fill_(1.0)
            elif kind.endswith("put_b"):
                parameter.zero_()

    def positive(self, name: str) -> Tensor:
        """The physical (positive) value of w, sensory_w, cm or gleak."""
        value: Tensor = getattr(self, name)
        if self.implicit_param_constraints:
            return F.softplus(value)
        if is_traced():
            return value.clamp(min=LEAST[name])
        within: Tensor = _Within.apply(value, LEAST[name])  # also what is no parameter: replicas', torch.func's weights
        return within

    def map_inputs(self, inputs: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
        return _affine(inputs, self.input_w, self.input_b)

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """The potentials of the motor neurons, mapped to outputs."""
        return _affine(states[..., : self.output_size], self.output_w, self.output_b)

    def leak(self) -> tuple[Tensor, Tensor, Tensor]:
        """Physical (gleak, vleak, cm) of each neuron."""
        return self.positive("gleak"), self.vleak, self.positive("cm")

    def synapses(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Physical (w, mu, sigma, erev) of each synapse between neurons, see ``synapse_index``."""
        return self.positive("w"), self.mu, self.sigma, self.erev

    def sensory_synapses(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Physical (w, mu, sigma, erev) of each synapse from an input, see ``sensory_index``."""
        return self.positive("sensory_w"), self.sensory_mu, self.sensory_sigma, self.sensory_erev

    def time_constants(self, inputs: Float[Tensor, "*B C"], states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B H"]:
        """Effective time constants at these inputs and potentials, in units of the timespans."""
        return self.recurrence().time_constants(self.map_inputs(inputs), states)

    @torch.no_grad()
    def fastest_rate(self) -> float:
        """The largest ratio of total conductance, with all synapses open, to capacitance of any neuron: 1 / time.

        A neuron never decays faster (arXiv 2006.04439, theorem 1), so the steps of an explicit solver must be short
        compared with it, see :func:`torchliquid.solvers.instability`. For a network it is an estimate, because neurons
        also act on each other.
        """
        gleak, _, cm = self.leak()
        return float(((gleak + self.epsilon + self.open_conductance()) / cm).max())

    @torch.no_grad()
    def open_conductance(self) -> Float[Tensor, " H"]:
        """(H,) total conductance of all synapses onto each neuron, if they are open."""
        total = torch.zeros_like(self.gleak)
        total.index_add_(0, self.synapse_index[1], self.positive("w"))
        return total.index_add_(0, self.sensory_index[1], self.positive("sensory_w"))

    @torch.no_grad()
    def potential_bounds(self) -> tuple[Float[Tensor, " H"], Float[Tensor, " H"]]:
        """(H,) lowest and highest possible potential of each neuron with fused steps from 0, for any inputs and spans.

        Each step averages the old potential, the leak potential and the reversal potentials of the synapses.
        """
        low, high = self.vleak.clamp(max=0.0), self.vleak.clamp(min=0.0)
        for index, erev in ((self.synapse_index, self.erev), (self.sensory_index, self.sensory_erev)):
            low = low.scatter_reduce(0, index[1], erev, "amin")
            high = high.scatter_reduce(0, index[1], erev, "amax")
        return low, high

    def recurrence(self, inputs: Tensor | None = None) -> cells.LTC:
        weights, sensory = self.synapses(), self.sensory_synapses()
        index, sensory_index = (index.to(weights[0].device) for index in (self.synapse_index, self.sensory_index))
        solver = (self.ode_unfolds, self.epsilon, self.stepper)
        return cells.LTC(self.leak(), weights, index, sensory, sensory_index, *solver)

    def clamp_parameters(self) -> None:
        """Clamp the parameters to their range. Reading them, as in a forward pass, does this automatically."""
        for name, parameter in self._parameters.items():
            if name in LEAST and parameter is not None:
                _project(parameter, LEAST[name])

    apply_weight_constraints = clamp_parameters

    def live_parameters(self, with_memory: bool = False) -> int:
        """Number of parameters that can change the output, through a path to a motor neuron.

        A memory (see :class:`~torchliquid.layers.MemoryCell`) reads every neuron.
        """
        assert self.wiring is not None
        pre, post = _synapses(self.wiring.adjacency_matrix)[1]
        pre_in, post_in = _synapses(self.wiring.sensory_adjacency_matrix)[1]
        live = (np.arange(self.state_size) < self.output_size) | with_memory
        for _ in range(self.state_size):
            live[pre[live[post]]] = True
        synapses = np.count_nonzero(live[post]) + np.count_nonzero(live[post_in])
        inputs = len(np.unique(pre_in[live[post_in]]))
        mapped = inputs * sum(p is not None for p in (self.input_w, self.input_b))
        read = sum(p.numel() for p in (self.output_w, self.output_b) if p is not None)
        return 3 * int(live.sum()) + 4 * int(synapses) + mapped + read


def _project(parameter: nn.Parameter, least: float) -> None:
    """Clamp in place, not recorded by autograd, like a step of an optimiser."""
    if not (torch.compiler.is_compiling() or is_traced() or is_transformed()):
        parameter.data.clamp_(min=least)


class _Within(torch.autograd.Function):
    """Clamp a value, with the projected gradient: at the bound, none that points outwards.

    An optimiser that evaluates several points per step, such as LBFGS, then sees no slope in directions it cannot take.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, least: float) -> Tensor:
        return value.clamp(min=least)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.save_for_backward(inputs[0])
        ctx.least = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (value,) = ctx.saved_tensors
        return torch.where(value <= ctx.least, grad.clamp(max=0.0), grad), None


class LTC(RecurrentLayer):
    """A liquid time-constant network over sequences.

    Args:
        input_size: number of inputs C.
        units: number of neurons H, which are fully connected, or a wiring.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        mixed_memory: whether to add an LSTM cell in front, for long-term memory (arXiv 2006.04418).
        input_mapping, output_mapping, ode_unfolds, epsilon, implicit_param_constraints, solver, rtol, atol, adjoint: as
            in :class:`LTCCell`.
        return_states, num_layers, dropout, bidirectional: as in :class:`RecurrentLayer`.

    Raises:
        InputError: as for :class:`LTCCell` and :class:`RecurrentLayer`.
    """

    def __init__(
        self,
        input_size: int,
        units: int | Wiring,
        return_sequences: bool = True,
        batch_first: bool = True,
        mixed_memory: bool = False,
        input_mapping: str | None = "affine",
        output_mapping: str | None = "affine",
        ode_unfolds: int = 6,
        epsilon: float = 1e-8,
        implicit_param_constraints: bool = True,
        solver: str = "fused",
        rtol: float = 1e-4,
        atol: float = 1e-6,
        adjoint: bool = False,
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        if not isinstance(units, Wiring):
            check_size(units=units)
            units = FullyConnected(units)
        mappings = (input_mapping, output_mapping, ode_unfolds, epsilon, implicit_param_constraints)
        options = (*mappings, solver, rtol, atol, adjoint)
        fresh = copy.deepcopy(units)
        cell = LTCCell(units, input_size, *options)
        again = lambda n: LTC(n, fresh.for_inputs(n), True, True, mixed_memory, *options)  # noqa: E731
        stack = Stack(again, num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, mixed_memory, return_states, stack)


def _synapses(polarity: Any) -> tuple[np.ndarray, np.ndarray]:
    """Reversal potentials (S,), and source and target (2, S), of the synapses there are, ordered by target."""
    polarity = np.asarray(polarity)
    post, pre = np.nonzero(polarity.T)
    return polarity[pre, post], np.stack([pre, post])


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias
