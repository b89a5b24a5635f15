"""The liquid time-constant cell (Hasani et al., arXiv 2006.04439)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from torchliquid.cells.recurrence import Prepared
from torchliquid.solvers import Solver
from torchliquid.tracing import is_written_down


class LTC(NamedTuple):
    """Liquid time-constant recurrence (arXiv 2006.04439, eq. 1).

    A synapse from a source with potential x carries the conductance g = w * sigmoid(sigma * (x - mu)) and pulls its
    target towards ``erev``. With g_j summed over the synapses into a neuron, its potential v follows between samples

        cm dv/dt = gleak vleak + sum g_j erev_j - (gleak + sum g_j + epsilon) v,

    with a constant input. The authors' fused semi-implicit solver (eq. 3) takes ``unfolds`` sub-steps of length
    d = timespan / unfolds,

        v <- (cm v + d (gleak vleak + sum g_j erev_j)) / (cm + d (gleak + sum g_j + epsilon)).

    The code computes this as an increment, so that a span of zero does not change v at all.

    Attributes:
        leak: ``(gleak, vleak, cm)``, one value per neuron; gleak and cm are positive.
        synapses: ``(w, mu, sigma, erev)``, one value per synapse between neurons; w is positive.
        synapse_index: source and target neuron of each synapse, ordered by target.
        sensory: ``(w, mu, sigma, erev)`` of the synapses from inputs to neurons.
        sensory_index: source input and target neuron of each, ordered by target.
        unfolds: fused steps per sample.
        epsilon: avoids a denominator of zero.
        solver: solver to use instead of the fused one.
    """

    leak: Sequence[Float[Tensor, " H"]]
    synapses: Sequence[Float[Tensor, " S"]]
    synapse_index: Int[Tensor, "2 S"]
    sensory: Sequence[Float[Tensor, " S_in"]]
    sensory_index: Int[Tensor, "2 S_in"]
    unfolds: int
    epsilon: float
    solver: Solver | None = None

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """Pull and conductance of leak and inputs, and the weights: cm and the synapses between neurons."""
        gleak, vleak, cm = self.leak
        pull, conductance = _arriving(inputs, gleak.shape[0], self.sensory_index, self.sensory)
        return (pull + gleak * vleak, conductance + gleak + self.epsilon), (self.synapse_index, cm, *self.synapses)

    def step(
        self,
        x: Float[Tensor, "B C"],
        v: Float[Tensor, "B H"],
        span: Float[Tensor, " B"],
        series: Sequence[Float[Tensor, "B H"]],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B H"]:
        index, cm, *synapses = weights
        if self.solver is not None:

            def field(v: Tensor, *reads: Tensor) -> Tensor:
                return self.field(v, reads[:2], (index, *reads[2:]))

            return self.solver.step(field, v, span.unsqueeze(1), series, (cm, *synapses))
        d, (pull_in, conductance_in) = (span / self.unfolds).unsqueeze(1), series
        for _ in range(self.unfolds):
            pull, conductance = _arriving(v, v.shape[1], index, synapses)
            pull, conductance = pull + pull_in, conductance + conductance_in
            v = v + d * (pull - conductance * v) / (cm + d * conductance)
        return v

    @staticmethod
    def field(
        v: Float[Tensor, "B H"], series: Sequence[Float[Tensor, "B H"]], weights: Sequence[Tensor]
    ) -> Float[Tensor, "B H"]:
        """dv/dt."""
        (pull_in, conductance_in), (index, cm, *synapses) = series, weights
        pull, conductance = _arriving(v, v.shape[1], index, synapses)
        return (pull + pull_in - (conductance + conductance_in) * v) / cm

    def time_constants(self, inputs: Float[Tensor, "*B C"], v: Float[Tensor, "*B H"]) -> Float[Tensor, "*B H"]:
        """Effective time constants cm / (gleak + sum g) of the neurons at these potentials and inputs.

        For any input they lie between cm / (gleak + sum w) and cm / gleak (arXiv 2006.04439, theorem 1).
        """
        gleak, _, cm = self.leak
        conductance = _arriving(v, v.shape[-1], self.synapse_index, self.synapses)[1]
        return cm / (gleak + conductance + _arriving(inputs, v.shape[-1], self.sensory_index, self.sensory)[1])


def _arriving(
    source: Float[Tensor, "*B N"], units: int, index: Int[Tensor, "2 S"], synapses: Sequence[Float[Tensor, " S"]]
) -> tuple[Float[Tensor, "*B H"], Float[Tensor, "*B H"]]:
    """For each neuron, the sum of g erev and the sum of g over the synapses from these sources."""
    w, mu, sigma, erev = synapses
    pre, post = index
    g = w * torch.sigmoid(sigma * (source.index_select(-1, pre) - mu))
    none = g.new_zeros(*source.shape[:-1], units)
    if is_written_down():  # ONNX has no index_add with a variable batch size
        post = post.expand(g.shape)
        return none.scatter_add(-1, post, g * erev), none.scatter_add(-1, post, g)
    return none.index_add(-1, post, g * erev), none.index_add(-1, post, g)
