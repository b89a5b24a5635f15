"""The memory of mixed-memory networks: an LSTM cell in front of the liquid one (arXiv 2006.04418)."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from torchliquid.cells.memory import lstm_gates


class MemoryCell(nn.Module):
    """An LSTM cell whose output is the initial state of the liquid cell's step.

    Args:
        input_size: C.
        hidden_size: H, the size of the liquid layer's state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.input_map = nn.Linear(input_size, 4 * hidden_size)
        self.recurrent_map = nn.Linear(hidden_size, 4 * hidden_size, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise the weights."""
        nn.init.xavier_uniform_(self.input_map.weight)
        nn.init.uniform_(self.input_map.bias, -0.1, 0.1)
        nn.init.orthogonal_(self.recurrent_map.weight)

    def forward(
        self, inputs: Float[Tensor, "B C"], states: tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step; returns the new (h, c)."""
        h, c = states
        return lstm_gates(self.input_map(inputs) + self.recurrent_map(h), c)
