"""The neurons of a liquid model and what each went through along a recording: what every analysis starts from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np
import torch

from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.layers.cfc import CfCCell, WiredCfCCell
from torchliquid.layers.ltc import LTCCell
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model, aligned, evaluating
from torchliquid.models.networks import Liquid

LIQUID_KINDS = ("ltc", "ltc_ncp", "cfc", "cfc_ncp")

MANY_SERIES = 20
"""From this many series on, a long recording is thinned out by series; a shorter one is cut in time."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """What went into the neurons and what became of them, the state carried as in use.

    Attributes:
        recording: the used part, with the model's channels alone.
        inputs: for each series (T, n_inputs) float32, scaled.
        spans: for each series (T,) float32, in units of the model's time scale.
        states: for each series (T, H) float32, after each sample.
        cells: for each series (T, H), the memory's cell state after each sample; None without a memory.
    """

    recording: Recording
    inputs: tuple[np.ndarray, ...]
    spans: tuple[np.ndarray, ...]
    states: tuple[np.ndarray, ...]
    cells: tuple[np.ndarray, ...] | None


def liquid_layer(model: Model) -> RecurrentLayer:
    """The liquid layer of a model.

    Raises:
        InputError: it has none.
    """
    if not isinstance(model, Model):
        raise InputError(f"a trained torchliquid Model can be explained, not {type(model).__name__}")
    layer = model.network.layer if isinstance(model.network, Liquid) else None
    if layer is None or not isinstance(layer.rnn_cell, LTCCell | CfCCell | WiredCfCCell):
        raise InputError(
            f"a model of kind {model.kind!r} has no liquid neurons to explain; train {', '.join(LIQUID_KINDS)}"
        )
    return layer


def neuron_kinds(model: Model) -> tuple[str, ...]:
    """The kind of each of the H neurons in the order of the state: inter, command or motor where a wiring tells them
    apart, else neuron."""
    layer = liquid_layer(model)
    wiring = layer.wiring
    if wiring is None:
        return ("neuron",) * layer.state_size
    ids = list(range(wiring.units))
    if isinstance(layer.rnn_cell, WiredCfCCell):  # its state holds one layer after the other
        ids = [i for at in range(wiring.num_layers) for i in wiring.get_neurons_of_layer(at)]
    kinds = tuple(wiring.get_type_of_neuron(i) for i in ids)
    return kinds if len(set(kinds)) > 1 else ("neuron",) * len(kinds)


def neuron_names(model: Model) -> tuple[str, ...]:
    """The name of each neuron in the order of the state: its kind and its number among them, from 1."""
    seen: dict[str, int] = {}
    names = []
    for kind in neuron_kinds(model):
        seen[kind] = seen.get(kind, 0) + 1
        names.append(f"{kind} {seen[kind]}")
    return tuple(names)


def input_names(model: Model) -> tuple[str, ...]:
    """The name of each of the network's inputs: the channels, then with a mask whether each was observed."""
    rule = model.preprocessing
    return rule.channels + (tuple(f"{c} observed" for c in rule.channels) if rule.with_mask else ())


def weights_hash(model: Model) -> str:
    """SHA-256 of all weights, by name, as they lie in memory."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def used_part(model: Model, recording: Recording, samples: int) -> Recording:
    """The part of a recording that an analysis looks at, with the model's channels alone.

    Of 20 or more series whole ones are taken, evenly over the recording, of fewer the beginning of each, so that there
    are about ``samples`` in all.

    Raises:
        InputError: nothing to look at, a channel is missing, times in another unit.
    """
    if not isinstance(recording, Recording):
        raise InputError(f"a Recording is needed, not {type(recording).__name__}; make one, as with Recording.read")
    if samples < 1:
        raise InputError(f"at least one sample is looked at, not {samples}")
    part = aligned(recording, model.preprocessing)
    part = replace(part, series=tuple(s for s in part.series if len(s)))
    total = part.n_samples
    if not total:
        raise InputError("the recording has no samples to explain a model on; give one that has")
    if total <= samples:
        return part
    share = samples / total
    if part.n_series >= MANY_SERIES:
        n = max(int(part.n_series * share), 1)
        return part.select(np.unique(np.linspace(0, part.n_series - 1, n).astype(int)).tolist())
    return replace(part, series=tuple(s.cut(0, max(int(len(s) * share), 1)) for s in part.series))


def follow(model: Model, recording: Recording, samples: int) -> Trajectory:
    """Run a model's liquid layer over a recording, the state carried through each series.

    Args:
        model: as it is; nothing of it changes.
        recording: with all of the model's channels.
        samples: at most about so many of it are used, see :func:`used_part`.

    Raises:
        InputError: as :func:`liquid_layer` and :func:`used_part`.
    """
    layer = liquid_layer(model)
    part = used_part(model, recording, samples)
    weight = next(layer.parameters())
    inputs, spans, states, cells = [], [], [], []
    with evaluating(model):
        for series in part.series:
            x, dt = model.preprocessing(series)
            zeros = weight.new_zeros(1, layer.state_size)
            after, memory = layer.rnn_cell.recur(
                torch.from_numpy(x).to(weight).unsqueeze(0),
                torch.from_numpy(dt).to(weight).unsqueeze(0),
                zeros,
                None,
                layer.lstm,
                None if layer.lstm is None else zeros,
            )
            inputs.append(x)
            spans.append(dt)
            states.append(after[0].cpu().numpy())
            cells.append(memory[0].cpu().numpy())
    kept = None if layer.lstm is None else tuple(cells)
    return Trajectory(part, tuple(inputs), tuple(spans), tuple(states), kept)
