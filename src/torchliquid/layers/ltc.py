"""Liquid time-constant networks (Hasani et al., arXiv 2006.04439)."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from torchliquid import kernels
from torchliquid.errors import InputError
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.wirings import FullyConnected, Wiring

INIT = {
    "gleak": (0.001, 1.0),
    "vleak": (-0.2, 0.2),
    "cm": (0.4, 0.6),
    "w": (0.001, 1.0),
    "sigma": (3.0, 8.0),
    "mu": (0.3, 0.8),
}
"""Ranges of the physical values at the start."""

POSITIVE = ("w", "sensory_w", "cm", "gleak")


class LTCCell(nn.Module):
    """One step of a liquid time-constant network; parameters are physical quantities of neurons and synapses.

    Only synapses that the wiring has are stored: ``w``, ``mu``, ``sigma``, ``erev`` are vectors (S,), ordered by
    target; ``sensory_...`` likewise.

    Args:
        wiring: who connects to whom.
        in_features: inputs C; None if the wiring was built.
        input_mapping, output_mapping: ``"affine"``, ``"linear"`` or None.
        ode_unfolds: solver steps a sample.
        epsilon: keeps the solver's denominator away from zero.
        implicit_param_constraints: True keeps w, cm and gleak positive by a softplus; False by clamping them at 0
            after each step of any ``torch.optim`` optimiser.

    Raises:
        InputError: an unknown mapping, no solver step, a wiring that does not fit.
    """

    def __init__(
        self,
        wiring: Wiring,
        in_features: int | None = None,
        input_mapping: str | None = "affine",
        output_mapping: str | None = "affine",
        ode_unfolds: int = 6,
        epsilon: float = 1e-8,
        implicit_param_constraints: bool = True,
    ) -> None:
        super().__init__()
        for name, mapping in (("input_mapping", input_mapping), ("output_mapping", output_mapping)):
            if mapping not in ("affine", "linear", None):
                raise InputError(f"{name} is 'affine', 'linear' or None, not {mapping!r}")
        if ode_unfolds < 1:
            raise InputError(f"ode_unfolds is at least 1, not {ode_unfolds}")
        if in_features is not None:
            wiring.build(in_features)
        if wiring.input_dim is None or wiring.output_dim is None:
            raise InputError("the wiring does not know its inputs: give in_features, or call wiring.build()")
        self.wiring = wiring
        self.input_size, self.state_size, self.output_size = wiring.input_dim, wiring.units, wiring.output_dim
        self.ode_unfolds = ode_unfolds
        self.epsilon = epsilon
        self.implicit_param_constraints = implicit_param_constraints

        erev, index = _synapses(wiring.erev_initializer())
        sensory_erev, sensory_index = _synapses(wiring.sensory_erev_initializer())
        self.register_buffer("synapse_index", index, persistent=False)
        self.register_buffer("sensory_index", sensory_index, persistent=False)
        for name in ("gleak", "vleak", "cm"):
            self._draw(name, name, self.state_size)
        for prefix, reversal in (("", erev), ("sensory_", sensory_erev)):
            for name in ("w", "mu", "sigma"):
                self._draw(prefix + name, name, len(reversal))
            self.register_parameter(f"{prefix}erev", nn.Parameter(reversal))
        self._mapping("input", input_mapping, self.input_size)
        self._mapping("output", output_mapping, self.output_size)
        if not implicit_param_constraints:
            _CLAMPED.add(self)

    def _draw(self, name: str, kind: str, n: int) -> None:
        values = torch.empty(n).uniform_(*INIT[kind])
        if self.implicit_param_constraints and name in POSITIVE:
            values = values + torch.log(-torch.expm1(-values))  # the inverse of softplus
        self.register_parameter(name, nn.Parameter(values))

    def _mapping(self, name: str, mapping: str | None, n: int) -> None:
        self.register_parameter(f"{name}_w", nn.Parameter(torch.ones(n)) if mapping else None)
        self.register_parameter(f"{name}_b", nn.Parameter(torch.zeros(n)) if mapping == "affine" else None)

    def positive(self, name: str) -> Tensor:
        """The physical value of w, sensory_w, cm or gleak."""
        value: Tensor = getattr(self, name)
        return F.softplus(value) if self.implicit_param_constraints else value

    def map_inputs(self, inputs: Float[Tensor, "*B C"]) -> Float[Tensor, "*B C"]:
        return _affine(inputs, self.input_w, self.input_b)

    def map_outputs(self, state: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """The motor neurons' potentials, mapped."""
        return _affine(state[..., : self.output_size], self.output_w, self.output_b)

    def recur(
        self,
        inputs: Tensor,
        timespans: Tensor,
        state: Tensor,
        lengths: Tensor | None = None,
        memory: MemoryCell | None = None,
        cell: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The kernel over whole sequences (B, T, C) with this cell's parameters: states and cell states (B, T, H)."""
        return kernels.ltc(
            self.map_inputs(inputs),
            timespans,
            state,
            lengths,
            (self.positive("gleak"), self.vleak, self.positive("cm")),
            (self.positive("w"), self.mu, self.sigma, self.erev),
            self.synapse_index,
            (self.positive("sensory_w"), self.sensory_mu, self.sensory_sigma, self.sensory_erev),
            self.sensory_index,
            self.ode_unfolds,
            self.epsilon,
            None if memory is None else memory.input_map(inputs),
            None if memory is None else memory.recurrent_map.weight,
            cell,
        )

    def forward(
        self, inputs: Float[Tensor, "B C"], states: Float[Tensor, "B H"], elapsed_time: Tensor | float = 1.0
    ) -> tuple[Float[Tensor, "B O"], Float[Tensor, "B H"]]:
        """One step.

        Args:
            inputs: one sample each.
            states: potentials before it.
            elapsed_time: since the sample before; a number or (B,) or (B, 1).
        """
        spans = torch.as_tensor(elapsed_time, dtype=inputs.dtype, device=inputs.device)
        spans = spans.reshape(-1, 1).expand(inputs.shape[0], 1)
        new, _ = self.recur(inputs.unsqueeze(1), spans, states)
        return self.map_outputs(new[:, 0]), new[:, 0]

    def clamp_parameters(self) -> None:
        """Put what must be positive back into its range; optimisers' steps do this by themselves."""
        with torch.no_grad():
            for name in POSITIVE:
                getattr(self, name).clamp_(min=0)

    def live_parameters(self) -> int:
        """Parameters that can change the output: all of them, since only existing synapses are stored."""
        return sum(p.numel() for p in self.parameters())

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if not self.implicit_param_constraints:
            _CLAMPED.add(self)  # a copy's parameters are clamped too


_CLAMPED: weakref.WeakSet[LTCCell] = weakref.WeakSet()


def _clamp_after_step(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
    if not _CLAMPED:
        return
    stepped = {id(p) for group in optimizer.param_groups for p in group["params"]}
    for cell in _CLAMPED:
        if any(id(getattr(cell, name)) in stepped for name in POSITIVE):
            cell.clamp_parameters()


register_optimizer_step_post_hook(_clamp_after_step)


class LTC(RecurrentLayer):
    """A liquid time-constant network over sequences.

    Args:
        input_size: inputs C.
        units: neurons H, connected all to all, or a wiring.
        return_sequences: outputs of every sample, or of each sequence's last.
        batch_first: (B, T, C) or (T, B, C).
        mixed_memory: an LSTM cell in front keeps what fades in the neurons (arXiv 2006.04418).
        input_mapping, output_mapping, ode_unfolds, epsilon, implicit_param_constraints: as in :class:`LTCCell`.
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
    ) -> None:
        super().__init__(return_sequences, batch_first)
        wiring = units if isinstance(units, Wiring) else FullyConnected(units)
        self.wiring = wiring
        self.rnn_cell = LTCCell(
            wiring, input_size, input_mapping, output_mapping, ode_unfolds, epsilon, implicit_param_constraints
        )
        self.input_size, self.state_size, self.output_size = input_size, wiring.units, self.rnn_cell.output_size
        if mixed_memory:
            self.lstm = MemoryCell(input_size, self.state_size)

    def recur(
        self, inputs: Tensor, timespans: Tensor, state: Tensor, cell: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return self.rnn_cell.recur(inputs, timespans, state, lengths, self.lstm, cell)

    def read(self, states: Tensor) -> Tensor:
        return self.rnn_cell.map_outputs(states)

    def live_parameters(self) -> int:
        """Parameters that can change the output."""
        return sum(p.numel() for p in self.parameters())


def _synapses(polarity: Any) -> tuple[Tensor, Tensor]:
    """Reversal potentials (S,) and source and target (2, S) of the synapses there are, ordered by target."""
    post, pre = np.nonzero(np.asarray(polarity).T)  # not by torch: sizes are known on the meta device too
    reversal = np.asarray(polarity)[pre, post]
    return torch.tensor(reversal, dtype=torch.get_default_dtype()), torch.tensor(np.stack([pre, post]))


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    if weight is not None:
        x = x * weight
    return x if bias is None else x + bias
