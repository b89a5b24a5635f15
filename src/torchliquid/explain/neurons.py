"""The neurons of a liquid model and their states along a recording, used by all analyses."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from torchliquid.data.preprocessing import aligned
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.layers.cell import RecurrentCell
from torchliquid.layers.cfc import WiredCfCCell
from torchliquid.layers.mixture import MixtureOfLiquid
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.model import Model, evaluating
from torchliquid.models.networks import Encoder, Liquid, PictureEncoder

LIQUID_KINDS = ("ltc", "ltc_ncp", "cfc", "cfc_ncp")

MANY_SERIES = 20
"""Minimum number of series for which long recordings are reduced to some of the series. With fewer series, each is
cut."""


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Inputs and states of the neurons, with the state carried through each series.

    Attributes:
        recording: the part that is used, with the model's channels only.
        inputs: for each series (T, n_inputs) float32, scaled.
        spans: for each series (T,) float32, in units of the model's time scale.
        fed: for each series the inputs of each layer, (T, C) float32.
        states: for each series (T, S) float32, after each sample, layer by layer, with the clocks of a mixture.
        of_neurons: (S,) bool, which of the states are neurons'.
        cells: for each series (T, H), cell state of the memory after each sample; None without a memory.
    """

    recording: Recording
    inputs: tuple[np.ndarray, ...]
    spans: tuple[np.ndarray, ...]
    fed: tuple[tuple[np.ndarray, ...], ...]
    states: tuple[np.ndarray, ...]
    of_neurons: np.ndarray
    cells: tuple[np.ndarray, ...] | None


def liquid_layers(model: Model) -> tuple[RecurrentLayer, ...]:
    """The liquid layers of a model, and those of their relatives, in order.

    Raises:
        InputError: a layer is neither liquid nor dense.
    """
    if not isinstance(model, Model):
        raise InputError(f"only a trained torchliquid Model can be explained, not {type(model).__name__}")
    found = [network for network in model.network.chain if not isinstance(network, Encoder | PictureEncoder)]
    layers = [network.layer for network in found if isinstance(network, Liquid)]
    if not layers or len(layers) < len(found) or not all(isinstance(layer.rnn_cell, RecurrentCell) for layer in layers):
        raise InputError(
            f"a model of kind {model.kind!r} has no liquid neurons to explain; train {', '.join(LIQUID_KINDS)} "
            "or one of their relatives"
        )
    return tuple(layers)


def has_experts(model: Model) -> bool:
    """Whether a layer of a model is a mixture of experts."""
    return any(isinstance(part, MixtureOfLiquid) for part in model.modules())


def of_layers(layers: Sequence[RecurrentLayer]) -> list[slice]:
    """The indices of each layer's states among all states."""
    ends = np.cumsum([0, *(layer.state_size for layer in layers)]).tolist()
    return [slice(start, end) for start, end in pairwise(ends)]


def of_neurons(layers: Sequence[RecurrentLayer]) -> np.ndarray:
    """(S,) bool: which states of these layers are neurons'. The others are a mixture's clocks: times since a call."""
    found = []
    for layer in layers:
        if isinstance(layer, MixtureOfLiquid):
            found += [of_neurons(layer.rnn_cell.parts), np.zeros(len(layer.experts), dtype=bool)]
        else:
            found.append(np.ones(layer.state_size, dtype=bool))
    return np.concatenate(found)


def plain_layers(layer: RecurrentLayer, name: str = "") -> Iterator[tuple[str, RecurrentLayer]]:
    """The layer itself, or those that a mixture is made of, in the order of the state, each with what comes before its
    neurons' names."""
    if not isinstance(layer, MixtureOfLiquid):
        yield name, layer
        return
    names = ("router ", *(f"expert {k + 1} " for k in range(len(layer.experts))))
    for part, own in zip(layer.rnn_cell.parts, names, strict=True):
        yield from plain_layers(part, name + own)


def neuron_kinds(model: Model) -> tuple[str, ...]:
    """The kind of each of the H neurons in the order of the state: inter, command or motor if there is a wiring, else
    neuron."""
    return tuple(kind for layer in liquid_layers(model) for _, own in plain_layers(layer) for kind in _kinds(own))


def _kinds(layer: RecurrentLayer) -> tuple[str, ...]:
    wiring = layer.wiring
    if wiring is None:
        return ("neuron",) * layer.state_size
    ids = list(range(wiring.units))
    if isinstance(layer.rnn_cell, WiredCfCCell):  # its state contains one layer after the other
        ids = [i for at in range(wiring.num_layers) for i in wiring.get_neurons_of_layer(at)]
    kinds = tuple(wiring.get_type_of_neuron(i) for i in ids)
    return kinds if len(set(kinds)) > 1 else ("neuron",) * len(kinds)


