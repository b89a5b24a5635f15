"""Networks as compiled steppers: one sample at a time without a tensor on the way."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid import kernels
from torchliquid.data.preprocessing import LIMIT
from torchliquid.errors import InputError
from torchliquid.layers import CfC
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model
from torchliquid.models.networks import Gated, Liquid

Parts = tuple[np.ndarray, ...]


def compiled(module: nn.Module, parts: Parts, held: np.ndarray | None = None, started: np.ndarray | None = None) -> Any:
    """A stepper over copies of the module's weights that keeps its state in the given arrays; None where there is none.

    Args:
        module: a :class:`Model`, or a bare layer.
        parts: (n, ...) each, as the module's own state: float32, and float64 the sums of a task per series.
        held, started: of a model's preprocessing, (n, C) float64 and (n,) bool.
    """
    if kernels.chosen(()) is not kernels.native:
        return None
    core, layer = import_module("torchliquid._native"), module
    options: dict[str, Any] = {}
    if isinstance(module, Model):
        network = module.network
        if not isinstance(network, Liquid | Gated):
            return None
        layer = network.layer if isinstance(network, Liquid) else network.rnn
        options = _around(core, module, parts, held, started)
    made = _recurrence(core, layer)
    h, c = parts[0], parts[1] if _has_cell(layer) else None
    return None if made is None else core.Stepper(**made, **options, h=h, c=c, threads=torch.get_num_threads())


def _around(
    core: Any, model: Model, parts: Parts, held: np.ndarray | None, started: np.ndarray | None
) -> dict[str, Any]:
    rule, task = model.preprocessing, model.task
    total, count = (None, None) if task.per == "step" else parts[-2:]
    scale = [np.array(v, dtype=np.float64) if task.kind == "regression" else None for v in (task.mean, task.std)]
    last = [task.column, task.change] if task.change else []
    front = [rule.mean.astype(np.float64), rule.unit.astype(np.float64), rule.time_scale, LIMIT, rule.with_mask]
    return {
        "front": core.Front(*front, held, started, *([rule.untold] if rule.untold.any() else [])),
        "back": core.Back(_linear(core, model.readout), total, count, *scale, *last),
        "span_input": isinstance(model.network, Gated),
    }


def _has_cell(layer: nn.Module) -> bool:
    return isinstance(layer, nn.LSTM) or getattr(layer, "lstm", None) is not None


def _recurrence(core: Any, layer: nn.Module) -> dict[str, Any] | None:
    if isinstance(layer, nn.LSTM | nn.GRU):
        if isinstance(layer, nn.LSTM) and layer.proj_size:
            return None
        gated = core.Gated(*_gates(layer), isinstance(layer, nn.LSTM))
        return {"recurrence": gated, "first_feature": 0, "features": layer.hidden_size}
    assert isinstance(layer, RecurrentLayer)
    try:
        layer.read_weights()
    except InputError:
        return None  # PyTorch's own steps call what is there
    sizes = (torch.zeros(0, 0, layer.input_size), torch.zeros(0, 0), torch.zeros(0, layer.state_size))
    sequence = core.Sequence(*map(_copy, sizes), None, None, None, None)
    cell = layer.rnn_cell
    if isinstance(cell, LTCCell):
        if cell.solver != "fused":
            return None
        made = _ltc(core, sequence, cell)
    elif isinstance(cell, CfCCell | WiredCfCCell):
        made = _cfc(core, sequence, cell)
    else:
        return None
    if isinstance(layer, CfC) and isinstance(layer.fc, nn.Linear):
        made["projection"] = _linear(core, layer.fc)
    if layer.lstm is not None:
        made["memory"] = core.Gated(*_memory_gates(layer.lstm), True)
    return made


def _ltc(core: Any, sequence: Any, cell: LTCCell) -> dict[str, Any]:
    leak, synapses, sensory = _copies(*cell.leak()), _copies(*cell.synapses()), _copies(*cell.sensory_synapses())
    index, sensory_index = _copies(cell.synapse_index, cell.sensory_index)
    solver = (cell.ode_unfolds, cell.epsilon)
    return {
        "recurrence": core.Ltc(sequence, leak, synapses, index, sensory, sensory_index, *solver),
        "first_feature": 0,
        "features": cell.output_size,
        "input_map": _elementwise(cell.input_w, cell.input_b, cell.input_size),
        "output_map": _elementwise(cell.output_w, cell.output_b, cell.output_size),
    }


def _cfc(core: Any, sequence: Any, cell: CfCCell | WiredCfCCell) -> dict[str, Any]:
    cells = cell.cells if isinstance(cell, WiredCfCCell) else [cell]
    first, sizes = cells[0], [one.hidden_size for one in cells]
    backbone = _copies(*first.backbone_tensors())
    heads = _copies(*(tensor for one in cells for tensor in one.head_tensors()))
    return {
        "recurrence": core.Cfc(sequence, backbone, heads, sizes, first.mode, first.activation, []),
        "first_feature": cell.state_size - sizes[-1],
        "features": cell.output_size,
    }


def _gates(layer: nn.LSTM | nn.GRU) -> tuple[np.ndarray, np.ndarray]:
    """One matrix for inputs and state side by side. The GRU's new state weighs its two shares apart: four gates."""
    w_in, w_state = (layer.get_parameter(name).detach() for name in ("weight_ih_l0", "weight_hh_l0"))
    zeros = torch.zeros(len(w_in))
    names = ("bias_ih_l0", "bias_hh_l0")
    b_in, b_state = (layer.get_parameter(name).detach() for name in names) if layer.bias else (zeros, zeros)
    if isinstance(layer, nn.LSTM):
        return _copy(torch.cat([w_in, w_state], 1)), _copy(b_in + b_state)
    n = 2 * layer.hidden_size
    rows = [torch.cat([w_in[:n], w_state[:n]], 1)]
    rows.append(torch.cat([w_in[n:], torch.zeros_like(w_state[n:])], 1))
    rows.append(torch.cat([torch.zeros_like(w_in[n:]), w_state[n:]], 1))
    return _copy(torch.cat(rows)), _copy(torch.cat([b_in[:n] + b_state[:n], b_in[n:], b_state[n:]]))


def _memory_gates(memory: MemoryCell) -> tuple[np.ndarray, np.ndarray]:
    """The memory cell as an LSTM, whose gates stand in another order and add nothing to the forget gate."""
    weight = torch.cat([memory.input_map.weight, memory.recurrent_map.weight], 1)
    value, let, keep, out = weight.chunk(4)
    value_bias, let_bias, keep_bias, out_bias = memory.input_map.bias.chunk(4)
    return _copy(torch.cat([let, keep, value, out])), _copy(torch.cat([let_bias, keep_bias + 1, value_bias, out_bias]))


def _elementwise(weight: Tensor | None, bias: Tensor | None, size: int) -> list[np.ndarray] | None:
    if weight is None and bias is None:
        return None
    return [_copy(torch.ones(size) if weight is None else weight), _copy(torch.zeros(size) if bias is None else bias)]


def _linear(core: Any, layer: nn.Linear) -> Any:
    return core.Linear(_copy(layer.weight), _copy(layer.bias))


def _copies(*tensors: Any) -> list[np.ndarray]:
    return [_copy(tensor) for tensor in tensors]


def _copy(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().clone(memory_format=torch.contiguous_format).numpy()
    return array
