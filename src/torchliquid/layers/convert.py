"""Converts networks of ``ncps.torch`` (1.0.1), with the same outputs and gradients."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from torchliquid.errors import InputError
from torchliquid.layers.cfc import CfC, CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTC, LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.wirings import NCP, AutoNCP, FullyConnected, Random, Wiring

ACTIVATIONS = {"LeCun": "lecun_tanh", "Tanh": "tanh", "ReLU": "relu", "SiLU": "silu", "GELU": "gelu"}


def from_ncps(module: nn.Module) -> LTC | LTCCell | CfC | CfCCell | WiredCfCCell:
    """Convert an ``LTC``, ``LTCCell``, ``CfC``, ``CfCCell`` or ``WiredCfCCell`` of ``ncps.torch``.

    Outputs and gradients are the same, except where ncps is wrong: for a batch of sequences, each with its own
    ``timespans``; for a wired CfC with fewer outputs than its last layer has neurons (ncps returns the whole layer);
    and for dropout in training after the first hidden layer (ncps has none there).

    Returns:
        A new module in the same mode, dtype and on the same device. The given module is not changed.

    Raises:
        InputError: the module is of another class.
    """
    from ncps import torch as peer

    with torch.no_grad():
        match module:
            case peer.LTC():
                ours: Any = _ltc(module)
            case peer.LTCCell():
                ours = _ltc_cell(module)
            case peer.CfC():
                ours = _cfc(module)
            case peer.CfCCell():
                ours = _cfc_cell(module)
            case peer.WiredCfCCell():
                ours = WiredCfCCell(None, _wiring(module._wiring), _mode(module))
                _like(ours, module)
                _copy_wired(module, ours)
            case _:
                raise InputError(
                    "from_ncps takes an LTC, LTCCell, CfC, CfCCell or WiredCfCCell of ncps.torch, "
                    f"not a {type(module).__module__}.{type(module).__name__}"
                )
    ours.train(module.training)
    return ours


def _ltc(module: Any) -> LTC:
    cell = module.rnn_cell
    ours = LTC(
        module.input_size,
        _wiring(cell._wiring),
        module.return_sequences,
        module.batch_first,
        module.use_mixed,
        **_ltc_options(cell),
    )
    _like(ours, module)
    _copy_ltc(cell, ours.rnn_cell)
    _copy_memory(module, ours.lstm)
    return ours


def _ltc_cell(cell: Any) -> LTCCell:
    ours = LTCCell(_wiring(cell._wiring), None, **_ltc_options(cell))
    _like(ours, cell)
    _copy_ltc(cell, ours)
    return ours


def _ltc_options(cell: Any) -> dict[str, Any]:
    return {
        "input_mapping": cell._input_mapping,
        "output_mapping": cell._output_mapping,
        "ode_unfolds": cell._ode_unfolds,
        "epsilon": cell._epsilon,
        "implicit_param_constraints": cell._implicit_param_constraints,
    }


def _copy_ltc(cell: Any, ours: Any) -> None:
    """Matrices (source, target) become vectors of the synapses that exist; all others have the same name and shape."""
    for name, parameter in ours.named_parameters():
        theirs: Tensor = getattr(cell, name)
        trained = theirs.requires_grad
        if theirs.dim() == 2:
            pre, post = ours.sensory_index if name.startswith("sensory_") else ours.synapse_index
            theirs = theirs[pre, post]
        _take(parameter, theirs, trained)


def _take(ours: nn.Parameter, theirs: Tensor, trained: bool | None = None) -> None:
    """Copy the values, and whether they are trained."""
    ours.copy_(theirs.reshape(ours.shape))
    ours.requires_grad_(theirs.requires_grad if trained is None else trained)


def _take_all(ours: nn.Module, theirs: nn.Module) -> None:
    for name, parameter in ours.named_parameters():
        _take(parameter, theirs.get_parameter(name))


def _cfc(module: Any) -> CfC:
    cell, wired = module.rnn_cell, hasattr(module, "wired_mode")
    options = {} if wired else _backbone(cell)
    if not wired:
        options["activation"] = options.pop("backbone_activation")
    ours = CfC(
        module.input_size,
        _wiring(module.wiring) if wired else module.state_size,
        module.proj_size,
        module.return_sequences,
        module.batch_first,
        module.use_mixed,
        _mode(cell),
        **options,
    )
    _like(ours, module)
    if wired:
        _copy_wired(cell, ours.rnn_cell)
    else:
        _copy_cfc(cell, ours.rnn_cell)
    _copy_memory(module, ours.lstm)
    _take_all(ours.fc, module.fc)
    return ours


def _cfc_cell(cell: Any) -> CfCCell:
    mask = None if cell.sparsity_mask is None else cell.sparsity_mask.T.cpu().numpy()
    ours = CfCCell(cell.input_size, cell.hidden_size, cell.mode, **_backbone(cell), sparsity_mask=mask)
    _like(ours, cell)
    _copy_cfc(cell, ours)
    return ours


def _backbone(cell: Any) -> dict[str, Any]:
    parts = list(cell.backbone) if cell.backbone_layers else []
    dropout = [part.p for part in parts if isinstance(part, nn.Dropout)]
    return {
        "backbone_activation": ACTIVATIONS[type(parts[1]).__name__] if parts else "lecun_tanh",
        "backbone_units": parts[0].out_features if parts else 128,
        "backbone_layers": cell.backbone_layers,
        "backbone_dropout": dropout[0] if dropout else 0.0,
    }


def _copy_cfc(cell: Any, ours: Any) -> None:
    linear = [part for part in cell.backbone if isinstance(part, nn.Linear)] if cell.backbone_layers else []
    for mine, theirs in zip(ours.backbone, linear, strict=True):
        _take_all(mine, theirs)
    for name, parameter in ours.named_parameters():
        if not name.startswith("backbone."):
            _take(parameter, cell.get_parameter(name))


def _copy_wired(cell: Any, ours: Any) -> None:
    for mine, theirs in zip(ours.cells, cell._layers, strict=True):
        _copy_cfc(theirs, mine)


def _copy_memory(module: Any, memory: MemoryCell | None) -> None:
    if memory is not None:
        _take_all(memory, module.lstm)


def _mode(cell: Any) -> str:
    mode: str = cell._layers[0].mode if hasattr(cell, "_layers") else cell.mode
    return mode


def _like(ours: nn.Module, theirs: nn.Module) -> None:
    ours.to(next(p for p in theirs.parameters() if p.is_floating_point()))


def _wiring(wiring: Any) -> Wiring:
    """Our wiring of the same class, with the same synapses."""
    ours: Wiring
    match type(wiring).__name__:
        case "AutoNCP":
            ours = AutoNCP(wiring.units, wiring._output_size, wiring._sparsity_level, wiring._seed)
        case "NCP":
            ours = NCP(
                wiring._num_inter_neurons,
                wiring._num_command_neurons,
                wiring._num_motor_neurons,
                wiring._sensory_fanout,
                wiring._inter_fanout,
                wiring._recurrent_command_synapses,
                wiring._motor_fanin,
                seed=None,  # ncps forgets it
            )
        case "FullyConnected":
            ours = FullyConnected(wiring.units, wiring.output_dim, wiring._erev_init_seed, wiring.self_connections)
        case "Random":
            ours = Random(wiring.units, wiring.output_dim, wiring.sparsity_level, wiring._random_seed)
        case name if wiring.num_layers == 1:
            ours = Wiring(wiring.units)
        case name:
            raise InputError(f"from_ncps does not know the layers of the wiring class {name}")
    ours.set_input_dim(wiring.input_dim)
    ours.set_output_dim(wiring.output_dim)
    ours.adjacency_matrix = np.sign(wiring.adjacency_matrix).astype(np.int32)
    ours.sensory_adjacency_matrix = np.sign(wiring.sensory_adjacency_matrix).astype(np.int32)
    return ours
