"""Closed-form continuous-time networks (Hasani et al., arXiv 2106.13898)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from torchliquid.cells import cfc
from torchliquid.cells.cfc import ACTIVATIONS, MODES
from torchliquid.errors import InputError, check_size
from torchliquid.layers.cell import RecurrentCell, own_wiring
from torchliquid.layers.parts import masked
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.layers.stack import Stack
from torchliquid.wirings import Wiring


class _ClosedFormCell(RecurrentCell):
    def recurrence(self, inputs: Tensor | None = None) -> cfc.CfC:
        raise NotImplementedError

    def gate_rates(
        self, inputs: Float[Tensor, "*B C"], before: Float[Tensor, "*B H"], after: Float[Tensor, "*B H"]
    ) -> Float[Tensor, "*B H"]:
        """Change of the gates per unit of the timespan, in a step from one state to the next; see
        :meth:`torchliquid.cells.CfC.rates`."""
        return self.recurrence().rates(inputs, before, after)


class CfCCell(_ClosedFormCell):
    """One step of a closed-form continuous-time network.

    Args:
        input_size: number of inputs C.
        hidden_size: number of units H.
        mode: ``"default"``, ``"no_gate"`` or ``"pure"``.
        backbone_activation: one of lecun_tanh, tanh, relu, silu, gelu.
        backbone_units, backbone_layers, backbone_dropout: of the hidden layers before the heads; dropout is applied
            after each of them.
        sparsity_mask: (C + H, H) array, source by target; 0 removes a weight of the heads f and g. Time gates are never
            masked, as published.

    Raises:
        InputError: the mode or activation is unknown, dropout is outside [0, 1) or has no layer, or the mask has the
            wrong shape or is given with a backbone.
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
        if mode not in MODES:
            raise InputError(f"there is no mode {mode!r}; choose {', '.join(MODES)}")
        if backbone_activation not in ACTIVATIONS:
            raise InputError(f"there is no activation {backbone_activation!r}; choose {', '.join(ACTIVATIONS)}")
        if not 0 <= backbone_dropout < 1:
            raise InputError(f"backbone_dropout must be at least 0 and less than 1, not {backbone_dropout}")
        if backbone_dropout and not backbone_layers:
            raise InputError(f"backbone_dropout={backbone_dropout} needs a backbone layer, and backbone_layers=0")
        if backbone_layers < 0:
            raise InputError(f"backbone_layers must be 0 or more, not {backbone_layers}")
        check_size(
            input_size=input_size, hidden_size=hidden_size, backbone_units=backbone_units if backbone_layers else 1
        )
        self.input_size, self.hidden_size = input_size, hidden_size
        self.state_size = self.output_size = hidden_size
        self.mode, self.activation, self.dropout = mode, backbone_activation, backbone_dropout
        width = input_size + hidden_size
        if sparsity_mask is not None and (backbone_layers or np.shape(sparsity_mask) != (width, hidden_size)):
            raise InputError(
                f"sparsity_mask must have shape ({width}, {hidden_size}), from inputs and units to units, and needs "
                f"backbone_layers=0; it has {np.shape(sparsity_mask)}, with {backbone_layers} backbone layers"
            )
        self.backbone = nn.ModuleList()
        for _ in range(backbone_layers):
            self.backbone.append(nn.Linear(width, backbone_units))
            width = backbone_units
        self._mask = None if sparsity_mask is None else np.asarray(sparsity_mask).T != 0
        self._fixed = self.fixed()
        self.ff1 = nn.Linear(width, hidden_size)
        if mode == "pure":
            self.w_tau = nn.Parameter(torch.empty(hidden_size))
            self.A = nn.Parameter(torch.empty(hidden_size))
        else:
            self.ff2 = nn.Linear(width, hidden_size)
            self.time_a = nn.Linear(width, hidden_size)
            self.time_b = nn.Linear(width, hidden_size)
        self.reset_parameters()

    def structure(self) -> dict[str, np.ndarray]:
        return {} if self._mask is None else {"sparsity_mask": self._mask}

    def fixed(self) -> dict[str, Tensor]:
        return {} if self._mask is None else {"sparsity_mask": torch.from_numpy(self._mask.astype(np.float32))}

    @property
    def sparsity_mask(self) -> Float[Tensor, "H CH"] | None:
        """1 if a weight of the heads f and g exists, else 0; None: all exist."""
        return self._fixed.get("sparsity_mask")

    def reset_parameters(self) -> None:
        """Initialise the parameters, such as after ``to_empty``."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
                nn.init.xavier_uniform_(module.weight)
        if self.mode == "pure":
            # As in ncps. At w_tau = 0, the published initial value, |w_tau| has no gradient and would stay 0.
            nn.init.xavier_uniform_(self.w_tau.unsqueeze(0))
            nn.init.xavier_uniform_(self.A.unsqueeze(0))

    def backbone_tensors(self) -> list[Tensor]:
        """Weight and bias of each hidden layer, as the recurrence needs them."""
        return [tensor for layer in self.backbone for tensor in (layer.weight, layer.bias)]  # type: ignore[misc]

    def head_tensors(self) -> list[Tensor]:
        """The heads, masked and stacked, as the recurrence needs them."""
        if self.mode == "pure":
            return [self._masked(self.ff1), self.ff1.bias, self.w_tau, self.A]
        weights = [self._masked(self.ff1), self._masked(self.ff2), self.time_a.weight, self.time_b.weight]
        heads = (self.ff1, self.ff2, self.time_a, self.time_b)
        return [torch.cat(weights), torch.cat([head.bias for head in heads])]

    def _masked(self, head: nn.Linear) -> Tensor:
        mask = self.sparsity_mask
        return head.weight if mask is None else head.weight * mask.to(head.weight)

    def dropout_masks(self, like: Float[Tensor, "B T C"]) -> list[Float[Tensor, "B T U"]]:
        """Scaled dropout masks for each hidden layer; none outside training."""
        if not self.training or self.dropout == 0:
            return []
        keep = 1 - self.dropout
        sizes = [(*like.shape[:2], layer.out_features) for layer in self.backbone]
        return [torch.bernoulli(like.new_full(size, keep)) / keep for size in sizes]

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B H"], span: Float[Tensor, " B"]) -> Float[Tensor, "B H"]:
        """One sample, by calling the parts: each of ``backbone`` followed by the activation, then the heads."""
        z = torch.cat([x, h], -1)
        for part in self.backbone:
            z = F.dropout(ACTIVATIONS[self.activation](part(z)), self.dropout, self.training)
        if self.mode == "pure":
            return cfc.gate([self._called("ff1", z)], span.unsqueeze(1), self.mode, self.w_tau, self.A)
        maps = [self._called("ff1", z), self._called("ff2", z), self.time_a(z), self.time_b(z)]
        return cfc.gate(maps, span.unsqueeze(1), self.mode)

    def _called(self, name: str, z: Float[Tensor, "B Z"]) -> Float[Tensor, "B H"]:
        head, mask = getattr(self, name), self.sparsity_mask
        mapped: Tensor = head(z) if mask is None else masked(head, mask.to(z), name, z)
        return mapped

    def recurrence(self, inputs: Tensor | None = None) -> cfc.CfC:
        return _recurrence([self], inputs)

    def live_parameters(self, with_memory: bool = False) -> int:
        """Number of parameters that can change the output: all except masked weights."""
        total = sum(p.numel() for p in self.parameters())
        if self._mask is None:
            return total
        return total - int((~self._mask).sum()) * (1 if self.mode == "pure" else 2)


class WiredCfCCell(_ClosedFormCell):
    """One step of a stack of CfC cells without backbone, one per layer of a wiring.

    The weights of the heads f and g are those of the wiring's synapses; within a layer all neurons are connected. The
    wiring may only have synapses from the inputs to the first layer, and from each layer to itself and the next one.

    Args:
        input_size: inputs C; None if the wiring was built.
        wiring: the wiring.
        mode: as in :class:`CfCCell`.

    Raises:
        InputError: the mode is unknown; the number of inputs or outputs does not match or is unknown; or the layers of
            the wiring do not contain each neuron once, the last does not start with the motor neurons, or a synapse
            skips a layer.
    """

    plain_parts = (CfCCell, nn.Linear, nn.ModuleList)

    def __init__(self, input_size: int | None, wiring: Wiring, mode: str = "default") -> None:
        super().__init__()
        self.wiring, self.output_size = own_wiring(wiring, input_size)
        assert self.wiring.input_dim is not None
        self.mode = mode
        self.input_size, self.state_size = self.wiring.input_dim, wiring.units
        layers = _layers(self.wiring)
        self.layer_sizes = [len(neurons) for neurons in layers]
        sources = None
        for i, neurons in enumerate(layers):
            if sources is None:
                reach = wiring.sensory_erev_initializer()[:, neurons]
            else:
                reach = wiring.adjacency_matrix[np.ix_(sources, neurons)]
            mask = np.concatenate([reach, np.ones((len(neurons), len(neurons)))])
            self.add_module(f"layer_{i}", CfCCell(len(reach), len(neurons), mode, "lecun_tanh", 0, 0, 0.0, mask))
            sources = neurons

    @property
    def cells(self) -> list[CfCCell]:
        """The cells of the layers, from the inputs to the motor neurons."""
        return [getattr(self, f"layer_{i}") for i in range(len(self.layer_sizes))]

    def recurrence(self, inputs: Tensor | None = None) -> cfc.CfC:
        return _recurrence(self.cells, inputs)

    def step(self, x: Float[Tensor, "B C"], h: Float[Tensor, "B H"], span: Float[Tensor, " B"]) -> Float[Tensor, "B H"]:
        states = []
        for one, part in zip(self.cells, h.split(self.layer_sizes, 1), strict=True):
            x, _ = one(x, part, span)
            states.append(x)
        return torch.cat(states, 1)

    def read(self, states: Float[Tensor, "*B H"]) -> Float[Tensor, "*B O"]:
        """The motor neurons' states: the first ``output_size`` of the last layer's."""
        first = self.state_size - self.layer_sizes[-1]
        return states[..., first : first + self.output_size]

    def live_parameters(self, with_memory: bool = False) -> int:
        """Number of parameters that can change the output: all except masked weights."""
        return sum(cell.live_parameters() for cell in self.cells)


class CfC(RecurrentLayer):
    """A closed-form continuous-time network over sequences.

    Args:
        input_size: number of inputs C.
        units: number of units H of a cell with a backbone, or a wiring.
        proj_size: size of a linear projection of the outputs; None: no projection.
        return_sequences: whether to return the outputs of all samples, or of the last one only.
        batch_first: whether inputs are (B, T, C) instead of (T, B, C).
        mixed_memory: whether to add an LSTM cell in front (arXiv 2006.04418).
        mode, activation: as in :class:`CfCCell`.
        backbone_units, backbone_layers, backbone_dropout: None means 128, 1 and 0.0.
        return_states, num_layers, dropout, bidirectional: as in :class:`RecurrentLayer`.

    Raises:
        InputError: backbone options are given with a wiring, whose cells have no backbone; a size is below 1; or as for
            :class:`CfCCell`.
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
        return_states: bool = False,
        num_layers: int = 1,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cell: RecurrentCell
        fresh = copy.deepcopy(units)
        if isinstance(units, Wiring):
            given: dict[str, Any] = {
                "backbone_units": backbone_units,
                "backbone_layers": backbone_layers,
                "backbone_dropout": backbone_dropout,
                "activation": None if activation == "lecun_tanh" else activation,
            }
            for name, value in given.items():
                if value is not None:
                    raise InputError(f"{name}={value!r} can't be used with a wiring: a wired CfC has no backbone")
            cell = WiredCfCCell(input_size, units, mode)
        else:
            cell = CfCCell(
                input_size,
                units,
                mode,
                activation,
                128 if backbone_units is None else backbone_units,
                1 if backbone_layers is None else backbone_layers,
                0.0 if backbone_dropout is None else backbone_dropout,
            )
        super().__init__(cell, return_sequences, batch_first, mixed_memory, return_states)
        self.proj_size = proj_size
        if proj_size is not None:
            check_size(proj_size=proj_size)
            self.output_size = proj_size
        self.fc = nn.Identity() if proj_size is None else nn.Linear(cell.output_size, proj_size)
        backbone = (activation, backbone_units, backbone_layers, backbone_dropout)

        def again(inputs: int) -> CfC:
            own = fresh.for_inputs(inputs) if isinstance(fresh, Wiring) else fresh
            return CfC(inputs, own, proj_size, True, True, mixed_memory, mode, *backbone)

        self.pile(Stack(again, num_layers, dropout, bidirectional))

    def project(self, outputs: Float[Tensor, "*B N"]) -> Float[Tensor, "*B O"]:
        projected: Tensor = self.fc(outputs)
        return projected