def neuron_names(model: Model) -> tuple[str, ...]:
    """The name of each neuron in the order of the state: its kind and its number within it, from 1. With several layers
    the number of the layer comes first; in a mixture, whether it is the router's or which expert's."""
    layers = liquid_layers(model)
    names = []
    for i, layer in enumerate(layers):
        for front, own in plain_layers(layer, f"layer {i + 1} " if len(layers) > 1 else ""):
            seen: Counter[str] = Counter()
            for kind in _kinds(own):
                seen[kind] += 1
                names.append(f"{front}{kind} {seen[kind]}")
    return tuple(names)


def input_names(model: Model) -> tuple[str, ...]:
    """The name of each of the network's inputs: the channels, then with a mask whether each was observed."""
    scales = model.preprocessing
    return scales.channels + (tuple(f"{c} observed" for c in scales.channels) if scales.with_mask else ())


def jacobian(of: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """(O, I): d outputs / d inputs at these inputs, also where gradients are off."""
    with torch.enable_grad():
        slope = torch.autograd.functional.jacobian(of, at)
    assert isinstance(slope, Tensor)
    return slope


def weights_hash(model: Model) -> str:
    """SHA-256 of all weights, by name."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def used_part(model: Model, recording: Recording, samples: int) -> Recording:
    """The part of a recording that an analysis uses, with the model's channels only.

    With 20 or more series, whole ones are used, spread evenly; with fewer, the beginning of each. There are about
    ``samples`` samples in all.

    Raises:
        InputError: there are no samples, a channel is missing, or times are in another unit.
    """
    if not isinstance(recording, Recording):
        raise InputError(f"a Recording is needed, not {type(recording).__name__}; make one, as with Recording.read")
    if samples < 1:
        raise InputError(f"samples must be at least 1, not {samples}")
    part = aligned(recording, model.preprocessing)
    part = replace(part, series=tuple(s for s in part.series if len(s)))
    total = part.n_samples
    if not total:
        raise InputError("the recording has no samples; give one with samples")
    if total <= samples:
        return part
    share = samples / total
    if part.n_series >= MANY_SERIES:
        n = max(int(part.n_series * share), 1)
        return part.select(np.unique(np.linspace(0, part.n_series - 1, n).astype(int)).tolist())
    return replace(part, series=tuple(s.cut(0, max(int(len(s) * share), 1)) for s in part.series))


def follow(model: Model, recording: Recording, samples: int) -> Trajectory:
    """Run a model's liquid layers over a recording, with the state carried through each series.

    Args:
        model: is not changed.
        recording: with all of the model's channels.
        samples: approximate maximum number of samples, see :func:`used_part`.

    Raises:
        InputError: as for :func:`liquid_layers` and :func:`used_part`.
    """
    layers = liquid_layers(model)
    part = used_part(model, recording, samples)
    weight = model.readout.weight
    inputs, spans, fed, states, cells = [], [], [], [], []
    with evaluating(model):
        for series in part.series:
            x, dt = model.preprocessing(series)
            features = torch.from_numpy(x).to(weight).unsqueeze(0)
            gaps = torch.from_numpy(dt).to(weight).unsqueeze(0)
            own: list[Tensor] = []
            after: list[Tensor] = []
            remembered: list[Tensor] = []
            for network in model.network.chain:
                if isinstance(network, Liquid):
                    layer = network.layer
                    own.append(features[0])
                    zeros = weight.new_zeros(1, layer.state_size)
                    cell = None if layer.lstm is None else zeros
                    new, memory = layer.rnn_cell.recur(features, gaps, zeros, None, layer.lstm, cell)
                    after.append(new[0])
                    remembered += [] if layer.lstm is None else [memory[0]]
                    features = layer.around(features, layer.read(new))
                else:
                    features, _ = network(features, gaps)
            inputs.append(x)
            spans.append(dt)
            fed.append(tuple(each.cpu().numpy() for each in own))
            states.append(torch.cat(after, 1).cpu().numpy())
            cells += [torch.cat(remembered, 1).cpu().numpy()] if remembered else []
    kept = tuple(cells) if layers[0].lstm is not None else None
    own_states = of_neurons(layers)
    return Trajectory(part, tuple(inputs), tuple(spans), tuple(fed), tuple(states), own_states, kept)
