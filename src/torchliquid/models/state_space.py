"""A diagonal state-space network (S4D: Gu et al., arXiv 2206.11893), a strong baseline."""

from __future__ import annotations

import math

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from torchliquid import backends
from torchliquid.models.networks import Network, State, packed, padded


def _parts(x: Complex[Tensor, "*K N W"]) -> Float[Tensor, "*K 2 N W"]:
    return torch.stack([x.real, x.imag], -3)


class StateSpaceLayer(nn.Module):
    """Each channel drives N complex states, which decay and oscillate at learned rates. A gated linear map of their
    outputs is added to the inputs.

    With A = -exp(a) + i w (initially a real part of -1/2 and w = pi n, S4D-Lin) and d the channel's learned step,
        h <- exp(A d span) h + (exp(A d) - 1) / A u,   y = 2 Re(C h) + D u
    So the states decay during the span before a sample, and each sample drives them for one step, for any length of the
    gap (asynchronous discretisation, arXiv 2404.18508).

    ``rate`` holds a and w, ``read`` Re C and -Im C. Rates have no weight decay, which would slow down all states.

    Args:
        width: channels W.
        states: N, of each channel.
    """

    undecayed = ("rate",)

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        decay = torch.full((states, width), math.log(0.5))
        frequency = math.pi * torch.arange(states, dtype=torch.float32)[:, None].repeat(1, width)
        self.rate = nn.Parameter(torch.stack([decay, frequency]))
        self.log_step = nn.Parameter(torch.empty(width).uniform_(math.log(0.001), math.log(0.1)))
        real, imaginary = (torch.randn(width, states, 2) * math.sqrt(0.5)).permute(2, 1, 0)
        self.read = nn.Parameter(torch.stack([real, -imaginary]))
        self.skip = nn.Parameter(torch.randn(width))
        self.mix = nn.Linear(width, 2 * width)

    def forward(
        self, x: Float[Tensor, "P W"], spans: Float[Tensor, " P"], h: Float[Tensor, "B 2 N W"], sizes: Int[Tensor, " T"]
    ) -> tuple[Float[Tensor, "P W"], Float[Tensor, "B 2 N W"]]:
        """Packed outputs, and the state after the last sample; ``h`` is the state before the first."""
        u = self.norm(x)
        rate = torch.complex(-self.rate[0].exp(), self.rate[1])
        step = self.log_step.exp()
        # Spans repeat, and their exponentials are the largest cost.
        different, which = spans.unique(return_inverse=True)
        fading = _parts(torch.exp(rate * step * different[:, None, None]))
        gain = _parts((torch.exp(rate * step) - 1) / rate)
        y, last = backends.state_space(fading, which, gain, u, 2 * self.read, h, sizes)
        value, gate = self.mix(nn.functional.gelu(y + self.skip * u)).chunk(2, -1)
        return x + value * torch.sigmoid(gate), last


class StateSpace(Network):
    """A stack of diagonal state-space layers.

    Args:
        input_size: inputs C.
        units: channels W of each layer, and features of each sample.
        states: N, complex states of each channel.
        layers: L; the state is (B, L, 2, N, W).
    """

    def __init__(self, input_size: int, units: int, states: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.output_size, self.states = units, states
        self.embedding = nn.Linear(input_size, units)
        self.layers = nn.ModuleList(StateSpaceLayer(units, states) for _ in range(layers))

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        batch, time, _ = inputs.shape
        if state is None:
            state = (inputs.new_zeros(batch, len(self.layers), 2, self.states, self.output_size),)
        samples = packed(torch.cat([inputs, timespans.unsqueeze(2)], 2), lengths)
        x, spans = self.embedding(samples.data[:, :-1]), samples.data[:, -1]
        states = []
        for i, layer in enumerate(self.layers):
            x, last = layer(x, spans, state[0][samples.sorted_indices, i], samples.batch_sizes)
            states.append(last[samples.unsorted_indices])
        return padded(samples._replace(data=x), time), (torch.stack(states, 1),)
