"""A diagonal state-space network, what a sceptic would try first (S4D: Gu et al., arXiv 2206.11893)."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from torchliquid.models.networks import Network, State, at_last


class Scan(torch.autograd.Function):
    """The recurrence h[t] = fading[which[t]] h[t-1] + drive[t].

    The gradients are a recurrence as well, in the other direction; autograd would make a whole sequence of zeros for
    each step's slice.
    """

    @staticmethod
    def forward(
        ctx: Any,
        fading: Complex[Tensor, "W K N"],
        which: Int[Tensor, "T B"],
        drive: Complex[Tensor, "W T B N"],
        h: Complex[Tensor, "W B N"],
    ) -> Complex[Tensor, "W T B N"]:
        states = torch.empty_like(drive)
        for i, rows in enumerate(which):
            torch.addcmul(drive[:, i], fading[:, rows], states[:, i - 1] if i else h, out=states[:, i])
        ctx.save_for_backward(fading, which, states, h)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        fading, which, states, h = ctx.saved_tensors
        grad, back = grads[0].clone(), fading.conj().resolve_conj()
        of_fading, of_h = torch.zeros_like(fading), torch.zeros_like(h)
        for i in range(len(which) - 1, -1, -1):
            before, of_before = (states[:, i - 1], grad[:, i - 1]) if i else (h, of_h)
            of_before.addcmul_(back[:, which[i]], grad[:, i])
            of_fading.index_add_(1, which[i], grad[:, i] * before.conj())
        return of_fading, None, grad, of_h


class StateSpaceLayer(nn.Module):
    """Each channel drives N complex states that fade and turn at learned rates; what they say is mixed and added.

    With A = -exp(a) + i w (the real part 1/2 and w = pi n at the start, S4D-Lin) and d the channel's learned step,
        h <- exp(A d span) h + (exp(A d) - 1) / A u,   y = 2 Re(C h) + D u
    so that the states fade through the span before a sample and each sample drives them for one step, however long the
    gap (asynchronous discretisation, arXiv 2404.18508).

    Args:
        width: channels W.
        states: N, of each channel.
    """

    def __init__(self, width: int, states: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.log_decay = nn.Parameter(torch.full((width, 1, states), math.log(0.5)))
        self.frequency = nn.Parameter(math.pi * torch.arange(states, dtype=torch.float32).repeat(width, 1, 1))
        self.log_step = nn.Parameter(torch.empty(width, 1, 1).uniform_(math.log(0.001), math.log(0.1)))
        self.read = nn.Parameter(torch.randn(width, states, 2) * math.sqrt(0.5))
        self.skip = nn.Parameter(torch.randn(width))
        self.mix = nn.Linear(width, 2 * width)

    def forward(
        self, x: Float[Tensor, "B T W"], spans: Float[Tensor, "B T"], h: Complex[Tensor, "B W N"]
    ) -> tuple[Float[Tensor, "B T W"], Complex[Tensor, "B T W N"]]:
        """Outputs and the states after each sample; ``h`` is the state before the first."""
        u = self.norm(x)
        rate = torch.complex(-self.log_decay.exp(), self.frequency)
        step = self.log_step.exp()
        # Spans repeat, and their exponentials are what costs most.
        different, which = spans.T.unique(return_inverse=True)
        fading = torch.exp(rate * step * different[:, None])
        gain = torch.view_as_real((torch.exp(rate * step) - 1) / rate)
        # Channels first: driving and reading the states are products of real matrices, one of each channel.
        driven = u.permute(2, 1, 0).flatten(1).unsqueeze(2) @ gain.flatten(2)
        drive = torch.view_as_complex(driven.unflatten(2, (-1, 2))).unflatten(1, which.shape)
        after = Scan.apply(fading, which, drive, h.transpose(0, 1))
        read = self.read * self.read.new_tensor([2.0, -2.0])
        said = torch.view_as_real(after).flatten(3).flatten(1, 2) @ read.flatten(1).unsqueeze(2)
        y = said.view(-1, *which.shape).permute(2, 1, 0) + self.skip * u
        value, gate = self.mix(nn.functional.gelu(y)).chunk(2, -1)
        return x + value * torch.sigmoid(gate), after.permute(2, 1, 0, 3)


class StateSpace(Network):
    """A stack of diagonal state-space layers.

    Args:
        input_size: inputs C.
        units: channels W of each layer, and features of each sample.
        states: N, complex states of each channel.
        layers: L; the state is (B, L, W, N, 2).
    """

    def __init__(self, input_size: int, units: int, states: int = 8, layers: int = 2) -> None:
        super().__init__()
        self.output_size, self.states = units, states
        self.embedding = nn.Linear(input_size, units)
        self.layers = nn.ModuleList(StateSpaceLayer(units, states) for _ in range(layers))

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        if state is None:
            state = (inputs.new_zeros(len(inputs), len(self.layers), self.output_size, self.states, 2),)
        x = self.embedding(inputs)
        ends = []
        for i, layer in enumerate(self.layers):
            x, after = layer(x, timespans, torch.view_as_complex(state[0][:, i].contiguous()))
            ends.append(torch.view_as_real(at_last(after, lengths)))
        return x, (torch.stack(ends, 1),)
