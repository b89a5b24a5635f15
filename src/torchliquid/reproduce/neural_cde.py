"""Neural controlled differential equations on irregular samples (Kidger et al., arXiv 2005.08926)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid.layers.stack import at_last
from torchliquid.models.networks import Network, State, packed, padded


class NeuralCDE(Network):
    """dz = f(z) dX along straight lines between samples, where X contains the inputs and the time.

    z starts from a linear map of the first sample. Between two samples dX is constant, and one step of RK4 is taken. So
    the features of a sample depend on this sample and earlier ones only. f(z) = tanh of two linear maps.

    Args:
        input_size: number of inputs C.
        units: H, size of z.
        hidden: size of the field's hidden layer.
        masked: whether the second half of the inputs is the mask of the first. Values that were not observed keep the
            last observed value (0 before the first), and the mask is accumulated, as in the paper.

    The state is z (B, H), the path's last point (B, C), and whether there was a sample before (B, 1).
    """

    def __init__(self, input_size: int, units: int, hidden: int = 32, masked: bool = False) -> None:
        super().__init__()
        self.output_size, self.masked = units, masked
        self.start = nn.Linear(input_size, units)
        self.inner = nn.Linear(units, hidden)
        self.field = nn.Linear(hidden, units * (input_size + 1))

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        batch, time, channels = inputs.shape
        if state is None:
            state = (
                inputs.new_zeros(batch, self.output_size),
                inputs.new_zeros(batch, channels),
                inputs.new_zeros(batch, 1),
            )
        z, before, begun = state
        path = self._path(inputs, before) if self.masked else inputs
        changes = torch.cat([torch.diff(path, dim=1, prepend=before.unsqueeze(1)), timespans.unsqueeze(2)], 2)
        # The longest sequences come first: a step processes those that have not ended.
        sequences = packed(changes, lengths)
        assert sequences.sorted_indices is not None
        _, *others = sequences.data.split(sequences.batch_sizes.tolist())
        z = torch.where(begun > 0, self._along(z, changes[:, 0]), self.start(path[:, 0]))
        features = [z.index_select(0, sequences.sorted_indices)]
        for change in others:
            features.append(self._along(features[-1][: len(change)], change))
        after = padded(sequences._replace(data=torch.cat(features)), time)
        return after, (at_last(after, lengths), at_last(path, lengths), torch.ones_like(begun))

    def _path(self, inputs: Float[Tensor, "B T C"], before: Float[Tensor, "B C"]) -> Float[Tensor, "B T C"]:
        values, observed = inputs.chunk(2, -1)
        held, counts = before.chunk(2, -1)
        filled = []
        for i in range(inputs.shape[1]):
            held = torch.where(observed[:, i] > 0, values[:, i], held)
            filled.append(held)
        # A count of a hundred is scaled to the size of a value.
        return torch.cat([torch.stack(filled, 1), counts.unsqueeze(1) + observed.cumsum(1) / 100], -1)

    def _along(self, z: Float[Tensor, "B H"], change: Float[Tensor, "B D"]) -> Float[Tensor, "B H"]:
        # PyTorch's tanh takes six times as long as its sigmoid on a CPU: tanh(x) = 2 sigmoid(2 x) - 1.
        less = change.sum(1, keepdim=True)

        def slope(z: Tensor) -> Tensor:
            matrix = torch.sigmoid(2 * self.field(F.relu(self.inner(z)))).unflatten(1, (-1, z.shape[1]))
            return 2 * torch.bmm(change.unsqueeze(1), matrix).squeeze(1) - less

        k1 = slope(z)
        k2 = slope(z + k1 / 2)
        k3 = slope(z + k2 / 2)
        return z + (k1 + 2 * k2 + 2 * k3 + slope(z + k3)) / 6
