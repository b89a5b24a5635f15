"""How large a network's inner values get on its training sample: what int8 needs to know."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch

from torchliquid.edge.network import Cfc, Network
from torchliquid.edge.parity import Walk
from torchliquid.kernels.reference import ACTIVATIONS
from torchliquid.models import Model
from torchliquid.models.networks import Liquid, with_spans


@dataclass
class Ranges:
    """Largest sizes seen.

    Attributes:
        features: (F,) of each value that the network is fed.
        hidden, drive: of each backbone layer after and before its activation.
        gate: of a CfC's time gate a; 0 in mode pure.
        head: of f in mode pure.
        state, cell: of the states.
    """

    features: np.ndarray
    state: float
    cell: float
    hidden: list[float] = field(default_factory=list)
    drive: list[float] = field(default_factory=list)
    gate: float = 0.0
    head: float = 0.0


@torch.no_grad()
def ranges(model: Model, network: Network, walked: Walk) -> Ranges:
    """Measure them, the state before each sample being PyTorch's own."""
    x, spans = _features(model, network, walked)
    if network.with_span:
        x = with_spans(x, spans)
    before = torch.from_numpy(np.where(walked.anew[:, None], 0, np.roll(walked.hidden, 1, 0)))
    found = Ranges(np.abs(x.numpy()).max(0, initial=0.0), _largest(walked.hidden), _largest(walked.cell))
    core = network.core
    if network.memory is not None:
        assert isinstance(model.network, Liquid)
        assert model.network.layer.lstm is not None
        cell = torch.from_numpy(np.where(walked.anew[:, None], 0, np.roll(walked.cell, 1, 0)))
        before, _ = model.network.layer.lstm(x, (before, cell))
        found.state = max(found.state, 1.0)
    if not isinstance(core, Cfc):
        return found
    z, at = x.double(), 0
    for layer in core.layers:
        own = slice(at, at + layer.units)
        z = torch.cat([z, before[:, own].double()], 1)
        for dense in core.backbone:
            drive = z @ torch.from_numpy(dense.weight).T + torch.from_numpy(dense.bias)
            z = ACTIVATIONS[core.activation](drive)
            found.drive.append(_largest(drive))
            found.hidden.append(_largest(z))
        heads = z @ torch.from_numpy(layer.heads.weight).T + torch.from_numpy(layer.heads.bias)
        if core.mode == "pure":
            found.head = max(found.head, _largest(heads))
        else:
            found.gate = max(found.gate, _largest(heads[:, 2 * layer.units : 3 * layer.units]))
        z, at = torch.from_numpy(walked.hidden[:, own]).double(), at + layer.units
    return found


def _features(model: Model, network: Network, walked: Walk) -> tuple[torch.Tensor, torch.Tensor]:
    rule = model.preprocessing
    hold, rows, spans = rule.start(), [], []
    inputs, times = network.limits.cleaned(walked.inputs, walked.elapsed)
    for values, elapsed, anew in zip(inputs, times, walked.anew, strict=True):
        hold = rule.start() if anew else hold
        x, span = rule.step(hold, values.astype(np.float64), float(elapsed))
        rows.append(x)
        spans.append(span)
    return torch.from_numpy(np.stack(rows)), torch.tensor(spans)


def _largest(values: torch.Tensor | np.ndarray) -> float:
    return float(np.abs(np.asarray(values)).max(initial=0.0))
