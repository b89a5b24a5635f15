"""One step of a gated recurrent unit, for the cells that contain one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from torchliquid.tracing import is_written_down


def gru_step(
    x: Float[Tensor, "B C"],
    h: Float[Tensor, "B H"],
    input_weight: Float[Tensor, "H3 C"],
    state_weight: Float[Tensor, "H3 H"],
    input_bias: Float[Tensor, " H3"],
    state_bias: Float[Tensor, " H3"],
) -> Float[Tensor, "B H"]:
    """The new state, with weights as in ``nn.GRUCell``."""
    if not is_written_down():
        return torch.gru_cell(x, h, input_weight, state_weight, input_bias, state_bias)
    # The same with operators that ONNX has.
    r, z, n = F.linear(x, input_weight, input_bias).chunk(3, 1)
    r_h, z_h, n_h = F.linear(h, state_weight, state_bias).chunk(3, 1)
    z = torch.sigmoid(z + z_h)
    return (1 - z) * torch.tanh(n + torch.sigmoid(r + r_h) * n_h) + z * h
