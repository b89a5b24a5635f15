"""A diagonal state-space network, what a sceptic would try first (S4D: Gu et al., arXiv 2206.11893)."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor, nn

from torchliquid.models.networks import Network, State, at_last, packed, padded


class Recurrence(torch.autograd.Function):
    """The recurrence h[t] = fading[which[t]] h[t-1] + gain u[t], and what it says: y[t], the real part of read h[t]
    summed over N.

    Complex numbers are pairs of real ones with the channels innermost, and all work on a step is done while it is in
    the cache; the gradients are a recurrence as well, in the other direction. ``read`` holds the real part and minus
    the imaginary one. The samples P of all sequences are packed: the first of each, the second of those that have one,
    and so on, ``sizes`` of them, the longest sequence first.
    """

    @staticmethod
    def forward(
        ctx: Any,
        fading: Float[Tensor, "K 2 N W"],
        which: Int[Tensor, " P"],
        gain: Float[Tensor, "2 N W"],
        u: Float[Tensor, "P W"],
        read: Float[Tensor, "2 N W"],
        h: Float[Tensor, "B 2 N W"],
        sizes: list[int],
    ) -> tuple[Float[Tensor, "P W"], Float[Tensor, "P 2 N W"]]:
        states, y, before = u.new_empty(len(u), *gain.shape), torch.empty_like(u), h
        for rows, drive, now, said in zip(*(x.split(sizes) for x in (which, u, states, y)), strict=True):
            _product(fading.index_select(0, rows), before[: len(now)], out=now).addcmul_(gain, drive[:, None, None])
            torch.sum(read * now, (1, 2), out=said)
            before = now
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(fading, which, gain, u, read, h, states)
        ctx.sizes = sizes
        return y, states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        fading, which, gain, u, read, h, states = ctx.saved_tensors
        of_y, of_states = grads
        of_fading, of_gain, of_read = map(torch.zeros_like, (fading, gain, read))
        of_u, grad, other = torch.empty_like(u), torch.zeros_like(h), torch.zeros_like(h)
        end = len(u)
        for n, before in zip(reversed(ctx.sizes), (*reversed(ctx.sizes[:-1]), 0), strict=True):
            here, end = slice(end - n, end), end - n
            now, scratch, drive = grad[:n], other[:n], u[here, None, None]
            if of_states is not None:
                now += of_states[here]
            if of_y is not None:
                said = of_y[here, None, None]
                of_read += torch.mul(said, states[here], out=scratch).sum(0)
                now.addcmul_(read, said)
            of_gain += torch.mul(now, drive, out=scratch).sum(0)
            torch.sum(torch.mul(now, gain, out=scratch), (1, 2), out=of_u[here])
            last = states[end - before : end - before + n] if before else h
            of_fading.index_add_(0, which[here], _product(last, now, conjugated=True, out=scratch))
            _product(fading.index_select(0, which[here]), now, conjugated=True, out=scratch)
            grad, other = other, grad
        return of_fading, None, of_gain, of_u, of_read, grad, None


def _product(a: Tensor, b: Tensor, out: Tensor, conjugated: bool = False) -> Tensor:
    """The complex product of a, or of its conjugate, and b, each (B 2 N W)."""
    sign = -1 if conjugated else 1
    torch.mul(a[:, 0], b[:, 0], out=out[:, 0]).addcmul_(a[:, 1], b[:, 1], value=-sign)
    torch.mul(a[:, 0], b[:, 1], out=out[:, 1]).addcmul_(a[:, 1], b[:, 0], value=sign)
    return out


def _parts(x: Complex[Tensor, "*K N W"]) -> Float[Tensor, "*K 2 N W"]:
    return torch.stack([x.real, x.imag], -3)


class StateSpaceLayer(nn.Module):
    """Each channel drives N complex states that fade and turn at learned rates; what they say is mixed and added.

    With A = -exp(a) + i w (the real part 1/2 and w = pi n at the start, S4D-Lin) and d the channel's learned step,
        h <- exp(A d span) h + (exp(A d) - 1) / A u,   y = 2 Re(C h) + D u
    so that the states fade through the span before a sample and each sample drives them for one step, however long the
    gap (asynchronous discretisation, arXiv 2404.18508).

    ``rate`` holds a and w, ``read`` Re C and -Im C.

    Args:
        width: channels W.
        states: N, of each channel.
    """

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
        self, x: Float[Tensor, "P W"], spans: Float[Tensor, " P"], h: Float[Tensor, "B 2 N W"], sizes: list[int]
    ) -> tuple[Float[Tensor, "P W"], Float[Tensor, "P 2 N W"]]:
        """Outputs and the states after each sample, packed; ``h`` is the state before the first."""
        u = self.norm(x)
        rate = torch.complex(-self.rate[0].exp(), self.rate[1])
        step = self.log_step.exp()
        # Spans repeat, and their exponentials are what costs most.
        different, which = spans.unique(return_inverse=True)
        fading = _parts(torch.exp(rate * step * different[:, None, None]))
        gain = _parts((torch.exp(rate * step) - 1) / rate)
        y, after = Recurrence.apply(fading, which, gain, u, 2 * self.read, h, sizes)
        value, gate = self.mix(nn.functional.gelu(y + self.skip * u)).chunk(2, -1)
        return x + value * torch.sigmoid(gate), after


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
        sizes, longest = samples.batch_sizes.tolist(), samples.sorted_indices
        x, spans = self.embedding(samples.data[:, :-1]), samples.data[:, -1]
        place = padded(samples._replace(data=torch.arange(len(x), device=x.device)), time)
        last = at_last(place, lengths)
        states = []
        for i, layer in enumerate(self.layers):
            x, after = layer(x, spans, state[0][longest, i], sizes)
            states.append(after[last])
        return padded(samples._replace(data=x), time), (torch.stack(states, 1),)