def _layers(wiring: Wiring) -> list[list[int]]:
    """The neurons of each layer, if a stack of cells can represent the wiring."""
    layers = [list(wiring.get_neurons_of_layer(i)) for i in range(wiring.num_layers)]
    if sorted(neuron for layer in layers for neuron in layer) != list(range(wiring.units)):
        raise InputError(f"a wired CfC needs each of the {wiring.units} neurons in one layer; the layers are {layers}")
    assert wiring.output_dim is not None
    motor = list(range(wiring.output_dim))
    if layers[-1][: wiring.output_dim] != motor:
        raise InputError(f"the last layer of a wired CfC must start with the motor neurons {motor}")
    between, sensory = wiring.adjacency_matrix, wiring.sensory_erev_initializer()
    for i, sources in enumerate(layers):
        for j, targets in enumerate(layers):
            if j not in (i, i + 1) and (found := np.argwhere(between[np.ix_(sources, targets)])).size:
                src, dest = sources[found[0][0]], targets[found[0][1]]
                raise InputError(
                    f"a wired CfC cannot have a synapse from layer {i} to layer {j}, such as that from neuron {src} to "
                    f"{dest}, only to the same layer and the next; use an LTC"
                )
        if i and (found := np.argwhere(sensory[:, sources])).size:
            raise InputError(
                f"a wired CfC has no synapse from an input to layer {i}, as that of input {found[0][0]} onto neuron "
                f"{sources[found[0][1]]}: only to layer 0; an LTC has any"
            )
    return layers


def _recurrence(layers: Sequence[CfCCell], inputs: Tensor | None) -> cfc.CfC:
    first, heads = layers[0], [tensor for layer in layers for tensor in layer.head_tensors()]
    sizes, masks = [layer.hidden_size for layer in layers], [] if inputs is None else first.dropout_masks(inputs)
    return cfc.CfC(first.backbone_tensors(), heads, sizes, first.mode, first.activation, masks)
