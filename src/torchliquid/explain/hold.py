"""A model with one neuron held at a constant value, like a voltage clamp."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from torchliquid.errors import InputError
from torchliquid.explain.neurons import liquid_layers, plain_layers
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.models.model import Model

CLAMP = 1e9
"""Leak conductance of a clamped LTC neuron: with it, one solver step reaches the leak's potential."""


@torch.no_grad()
def hold(model: Model, neuron: int, value: float) -> Model:
    """A copy of a model in which a neuron's state is ``value`` after every sample and, for an LTC, after every solver
    step. So the neuron passes no information to the readout or to other neurons.

    Only weights of the copy change: the leak of an LTC's neuron, or the heads of a CfC's. Other cells are stopped after
    each sample.

    Raises:
        InputError: the model has no liquid neurons, or is an LTC with a solver other than ``fused``, the only one that
            is stable with such a large leak.
    """
    twin = copy.deepcopy(model)
    for _, layer in (own for each in liquid_layers(twin) for own in plain_layers(each)):
        cell = layer.rnn_cell
        if neuron < cell.state_size:
            break
        neuron -= cell.state_size
    if isinstance(cell, LTCCell):
        if cell.solver != "fused":
            raise InputError(f"no neuron can be held with the solver {cell.solver!r}; roles are for solver 'fused'")
        cell.gleak[neuron] = CLAMP
        cell.vleak[neuron] = value
        return twin
    if not isinstance(cell, CfCCell | WiredCfCCell):
        cell.recur = _clamped(cell.recur, neuron, value)  # type: ignore[method-assign]
        return twin
    for one in cell.cells if isinstance(cell, WiredCfCCell) else [cell]:
        if neuron < one.hidden_size:
            _hold(one, neuron, value)
            break
        neuron -= one.hidden_size
    return twin


def _clamped(recur: Callable[..., tuple[Tensor, Tensor]], neuron: int, value: float) -> Callable[..., Any]:
    """A cell's ``recur``, with the neuron set to the value after each sample."""

    def held(
        inputs: Tensor,
        spans: Tensor,
        state: Tensor,
        lengths: Tensor | None = None,
        memory: Any = None,
        cell: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        states, cells = [], []
        for t in range(inputs.shape[1]):
            now = slice(t, t + 1)
            left = None if lengths is None else (lengths - t).clamp(0, 1)
            restart = None if reset is None else reset[:, now]
            after, remembered = recur(inputs[:, now], spans[:, now], state, left, memory, cell, restart)
            state = after[:, 0].clone()
            state[:, neuron] = value
            states.append(state)
            cells.append(remembered)
            cell = None if cell is None else remembered[:, 0]
        return torch.stack(states, 1), torch.cat(cells, 1)

    return held


def _hold(cell: CfCCell, neuron: int, value: float) -> None:
    cell.ff1.weight[neuron] = 0.0
    if cell.mode == "pure":  # A - A exp(...) f with f = 0
        cell.ff1.bias[neuron] = 0.0
        cell.A[neuron] = value
        return
    cell.ff2.weight[neuron] = 0.0
    if cell.mode == "no_gate":  # tanh(f) + s tanh(g) with s = 1 and half of the value from each
        value /= 2
        cell.time_a.weight[neuron], cell.time_a.bias[neuron] = 0.0, 0.0
        cell.time_b.weight[neuron], cell.time_b.bias[neuron] = 0.0, 50.0
    bias = float(np.arctanh(np.clip(value, -1 + 1e-7, 1 - 1e-7)))
    cell.ff1.bias[neuron], cell.ff2.bias[neuron] = bias, bias
