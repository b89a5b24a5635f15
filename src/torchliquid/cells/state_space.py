"""The diagonal state-space recurrence of the tables, over packed sequences (Gu et al., arXiv 2206.11893)."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def state_space(
    fading: Float[Tensor, "K 2 N W"],
    which: Int[Tensor, " P"],
    gain: Float[Tensor, "2 N W"],
    inputs: Float[Tensor, "P W"],
    read: Float[Tensor, "2 N W"],
    state: Float[Tensor, "B 2 N W"],
    sizes: Int[Tensor, " T"],
) -> tuple[Float[Tensor, "P W"], Float[Tensor, "B 2 N W"]]:
    """Diagonal state-space recurrence (arXiv 2206.11893), N complex states of each of W channels.

    With u a sample's input, h <- fading[which] h + gain u, and the output is the real part of C h, summed over N.
    Complex numbers are pairs of their real and their imaginary part.

    Args:
        fading: K different factors.
        which: of these that of each sample.
        gain: what an input adds to each state.
        inputs: of P packed samples: the first of each sequence, the second of those that have one, and so on, the
            longest sequence first.
        read: real and minus imaginary part of C.
        state: before each sequence's first sample.
        sizes: how many sequences have a first sample, a second, ... a last.

    Returns:
        Outputs, and the state after each sequence's last sample.
    """
    fading, gain, read, h = (torch.complex(*x.unbind(-3)) for x in (fading, gain, read, state))
    counts = sizes.tolist()
    outputs, ended = [], []
    for rows, u in zip(which.split(counts), inputs.split(counts), strict=True):
        ended.append(h[len(u) :])
        h = fading[rows] * h[: len(u)] + gain * u[:, None]
        outputs.append((read.conj() * h).real.sum(1))
    last = torch.cat([h, *reversed(ended)])
    return torch.cat([inputs[:0], *outputs]), torch.stack([last.real, last.imag], 1)
