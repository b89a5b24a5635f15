"""Liquid-resistance liquid-capacitance state spaces (Farsang et al., arXiv 2505.21717)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid import cells
from torchliquid.cells.lrcssm import drive
from torchliquid.errors import InputError, check_size
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack
from torchliquid.solvers import Solver

ELASTANCES = ("plain", "symmetric")
SOLVERS = ("euler", "exponential")
LONGEST = 2.0
"""Longest span of an Euler step that is stable for any weights, because no rate e |a| exceeds 1."""


class LrcSSMCell(RecurrentCell):
    """One step of neurons whose resistance and capacitance depend on the inputs and on their own state.

    Args:
        input_size: number of inputs C.
        units: number of units H.
        elastance, solver, block: as in :class:`LrcSSM`.
    """

    stable_solver = "exponential"
    sensory_mu: nn.Parameter
    sensory_sigma: nn.Parameter
    sensory_w: nn.Parameter
    sensory_k: nn.Parameter
    w: nn.Parameter
    k: nn.Parameter
    mu: nn.Parameter
    sigma: nn.Parameter
    gleak: nn.Parameter
    vleak: nn.Parameter
    elastance_weight: nn.Parameter
    elastance_bias: nn.Parameter
    elastance_shift: nn.Parameter
    enter: nn.Linear

    def __init__(self, input_size: int, units: int, elastance: str, solver: str, block: bool) -> None:
        super().__init__()
        check_size(input_size=input_size, units=units)
        for name, value, known in (("elastance", elastance, ELASTANCES), ("solver", solver, SOLVERS)):
            if value not in known:
                raise InputError(f"{name} of an LrcSSM is {' or '.join(map(repr, known))}, not {value!r}")
        self.input_size, self.state_size, self.output_size = input_size, units, units
        self.elastance, self.solver, self.block = elastance, solver, block
        self.stepper = Solver("euler", 1) if solver == "euler" else None
        if block and input_size != units:
            self.enter = nn.Linear(input_size, units)
        width = units if block else input_size
        for name in ("sensory_mu", "sensory_sigma"):
            setattr(self, name, nn.Parameter(torch.empty(width)))
        for name in ("sensory_w", "sensory_k"):
            setattr(self, name, nn.Parameter(torch.empty(units, width)))
        shift = ("elastance_shift",) if elastance == "symmetric" else ()
        for name in ("w", "k", "mu", "sigma", "gleak", "vleak", "elastance_weight", "elastance_bias", *shift):
            setattr(self, name, nn.Parameter(torch.empty(units)))
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Initialise the parameters as published, uniformly up to 1 / sqrt(H). The elastance's shift is positive, so
        that no state grows."""
        bound = 1 / math.sqrt(self.state_size)
        for name, parameter in self.named_parameters(recurse=False):
            parameter.uniform_(0.0 if name == "elastance_shift" else -bound, bound)
        if hasattr(self, "enter"):
            self.enter.reset_parameters()

    def normed(self, inputs: Float[Tensor, "*B C"]) -> Float[Tensor, "*B H"]:
        """The inputs of a block's neurons: mapped to H values if they are not as many, and normalised."""
        entered: Tensor = self.enter(inputs) if hasattr(self, "enter") else inputs
        return F.layer_norm(entered, (self.state_size,))

    def map_inputs(self, inputs: Float[Tensor, "*B C"]) -> Float[Tensor, "*B H2"]:
        """The inputs' part of each neuron's resistance and drive."""
        weight = torch.cat([self.sensory_w, self.sensory_k])
        read = self.normed(inputs) if self.block else inputs
        return drive(read, self.sensory_mu, self.sensory_sigma, weight, self.gleak)

    def recurrence(self, inputs: Tensor | None = None) -> cells.LrcSSM:
        shift = (self.elastance_shift,) if self.elastance == "symmetric" else ()
        elastance = (self.elastance_weight, self.elastance_bias, *shift)
        synapses = (self.w, self.k, self.mu, self.sigma)
        return cells.LrcSSM(synapses, self.vleak, elastance, self.solver == "exponential")

    def fastest_rate(self) -> float:
        """1: no rate exceeds it, for any weights."""
        return 1.0

    def instability(self, span: float) -> str | None:
        self.asked_span = max(self.asked_span, span)
        if self.solver != "euler" or span <= LONGEST or not math.isfinite(span):
            return None
        return (
            f"an LrcSSM's Euler steps may be unstable over gaps beyond {LONGEST:g} usual ones, and the longest is "
            f"{span:.3g}: the solver exponential holds at any gap"
        )


class LrcSSM(RecurrentLayer):
    """A liquid-resistance liquid-capacitance state space over sequences (arXiv 2505.21717, and the authors' code).

    Each neuron follows dh/dt = e (a h + b). Its rate a, drive b and elastance e depend only on the inputs and its own
    state (:class:`torchliquid.cells.LrcSSM` has the equations). So the Jacobian is diagonal, a sequence costs O(T H),
    and all samples can be solved at once (``over_time="parallel"``) in O(log T) steps.

    Differences from the publication: a step has the span of its sample instead of 1, and there is a step that is stable
    at any span; a block starts with a linear map to H values instead of an encoder of two layers; the shift of the
    symmetric elastance is initialised above 0. States are real, as in the paper's main results.

    Args:
        input_size: number of inputs C.
        units: number of units H.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        elastance: ``"plain"``, sigmoid(p h + q), or ``"symmetric"``, sigmoid(p h + q + r) - sigmoid(p h + q - r).
        solver: ``"euler"``, as published, h + e (a h + b) span; or ``"exponential"``, which is exact for constant a, b
            and e, and stable at any span.
        block: whether the layer is one of the published blocks: the inputs (mapped to H values if they are not as many)
            are normalised and added to the states; the sum is normalised, and the result of two linear maps with ReLU
            between them is added to it. ``num_layers`` stacks blocks. False: the outputs are the states.
        return_states, num_layers, dropout, bidirectional: as in :class:`RecurrentLayer`.

    Raises:
        InputError: a size is below 1, or an unknown elastance or solver.
    """

    rnn_cell: LrcSSMCell
    feed: nn.Sequential

    def __init__(
        self,
        input_size: int,
        units: int,
        return_sequences: bool = True,
        batch_first: bool = True,
        elastance: str = "plain",
        solver: str = "euler",
        block: bool = False,
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cell = LrcSSMCell(input_size, units, elastance, solver, block)
        again = lambda n: LrcSSM(n, units, True, True, elastance, solver, block)  # noqa: E731
        stack = Stack(again, num_layers, dropout, bidirectional)
        super().__init__(cell, return_sequences, batch_first, False, return_states, stack)
        if block:
            self.feed = nn.Sequential(nn.Linear(units, units), nn.ReLU(), nn.Linear(units, units))

    def around(self, inputs: Float[Tensor, "*B C"], outputs: Float[Tensor, "*B H"]) -> Float[Tensor, "*B H"]:
        if not hasattr(self, "feed"):
            return outputs
        y = F.layer_norm(outputs + self.rnn_cell.normed(inputs), (self.rnn_cell.state_size,))
        added: Tensor = y + self.feed(y)
        return added
