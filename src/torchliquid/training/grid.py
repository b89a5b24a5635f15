"""Quantisation-aware training: weights are rounded to the grid of an int8 export, while training updates exact ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from torchliquid.layers.cfc import CfCCell
from torchliquid.layers.lrcssm import LrcSSMCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.models.model import Model

LARGEST = 127.0


@contextmanager
def on_int8_grid(model: Model) -> Iterator[None]:
    """Inside the block the weights are those that int8 holds exactly: for each row, or for each neuron's synapses, the
    nearest multiples of a 127th of the largest weight. Afterwards the exact weights return, so that small steps add up.

    Gradients taken inside are applied outside (the straight-through estimator, arXiv 1308.3432).
    """
    held = [parameter.detach().clone() for parameter in model.parameters()]
    with torch.no_grad():
        _snap(model)
    try:
        yield
    finally:
        with torch.no_grad():
            for parameter, before in zip(model.parameters(), held, strict=True):
                parameter.copy_(before)


def _snap(module: nn.Module) -> None:
    if isinstance(module, LTCCell):
        _synapses(module)
    elif isinstance(module, nn.LSTM):
        _rows(*module.all_weights[0][:2])
    elif isinstance(module, nn.GRU):
        inputs, states, *_ = module.all_weights[0]
        gates = 2 * module.hidden_size
        _rows(inputs[:gates], states[:gates])
        _rows(inputs[gates:])
        _rows(states[gates:])
    elif isinstance(module, MemoryCell):
        _rows(module.input_map.weight, module.recurrent_map.weight)
    elif isinstance(module, nn.Linear):
        _rows(module.weight)
    else:
        if isinstance(module, LrcSSMCell):
            _rows(module.sensory_w)
            _rows(module.sensory_k)
        if isinstance(module, CfCCell) and module.sparsity_mask is not None:
            for head in (module.ff1,) if module.mode == "pure" else (module.ff1, module.ff2):
                head.weight.mul_(module.sparsity_mask)  # a masked weight must not be a row's largest
        for child in module.children():
            _snap(child)


def _rows(*parts: Tensor) -> None:
    """Round matrices side by side."""
    unit = torch.stack([part.abs().amax(1) for part in parts]).amax(0).clamp_min(1e-9) / LARGEST
    for part in parts:
        part.copy_(_nearest(part, unit[:, None]))


def _synapses(cell: LTCCell) -> None:
    """Conductances are rounded by target neuron, slopes to powers of two, as the C shifts them, and reversal potentials
    to one common unit."""
    sensory, between = cell.sensory_index, cell.synapse_index
    largest = torch.zeros_like(cell.gleak)
    for name, index in (("sensory_w", sensory), ("w", between)):
        largest.scatter_reduce_(0, index[1], cell.positive(name), "amax")
    reversal = torch.cat([cell.sensory_erev, cell.erev]).abs().max().clamp_min(1e-3)
    for prefix, index in (("sensory_", sensory), ("", between)):
        unit = (largest.clamp_min(1e-6) / LARGEST)[index[1]]
        conductance = _nearest(cell.positive(f"{prefix}w"), unit)
        if cell.implicit_param_constraints:  # softplus undone; -20 is nearly nothing
            conductance = (conductance + torch.log(-torch.expm1(-conductance))).clamp_min(-20.0)
        getattr(cell, f"{prefix}w").copy_(conductance)
        sigma, erev = getattr(cell, f"{prefix}sigma"), getattr(cell, f"{prefix}erev")
        gain = cell.input_w[index[0]] if prefix and cell.input_w is not None else torch.ones_like(sigma)
        steepest = torch.full_like(cell.gleak, 1e-3).scatter_reduce_(0, index[1], (sigma * gain).abs(), "amax")
        sigma.copy_(_nearest(sigma * gain, _power(steepest)[index[1]]) / gain)
        erev.copy_(_nearest(erev, _power(reversal)).clamp(-reversal, reversal))


def _nearest(values: Tensor, unit: Tensor) -> Tensor:
    return (values / unit).round() * unit


def _power(largest: Tensor) -> Tensor:
    """The smallest power of two of which 127 multiples reach this."""
    return torch.exp2(-torch.floor(torch.log2(LARGEST / largest)))
