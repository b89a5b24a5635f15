"""The memory of mixed-memory networks: an LSTM cell whose output is the recurrence's state before each sample.

Lechner and Hasani, arXiv 2006.04418.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def lstm_step(
    drive: Float[Tensor, "B H4"],
    weight: Float[Tensor, "H4 H"],
    h: Float[Tensor, "B H"],
    c: Float[Tensor, "B H"],
) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
    """The new (h, c).

    ``drive`` is the input's part of the gates, with the bias. The order of the gates is: input activation, input gate,
    forget gate (to which 1 is added), output gate.
    """
    return lstm_gates(drive + F.linear(h, weight), c)


def lstm_gates(gates: Float[Tensor, "B H4"], c: Float[Tensor, "B H"]) -> tuple[Tensor, Tensor]:
    """The new (h, c) of :func:`lstm_step` from the sum of the input's and the state's parts."""
    i, gate, forget, out = gates.chunk(4, 1)
    c = torch.sigmoid(forget + 1) * c + torch.sigmoid(gate) * torch.tanh(i)
    return torch.sigmoid(out) * torch.tanh(c), c
