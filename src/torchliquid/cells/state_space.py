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
    """Diagonal state-space recurrence (arXiv 2206.11893) with N complex states for each of W channels.

    With u a sample's input, h <- fading[which] h + gain u, and the output is the real part of C h, summed over N.
    Complex numbers are pairs of real and imaginary part.

    Args:
        fading: K different factors.
        which: index of the factor of each sample.
        gain: factor of the inputs.
        inputs: inputs of P packed samples: the first sample of each sequence, then the second ones, and so on, with the
            longest sequence first.
        read: real part and negative imaginary part of C.
        state: state before the first sample of each sequence.
        sizes: number of sequences that have a first sample, a second one, and so on.

    Returns:
        The outputs, and the state after the last sample of each sequence.
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
