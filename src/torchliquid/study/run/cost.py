"""The costs of models on equal terms: each as it would be stored and computed best on the same device.

All is as the exporter packs it in single precision: a network's weights; a tree's splits, with equal ones stored once,
and its leaves; a linear model's coefficients, with the scales folded in; and the samples that both look back at.
Operations are those of one sample: additions, multiplications and comparisons count one, a function such as tanh ten.
They are counted from the model's structure, so that no machine and no version of another library has a say in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from torchliquid.edge.generate import counted
from torchliquid.edge.plausible import plausible
from torchliquid.edge.table import fields, stored
from torchliquid.edge.tabular import Table
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.memory import MemoryCell
from torchliquid.layers.mixture import MixtureCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models import Model
from torchliquid.models.minirocket import KERNELS, LENGTH, MiniRocket
from torchliquid.models.naive import Naive
from torchliquid.models.networks import Encoder, Network, Transformer
from torchliquid.models.plain import Plain
from torchliquid.models.state_space import StateSpace
from torchliquid.models.tabular import Tabular

FLOAT = 4
FUNCTION = 10
"""Operations of an exponential, a sigmoid or a tanh."""

SYNAPSE = 6 + FUNCTION
"""w sigmoid(sigma (v - mu)), times the reversal potential, added to two sums."""

GATES = 4
"""Approximate number of functions per unit of a gated or liquid cell."""

FEATURE = 4
"""Number of operations that update one statistic of a window."""

STAGES: Mapping[str, int] = {"rk4": 4}


@dataclass(frozen=True)
class Cost:
    """Bytes of constants, bytes of the state between two samples, operations per sample."""

    bytes: int
    state_bytes: int
    operations: float


def cost(model: Model | Plain) -> Cost:
    """Counted from the model's structure."""
    if isinstance(model, Naive):
        return Cost(FLOAT * model.live_parameters(), 0, 0.0)
    if isinstance(model, MiniRocket):
        return _of_rocket(model)
    return _of_table(model) if isinstance(model, Tabular) else _of_network(model)


def _of_table(model: Tabular) -> Cost:
    table = Table(model, plausible(model.preprocessing))
    size = sum(array.nbytes for array in stored(table)[0].values())
    state = sum(field.size for field in fields(table)[1:]) - sum(field.size for field in counted(table))
    weights = 0 if model.linear is None else table.raw * (table.own.size + table.past.size)
    work = FEATURE * table.own.size + 2.0 * weights
    if (trees := model.trees) is not None:
        work += 2 * trees.comparisons() + trees.roots.size
    return Cost(size, state, work)


def _of_rocket(model: MiniRocket) -> Cost:
    """With each kernel's sum made once a sample, from the last ones, and a count kept of each bias it exceeds."""
    kernels, inputs = model.kernels, model.preprocessing.n_inputs
    counts, sums = kernels.bias.size, len(kernels.dilation) * KERNELS
    state = FLOAT * ((LENGTH - 1) * int(kernels.dilation.max()) * inputs + counts)
    work = int(kernels.channels.sum()) + LENGTH * sums + 2 * counts + 2.0 * model.linear.numbers
    return Cost(FLOAT * model.live_parameters() + int(kernels.channels.size) // 8, state, work)


def _of_network(model: Model) -> Cost:
    network, device = model.network, model.readout.weight.device
    with torch.no_grad():
        one = torch.ones(1, 1, device=device)
        _, state = model(one.unsqueeze(2).expand(1, 1, model.preprocessing.n_inputs), one)
    operations = sum(_of_part(model, part) for part in network.chain)
    readout = 2 * sum(p.numel() for p in model.readout.parameters())
    stored = FLOAT * model.live_parameters()
    return Cost(stored, FLOAT * sum(s.numel() for s in state), float(operations + readout))


def _of_part(model: Model, network: Network) -> float:
    weights = network.live_parameters()
    repeats = int(model.config.get("unfolds", 1)) * STAGES.get(str(model.config.get("solver")), 1)
    cell = next(iter(network.cells), None)
    if isinstance(cell, MixtureCell):
        router, *experts = (_of_layer(part) for part in cell.parts)
        gate = 2 * cell.gate.weight.numel() + FUNCTION * len(experts)
        operations = router + gate + sum(sorted(experts)[-cell.top_k :])  # of the step that costs most
    elif isinstance(cell, LTCCell):
        operations = _of_synapses(cell, repeats)
        memory = [part for part in network.modules() if isinstance(part, MemoryCell)]
        operations += sum(2 * p.numel() for part in memory for p in part.parameters())
        operations += 5 * FUNCTION * cell.state_size * len(memory)
    elif isinstance(network, Transformer):
        seen = network.context * len(network.layers)
        operations = 2 * weights + seen * (4 * network.output_size + FUNCTION * int(model.config["heads"]))
    elif isinstance(network, StateSpace):
        modes = len(network.layers) * network.states * network.output_size
        operations = (
            2 * weights + (12 + 2 * FUNCTION) * modes + 3 * FUNCTION * network.output_size * len(network.layers)
        )
    elif isinstance(network, Encoder):
        operations = 2 * weights + FUNCTION * network.output_size
    else:
        units = int(model.config["units"]) + int(model.config.get("backbone_units", 0))
        operations = repeats * (2 * weights + FUNCTION * GATES * units)
    return operations


def _of_synapses(cell: LTCCell, repeats: int) -> float:
    synapses = len(cell.sensory_w) + repeats * len(cell.w)
    return SYNAPSE * synapses + FUNCTION * repeats * cell.state_size


def _of_layer(layer: RecurrentLayer) -> float:
    """Of a router or an expert of a mixture."""
    if isinstance(layer.rnn_cell, LTCCell):
        return _of_synapses(layer.rnn_cell, layer.rnn_cell.ode_unfolds)
    hidden = sum(int(one.out_features) for one in getattr(layer.rnn_cell, "backbone", ()))
    return 2 * layer.live_parameters() + FUNCTION * GATES * (layer.state_size + hidden)
