"""The GRU-D cell, for series with missing values (Che et al., arXiv 1606.01865)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.cells.gru import gru_step
from torchliquid.cells.recurrence import Prepared


class GRUD(NamedTuple):
    """Recurrence of a GRU-D (arXiv 1606.01865). An input of NaN was not observed.

    With m the mask, d the time since a channel was last observed, and x' the value observed then:

        x <- m x + (1 - m) exp(-max(0, w_x d + b_x)) x'
        h <- exp(-max(0, W_h d + b_h)) h
        h <- GRU([x, m], h)

    Inputs are standardised, so the mean to which they decay is 0. The state, (B, H + 2 C), consists of h, the last
    observed value of each channel, and the time since then.

    Attributes:
        decay, decay_bias: w_x and b_x.
        fading, fading_bias: W_h and b_h.
        update: weights of the GRU, as in ``nn.GRUCell``.
    """

    decay: Float[Tensor, " C"]
    decay_bias: Float[Tensor, " C"]
    fading: Float[Tensor, "H C"]
    fading_bias: Float[Tensor, " H"]
    update: Sequence[Tensor]

    def prepare(self, inputs: Float[Tensor, "B T C"], timespans: Float[Tensor, "B T"]) -> Prepared:
        """No series, and the weights."""
        return (), (self.decay, self.decay_bias, self.fading, self.fading_bias, *self.update)

    def step(
        self,
        x: Float[Tensor, "B C"],
        h: Float[Tensor, "B S"],
        span: Float[Tensor, " B"],
        series: Sequence[Tensor],
        weights: Sequence[Tensor],
    ) -> Float[Tensor, "B S"]:
        decay, decay_bias, fading, fading_bias, *update = weights
        maps = partial(F.linear, weight=fading, bias=fading_bias), lambda x, h: gru_step(x, h, *update)
        return advance(x, h, span, decay, decay_bias, *maps)


def advance(
    x: Float[Tensor, "B C"],
    state: Float[Tensor, "B S"],
    span: Float[Tensor, " B"],
    decay: Float[Tensor, " C"],
    decay_bias: Float[Tensor, " C"],
    fading: Callable[[Tensor], Tensor],
    update: Callable[[Tensor, Tensor], Tensor],
) -> Float[Tensor, "B S"]:
    """One step, where ``fading`` is the linear map of the state's decay and ``update`` the GRU."""
    channels = x.shape[1]
    h, last, since = state.split([state.shape[1] - 2 * channels, channels, channels], 1)
    seen = ~x.isnan()
    x = x.masked_fill(~seen, 0.0)
    since = since + span.unsqueeze(1)
    faded = torch.exp(-torch.relu(decay * since + decay_bias)) * last
    h = torch.exp(-torch.relu(fading(since))) * h
    h = update(torch.cat([torch.where(seen, x, faded), seen.to(x)], 1), h)
    return torch.cat([h, torch.where(seen, x, last), since * ~seen], 1)
