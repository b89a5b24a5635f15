"""Closed-form continuous-time networks (Hasani et al., arXiv 2106.13898)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid import kernels
from torchliquid.errors import InputError
from torchliquid.kernels.reference import ACTIVATIONS, CFC_MODES
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.wirings import Wiring


class CfCCell(nn.Module):
    """One step of a closed-form continuous-time network.

    Args:
        input_size: inputs C.
        hidden_size: units H.
        mode: ``"default"``, ``"no_gate"`` or ``"pure"``.
        backbone_activation: one of lecun_tanh, tanh, relu, silu, gelu.
        backbone_units, backbone_layers, backbone_dropout: of the hidden layers that the heads share; dropout acts
            after each of them.
        sparsity_mask: (C + H, H) array, source by target; 0 switches a weight of the heads f and g off. Time gates
            are never masked, as published.

    Raises:
        InputError: an unknown mode or activation, a dropout outside [0, 1).
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        mode: str = "default",
        backbone_activation: str = "lecun_tanh",
        backbone_units: int = 128,
        backbone_layers: int = 1,
        backbone_dropout: float = 0.0,
        sparsity_mask: np.ndarray | None = None,
    ) -> None:
        super().__init__()
        if mode not in CFC_MODES:
            raise InputError(f"there is no mode {mode!r}; choose {', '.join(CFC_MODES)}")
        if backbone_activation not in ACTIVATIONS:
            raise InputError(f"there is no activation {backbone_activation!r}; choose {', '.join(ACTIVATIONS)}")
        if not 0 <= backbone_dropout < 1:
            raise InputError(f"backbone_dropout lies from 0 to below 1, not at {backbone_dropout}")
        self.input_size, self.hidden_size = input_size, hidden_size
        self.state_size = self.output_size = hidden_size
        self.mode, self.activation, self.dropout = mode, backbone_activation, backbone_dropout
        width = input_size + hidden_size
        self.backbone = nn.ModuleList()
        for _ in range(backbone_layers):
            self.backbone.append(nn.Linear(width, backbone_units))
            width = backbone_units
        mask = None
        if sparsity_mask is not None:
            mask = torch.as_tensor(np.abs(sparsity_mask).T, dtype=torch.get_default_dtype())
        self.register_buffer("sparsity_mask", mask, persistent=False)
        self.ff1 = nn.Linear(width, hidden_size)
        if mode == "pure":
            self.w_tau = nn.Parameter(torch.zeros(hidden_size))
            self.A = nn.Parameter(torch.ones(hidden_size))
        else:
            self.ff2 = nn.Linear(width, hidden_size)
            self.time_a = nn.Linear(width, hidden_size)
            self.time_b = nn.Linear(width, hidden_size)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.xavier_uniform_(parameter)

    def backbone_tensors(self) -> list[Tensor]:
        """Weight and bias of each hidden layer, as the kernel takes them."""
        return [tensor for layer in self.backbone for tensor in (layer.weight, layer.bias)]

    def head_tensors(self) -> list[Tensor]:
        """The heads, masked and stacked, as the kernel takes them."""
        if self.mode == "pure":
            return [self._masked(self.ff1), self.ff1.bias, self.w_tau, self.A]
        weights = [self._masked(self.ff1), self._masked(self.ff2), self.time_a.weight, self.time_b.weight]
        heads = (self.ff1, self.ff2, self.time_a, self.time_b)
        return [torch.cat(weights), torch.cat([head.bias for head in heads])]

    def _masked(self, head: nn.Linear) -> Tensor:
        mask: Tensor | None = self.sparsity_mask
        return head.weight if mask is None else head.weight * mask

    def dropout_masks(self, like: Float[Tensor, "B T C"]) -> list[Float[Tensor, "B T U"]]:
        """What dropout keeps after each hidden layer, scaled; none outside training."""
        if not self.training or self.dropout == 0:
            return []
        keep = 1 - self.dropout
        shape = like.shape[:2]
        return [torch.bernoulli(like.new_full((*shape, layer.out_features), keep)) / keep for layer in self.backbone]

    def recur(
        self,
        inputs: Tensor,
        timespans: Tensor,
        state: Tensor,
        lengths: Tensor | None = None,
        memory: MemoryCell | None = None,
        cell: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The kernel over whole sequences (B, T, C) with this cell's parameters: states and cell states (B, T, H)."""
        return _recur([self], inputs, timespans, state, lengths, memory, cell)

    def forward(
        self, input: Float[Tensor, "B C"], hx: Float[Tensor, "B H"], ts: Tensor | float = 1.0
    ) -> tuple[Float[Tensor, "B H"], Float[Tensor, "B H"]]:
        """One step: the output and the new state, which are the same.

        Args:
            input: one sample each.
            hx: the state before it.
            ts: time since the sample before; a number, (B,) or (B, 1).
        """
        new = _one_step(self, input, hx, ts)
        return new, new

    def live_parameters(self) -> int:
        """Parameters that can change the output: all but the masked weights."""
        total = sum(p.numel() for p in self.parameters())
        mask: Tensor | None = self.sparsity_mask
        if mask is None:
            return total
        return total - int((mask == 0).sum()) * (1 if self.mode == "pure" else 2)


class WiredCfCCell(nn.Module):
    """One step of a stack of CfC cells without backbone, one a layer of a wiring, each reading the one before.

    The wiring's synapses say which weights of the heads f and g exist; inside a layer all neurons reach each other.

    Args:
        input_size: inputs C; None if the wiring was built.
        wiring: who connects to whom.
        mode: as in :class:`CfCCell`.
    """

    def __init__(self, input_size: int | None, wiring: Wiring, mode: str = "default") -> None:
        super().__init__()
        if input_size is not None:
            wiring.build(input_size)
        if wiring.input_dim is None or wiring.output_dim is None:
            raise InputError("the wiring does not know its inputs: give input_size, or call wiring.build()")
        self.wiring = wiring
        self.mode = mode
        self.input_size, self.state_size, self.output_size = wiring.input_dim, wiring.units, wiring.output_dim
        self.layer_sizes = [len(wiring.get_neurons_of_layer(i)) for i in range(wiring.num_layers)]
        sources = None
        for i in range(wiring.num_layers):
            neurons = wiring.get_neurons_of_layer(i)
            if sources is None:
                reach = wiring.sensory_erev_initializer()[:, neurons]
            else:
                reach = wiring.adjacency_matrix[np.ix_(sources, neurons)]
            mask = np.concatenate([reach, np.ones((len(neurons), len(neurons)))])
            self.add_module(f"layer_{i}", CfCCell(len(reach), len(neurons), mode, "lecun_tanh", 0, 0, 0.0, mask))
            sources = neurons

    @property
    def cells(self) -> list[CfCCell]:
        """The layers' cells, from the inputs to the motor neurons."""
        return [self.get_submodule(f"layer_{i}") for i in range(len(self.layer_sizes))]  # type: ignore[misc]

    def recur(
        self,
        inputs: Tensor,
        timespans: Tensor,
        state: Tensor,
        lengths: Tensor | None = None,
        memory: MemoryCell | None = None,
        cell: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`CfCCell.recur`; the layers' states stand side by side."""
        return _recur(self.cells, inputs, timespans, state, lengths, memory, cell)

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """The last layer's state."""
        return states[..., self.state_size - self.layer_sizes[-1] :]

    def forward(
        self, input: Float[Tensor, "B C"], hx: Float[Tensor, "B H"], timespans: Tensor | float = 1.0
    ) -> tuple[Float[Tensor, "B O"], Float[Tensor, "B H"]]:
        """One step: the last layer's state and all layers' states side by side."""
        new = _one_step(self, input, hx, timespans)
        return self.read(new), new

    def live_parameters(self) -> int:
        """Parameters that can change the output: all but the masked weights."""
        return sum(cell.live_parameters() for cell in self.cells)


class CfC(RecurrentLayer):
    """A closed-form continuous-time network over sequences.

    Args:
        input_size: inputs C.
        units: units H of a cell with a backbone, or a wiring.
        proj_size: size of a linear projection of the outputs; None: none.
        return_sequences: outputs of every sample, or of each sequence's last.
        batch_first: (B, T, C) or (T, B, C).
        mixed_memory: an LSTM cell in front (arXiv 2006.04418).
        mode, activation: as in :class:`CfCCell`.
        backbone_units, backbone_layers, backbone_dropout: None means 128, 1 and 0.0.

    Raises:
        InputError: backbone options together with a wiring, whose cells have no backbone.
    """

    def __init__(
        self,
        input_size: int,
        units: int | Wiring,
        proj_size: int | None = None,
        return_sequences: bool = True,
        batch_first: bool = True,
        mixed_memory: bool = False,
        mode: str = "default",
        activation: str = "lecun_tanh",
        backbone_units: int | None = None,
        backbone_layers: int | None = None,
        backbone_dropout: float | None = None,
    ) -> None:
        super().__init__(return_sequences, batch_first)
        self.rnn_cell: CfCCell | WiredCfCCell
        if isinstance(units, Wiring):
            options: dict[str, Any] = {
                "backbone_units": backbone_units,
                "backbone_layers": backbone_layers,
                "backbone_dropout": backbone_dropout,
            }
            for name, value in options.items():
                if value is not None:
                    raise InputError(f"{name}={value} can't be used with a wiring: a wired CfC has no backbone")
            self.wiring: Wiring | None = units
            self.rnn_cell = WiredCfCCell(input_size, units, mode)
        else:
            self.wiring = None
            self.rnn_cell = CfCCell(
                input_size,
                units,
                mode,
                activation,
                128 if backbone_units is None else backbone_units,
                1 if backbone_layers is None else backbone_layers,
                0.0 if backbone_dropout is None else backbone_dropout,
            )
        self.input_size, self.state_size = input_size, self.rnn_cell.state_size
        self.proj_size = proj_size
        self.fc = nn.Identity() if proj_size is None else nn.Linear(self.rnn_cell.output_size, proj_size)
        self.output_size = self.rnn_cell.output_size if proj_size is None else proj_size
        if mixed_memory:
            self.lstm = MemoryCell(input_size, self.state_size)

    def recur(
        self, inputs: Tensor, timespans: Tensor, state: Tensor, cell: Tensor | None, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return self.rnn_cell.recur(inputs, timespans, state, lengths, self.lstm, cell)

    def read(self, states: Tensor) -> Tensor:
        outputs = self.rnn_cell.read(states) if isinstance(self.rnn_cell, WiredCfCCell) else states
        projected: Tensor = self.fc(outputs)
        return projected

    def live_parameters(self) -> int:
        """Parameters that can change the output: all but the masked weights."""
        others = (m for m in (self.fc, self.lstm) if m is not None)
        return self.rnn_cell.live_parameters() + sum(p.numel() for m in others for p in m.parameters())


def _recur(
    cells: Sequence[CfCCell],
    inputs: Tensor,
    timespans: Tensor,
    state: Tensor,
    lengths: Tensor | None,
    memory: MemoryCell | None,
    cell: Tensor | None,
) -> tuple[Tensor, Tensor]:
    first = cells[0]
    return kernels.cfc(
        inputs,
        timespans,
        state,
        lengths,
        first.backbone_tensors(),
        [tensor for one in cells for tensor in one.head_tensors()],
        [one.hidden_size for one in cells],
        first.mode,
        first.activation,
        first.dropout_masks(inputs),
        None if memory is None else memory.input_map(inputs),
        None if memory is None else memory.recurrent_map.weight,
        cell,
    )


def _one_step(cell: CfCCell | WiredCfCCell, input: Tensor, hx: Tensor, ts: Tensor | float) -> Tensor:
    spans = torch.as_tensor(ts, dtype=input.dtype, device=input.device).reshape(-1, 1).expand(input.shape[0], 1)
    states, _ = cell.recur(input.unsqueeze(1), spans, hx)
    return states[:, 0]
