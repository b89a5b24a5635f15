"""The liquid-resistance liquid-capacitance state space (Farsang et al., arXiv 2505.21717)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.cells.recurrence import Prepared
from torchliquid.tracing import is_written_down

LEAST = -30.0
"""Lower bound of the sum in a resistance. There the rate is 1e-13, so the state does not decay."""


class LrcSSM(NamedTuple):
    """Recurrence of neurons that are not connected with each other within a layer.

    With F and G the inputs' part (:func:`drive`), each neuron's state h follows

        dh/dt = e (a h + b),   y = sigmoid(sigma (h - mu)),
        a = -sigmoid(F + w y),   b = vleak tanh(G + k y),

    with the elastance e = sigmoid(p h + q), or the symmetric one e = sigmoid(p h + q + r) - sigmoid(p h + q - r). A
    sample is one Euler step over its span, as published (where the span is always 1). The alternative is the step that
    is exact for constant a, b and e, h <- h + (1 - exp(e a span)) / -a (a h + b). It is stable at any span.

    A neuron's state depends only on its own previous state, so the Jacobian is diagonal.

    Attributes:
        synapses: ``(w, k, mu, sigma)``, one value per neuron.
        vleak: one value per neuron.
        elastance: ``(p, q)`` or ``(p, q, r)``, one value per neuron.
        exponential: whether to use the second kind of step.
    """

    synapses: Sequence[Float[Tensor, " H"]]
    vleak: Float[Tensor, " H"]
    elastance: Sequence[Float[Tensor, " H"]]
    exponential: bool = False

    @property
    def diagonal(self) -> bool:
        """Whether the Jacobian is diagonal."""
        return True

    def prepare(self, inputs: Float[Tensor, "B T H2"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """F and G, and the weights."""
        return inputs.chunk(2, 2), (*self.synapses, self.vleak, *self.elastance)

    def step(
        self,
        x: Float[Tensor, "B H2"],
        h: Float[Tensor, "B H"],
        span: Float[Tensor, " B"],
        series: Sequence[Float[Tensor, "B H"]],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B H"]:
        rate, rest, elastance = _liquid(h, series, weights)
        d = elastance * span.unsqueeze(1)
        if self.exponential:
            d = _lost(d * rate) / rate
        return h + d * (rest - rate * h)

    def time_constants(self, inputs: Float[Tensor, "*B H2"], h: Float[Tensor, "*B H"]) -> Float[Tensor, "*B H"]:
        """1 / (e |a|) at these states and inputs."""
        rate, _, elastance = _liquid(h, inputs.chunk(2, -1), (*self.synapses, self.vleak, *self.elastance))
        return 1 / (elastance * rate)


def _lost(u: Tensor) -> Tensor:
    """1 - exp(-u), accurate near 0."""
    if is_written_down():  # for ONNX, which has no expm1
        t = torch.tanh(u / 2)
        return 2 * t / (1 + t)
    return -torch.expm1(-u)


def _liquid(h: Tensor, series: Sequence[Tensor], weights: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """-a, b and e."""
    (resistance, driven), (w, k, mu, sigma, vleak, p, q, *shift) = series, weights
    y = torch.sigmoid(sigma * (h - mu))
    rate = torch.sigmoid((resistance + w * y).clamp_min(LEAST))
    open_ = p * h + q
    elastance = torch.sigmoid(open_ + shift[0]) - torch.sigmoid(open_ - shift[0]) if shift else torch.sigmoid(open_)
    return rate, vleak * torch.tanh(driven + k * y), elastance


def drive(
    inputs: Float[Tensor, "*B C"],
    mu: Float[Tensor, " C"],
    sigma: Float[Tensor, " C"],
    weight: Float[Tensor, "H2 C"],
    gleak: Float[Tensor, " H"],
) -> Float[Tensor, "*B H2"]:
    """The inputs' part: F and G = gleak + W sigmoid(sigma (u - mu)). ``weight`` has the W of F above that of G."""
    return F.linear(torch.sigmoid(sigma * (inputs - mu)), weight, torch.cat([gleak, gleak]))
