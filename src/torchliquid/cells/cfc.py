"""The closed-form continuous-time cell (Hasani et al., arXiv 2106.13898)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.cells.recurrence import Prepared

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "lecun_tanh": lambda x: 1.7159 * torch.tanh(0.666 * x),
    "tanh": torch.tanh,
    "relu": torch.relu,
    "silu": F.silu,
    "gelu": F.gelu,
}
"""Activations of a CfC's backbone, by name."""

MODES = ("default", "no_gate", "pure")


class CfC(NamedTuple):
    """Closed-form continuous-time recurrence (arXiv 2106.13898, eq. 10), alone or as a stack of wired layers.

    With z the backbone's output on (x, h), or (x, h) itself without one, and t the timespan:

        default   h <- (1 - s) tanh(f) + s tanh(g),   s = sigmoid(a t + b)
        no_gate   h <- tanh(f) + s tanh(g)
        pure      h <- A - A exp(-t (|w_tau| + |f|)) f

    The state is the concatenation of the layers' states. Layer l gets the new state of layer l - 1.

    Attributes:
        backbone: ``(weight, bias)`` of each hidden layer in turn, weights (U, in) as in ``nn.Linear``; empty without a
            backbone. Only a cell of one layer can have one.
        heads: for each layer of the stack, ``(weight, bias)`` of the heads f, g, a, b in this order, with shapes
            (4 * units, in) and (4 * units,). In mode ``pure``, ``(weight, bias, w_tau, A)`` with shapes (units, in),
            (units,), (units,), (units,). The weights are already masked by the wiring.
        layer_sizes: units of each layer.
        mode: one of :data:`MODES`.
        activation: activation of the backbone, one of :data:`ACTIVATIONS`.
        dropout_masks: one per backbone layer, (B, T, U), 0 or 1 / (1 - p), multiplied after the activation; empty
            without dropout.
    """

    backbone: Sequence[Tensor]
    heads: Sequence[Tensor]
    layer_sizes: Sequence[int]
    mode: str
    activation: str
    dropout_masks: Sequence[Float[Tensor, "B T U"]] = ()

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """The dropout masks, and the weights."""
        return self.dropout_masks, (*self.backbone, *self.heads)

    def step(
        self,
        x: Float[Tensor, "B C"],
        h: Float[Tensor, "B H"],
        span: Float[Tensor, " B"],
        series: Sequence[Float[Tensor, "B _"]],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B H"]:
        n, parts = len(self.backbone), []
        for part, head in zip(h.split(list(self.layer_sizes), 1), self._by_layer(weights[n:]), strict=True):
            maps = F.linear(self._features(x, part, weights[:n], series), head[0], head[1])
            x = gate(maps.chunk(1 if self.mode == "pure" else 4, 1), span.unsqueeze(1), self.mode, *head[2:])
            parts.append(x)
        return torch.cat(parts, 1)

    def rates(
        self, inputs: Float[Tensor, "*B C"], before: Float[Tensor, "*B H"], after: Float[Tensor, "*B H"]
    ) -> Float[Tensor, "*B H"]:
        """The rate at which each neuron's gate changes with the timespan: ``a`` of sigmoid(a t + b), or in mode
        ``pure`` |w_tau| + |f| of the exponential.

        Args:
            inputs: inputs of the samples.
            before: states at the start of each step, after the memory if there is one.
            after: states at the end of each step.
        """
        rates, x = [], inputs
        sizes = list(self.layer_sizes)
        states = zip(before.split(sizes, -1), after.split(sizes, -1), self._by_layer(self.heads), strict=True)
        for h, new, head in states:
            drive = F.linear(self._features(x, h, self.backbone), head[0], head[1])
            rates.append(head[2].abs() + drive.abs() if self.mode == "pure" else drive.chunk(4, -1)[2])
            x = new
        return torch.cat(rates, -1)

    def _by_layer(self, heads: Sequence[Tensor]) -> list[Sequence[Tensor]]:
        per_layer = 4 if self.mode == "pure" else 2
        return [heads[i : i + per_layer] for i in range(0, len(heads), per_layer)]

    def _features(self, x: Tensor, h: Tensor, backbone: Sequence[Tensor], masks: Sequence[Tensor] = ()) -> Tensor:
        """z, the input of the heads."""
        z, activation = torch.cat([x, h], -1), ACTIVATIONS[self.activation]
        for i in range(0, len(backbone), 2):
            z = activation(F.linear(z, backbone[i], backbone[i + 1]))
            if masks:
                z = z * masks[i // 2]
        return z


def gate(
    maps: Sequence[Float[Tensor, "B H"]], span: Float[Tensor, "B 1"], mode: str, *own: Tensor
) -> Float[Tensor, "B H"]:
    """The new state from the outputs of the heads: f, g, a, b, or in mode ``pure`` f, with ``w_tau, A``."""
    if mode == "pure":
        (f,), (w_tau, amplitude) = maps, own
        return amplitude - amplitude * torch.exp(-span * (w_tau.abs() + f.abs())) * f
    f, g, a, b = maps
    s = torch.sigmoid(a * span + b)
    if mode == "no_gate":
        return torch.tanh(f) + s * torch.tanh(g)
    return (1 - s) * torch.tanh(f) + s * torch.tanh(g)
