"""The networks of the tables: a recurrent layer and a linear readout of its states."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from torchliquid.layers import CTGRU, CTRNN, LTC, ODELSTM, CfC, LrcSSM, NeuralODE
from torchliquid.layers.stack import at_last
from torchliquid.models import networks
from torchliquid.models.networks import Gated, Liquid, Network, State
from torchliquid.models.state_space import StateSpace
from torchliquid.reproduce.neural_cde import NeuralCDE
from torchliquid.reproduce.protocol import Protocol, Sequences
from torchliquid.wirings import AutoNCP, Random


def _ltc(inputs: int, units: int, sparsity: float, **layer: Any) -> Network:
    wiring = Random(units, units, sparsity_level=sparsity) if sparsity else units
    return Liquid(LTC(inputs, wiring, output_mapping=None, **layer))


def _on_ncp(make: Callable[..., Any]) -> Callable[..., Network]:
    return lambda inputs, units, sparsity, motors, **layer: Liquid(make(inputs, AutoNCP(units, motors), **layer))


def _layer(make: Callable[..., Any]) -> Callable[..., Network]:
    return lambda inputs, units, sparsity, **layer: Liquid(make(inputs, units, **layer))


class Missing(networks.MaskedGRUD):
    """A GRU-D with unscaled inputs, which decay to the mean of the training part."""

    mean: Tensor
    deviation: Tensor

    def __init__(self, inputs: int, units: int) -> None:
        super().__init__(inputs, units)
        self.register_buffer("mean", torch.zeros(inputs // 2))
        self.register_buffer("deviation", torch.ones(inputs // 2))

    def standardise(self, train: Sequences) -> None:
        """Compute the scales of the observed values in the training part."""
        values, observed = train.inputs.double().chunk(2, -1)
        count = observed.sum((0, 1)).clamp_min(1)
        mean = (values * observed).sum((0, 1)) / count
        deviation = ((values - mean).square() * observed).sum((0, 1)).div(count).sqrt()
        self.mean.copy_(mean)
        self.deviation.copy_(torch.where(deviation > 0, deviation, 1.0))

    def forward(
        self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None, state: State | None = None
    ) -> tuple[Tensor, State]:
        values, observed = inputs.chunk(2, -1)
        scaled = torch.cat([(values - self.mean) / self.deviation, observed], -1)
        return super().forward(scaled, timespans, lengths, state)


def _mixed(inputs: int, units: int, sparsity: float, forget_bias: float = 1.0, **layer: Any) -> Network:
    cfc = CfC(inputs, units, mixed_memory=True, **layer)
    assert cfc.lstm is not None
    with torch.no_grad():  # the cell adds 1 to its forget gate
        cfc.lstm.input_map.bias[2 * units : 3 * units] += forget_bias - 1
    return Liquid(cfc)


def _lstm(inputs: int, units: int, sparsity: float) -> Network:
    """Forget gates start open, as in the papers' TensorFlow (Jozefowicz et al., 2015)."""
    gated = Gated("lstm", inputs, units)
    with torch.no_grad():
        gated.rnn.bias_ih_l0[units : 2 * units] += 1
    return gated


MAKERS: dict[str, Callable[..., Network]] = {
    "LTC": _ltc,
    "CfC": _layer(CfC),
    "CfC no gate": _layer(CfC),
    "CfC pure": _layer(CfC),
    "CfC-mm": _mixed,
    "LTC on NCP": _on_ncp(partial(LTC, output_mapping=None)),
    "CfC on NCP": _on_ncp(CfC),
    "CT-RNN": _layer(CTRNN),
    "CT-GRU": _layer(CTGRU),
    "LrcSSM": _layer(partial(LrcSSM, block=True)),
    "Neural ODE": _layer(partial(NeuralODE, update=None)),
    "ODE-RNN": _layer(NeuralODE),
    "ODE-LSTM": _layer(ODELSTM),
    "GRU-D": lambda inputs, units, sparsity: Missing(inputs, units),
    "State space": lambda inputs, units, sparsity, **layer: StateSpace(inputs, units, **layer),
    "Neural CDE": lambda inputs, units, sparsity, **layer: NeuralCDE(inputs, units, **layer),
    "LSTM": _lstm,
    "GRU": lambda inputs, units, sparsity: Gated("gru", inputs, units),
}

WIRED = {"LTC", "LTC on NCP", "CfC on NCP"}
"""Contenders whose wiring makes them sparse; an NCP always is, by half."""


class TableModel(nn.Module):
    """A network of a table. It returns outputs for every sample, or for the last one if sequences have one label.

    Weights are drawn from torch's global generator.
    """

    def __init__(self, protocol: Protocol, name: str, inputs: int, outputs: int, per_sequence: bool) -> None:
        super().__init__()
        setting = protocol.settings[name]
        self.network = MAKERS[name](inputs, setting.units, protocol.sparsity, **setting.layer)
        if setting.gain:
            for parameter in self.network.parameters():
                if parameter.dim() == 2:
                    nn.init.xavier_uniform_(parameter, setting.gain)
        self.readout = nn.Linear(self.network.output_size, outputs)
        self.span, self.per_sequence = setting.span, per_sequence
        # The sparsity of a wired network is that of its wiring.
        sparse = protocol.sparsity and name not in WIRED
        self.sparse = [name for name, p in self.network.named_parameters() if p.dim() == 2] if sparse else []
        for i, name in enumerate(self.sparse):
            matrix = self.network.get_parameter(name)
            mask = (torch.rand(matrix.shape) >= protocol.sparsity).to(matrix)
            self.register_buffer(f"mask_{i}", mask, persistent=False)
        self.mask()

    @property
    def masks(self) -> list[tuple[Tensor, Tensor]]:
        """The matrices that are sparse, each with its mask."""
        return [(self.network.get_parameter(name), self.get_buffer(f"mask_{i}")) for i, name in enumerate(self.sparse)]

    @torch.no_grad()
    def mask(self) -> None:
        """Set the masked weights to zero again."""
        for parameter, mask in self.masks:
            parameter.mul_(mask)

    def forward(self, inputs: Tensor, timespans: Tensor, lengths: Tensor | None = None) -> Tensor:
        features, _ = self.network(inputs, self.span * timespans, lengths)
        if self.per_sequence:
            features = at_last(features, lengths)
        out: Tensor = self.readout(features)
        return out

    def live_parameters(self) -> int:
        """Number of weights that are not masked."""
        hidden = sum(int((mask == 0).sum()) for _, mask in self.masks)
        return self.network.live_parameters() + sum(p.numel() for p in self.readout.parameters()) - hidden
