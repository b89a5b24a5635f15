"""Kinds of networks, and models of any kind with a given number of live parameters."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from torchliquid.data.columns import nearest
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.errors import InputError
from torchliquid.layers import CTGRU, CTRNN, LTC, ODELSTM, CfC, LrcSSM, MixtureOfLiquid, NeuralODE
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.models.checks import check_fitted
from torchliquid.models.model import Model
from torchliquid.models.networks import (
    Chain,
    Encoder,
    Frames,
    Gated,
    Liquid,
    MaskedGRUD,
    Network,
    PictureEncoder,
    Transformer,
)
from torchliquid.models.state_space import StateSpace
from torchliquid.random import seeded
from torchliquid.tasks import Task
from torchliquid.wirings import AutoNCP

Config = dict[str, Any]

LAGS_A_WIDTH = 8
"""Lags with their own bias in a Transformer, for each unit of width. The biases take a small share of any budget."""

MAX_SIZE = 4096
"""Maximum number of units. This package never writes a description with more."""
MOST = {"layers": 64, "backbone_layers": 64, "scales": 64, "frames": 64, "experts": 64, "unfolds": 1024, "states": 256}
"""Limits of settings that cost time without adding weights, or more than their weights do."""

CHAINED: Config = {"layers": 1, "dropout": 0.0, "encoder": []}
"""Further settings of every recurrent kind: the number of layers, which all have the config's sizes; the dropout
between them in training; the widths of dense layers with tanh before the first layer."""

PICTURES = "pictures"
"""A further setting of every kind: for each picture among the inputs, in order, where it begins and its height, width
and channels."""


@dataclass(frozen=True)
class Kind:
    """One kind of network.

    Attributes:
        label: name for readers.
        make: makes the network from its number of inputs and its config.
        defaults: the config besides the sizes.
        sizes: the sizes in a config, from one integer, the given config and the number of outputs of the task.
        smallest: the smallest such integer.
        chained: whether :data:`CHAINED` applies, so that layers can be stacked.
        masked: whether the network takes ``masked``: whether the second half of its inputs is the mask.
    """

    label: str
    make: Callable[..., Network]
    defaults: Config
    sizes: Callable[[int, Config, int], Config]
    smallest: int = 1
    chained: bool = True
    masked: bool = False

    def network(self, inputs: int, config: Config) -> Network:
        """The network for a config."""
        made: list[Network] = []
        for start, height, width, depth in _pictures(config):
            made.append(PictureEncoder(inputs, start, (height, width, depth)))
            inputs = made[-1].output_size
        config = {name: value for name, value in config.items() if name != PICTURES}
        if not self.chained or not CHAINED.keys() & config:
            network = self.make(inputs, **config)
            return Chain([*made, network]) if made else network
        own = {name: value for name, value in config.items() if name not in CHAINED}
        layers, dropout, widths = ({**CHAINED, **config}[name] for name in CHAINED)
        for width in _widths(widths):
            made.append(Encoder(inputs, width))
            inputs = width
        for _ in range(_at_least_one("layers", layers)):
            made.append(self.make(inputs, **own))
            inputs = made[-1].output_size
        return made[0] if len(made) == 1 and not dropout else Chain(made, dropout)


def _pictures(config: Config) -> list[tuple[int, int, int, int]]:
    """For each picture, where it begins after the earlier pictures were removed, and its height, width and channels."""
    pictures, gone, found = config.get(PICTURES, []), 0, []
    if not isinstance(pictures, list) or len(pictures) > MOST["layers"]:
        raise InputError(f"pictures are a list of [start, height, width, channels], not {pictures!r}")
    for one in pictures:
        if not isinstance(one, list) or len(one) != 4 or not all(type(number) is int for number in one):
            raise InputError(f"a picture is [start, height, width, channels], not {one!r}")
        start, *shape = one
        for size in shape:
            _at_least_one("a picture", size, MAX_SIZE)
        found.append((start - gone, *shape))
        gone += math.prod(shape)
    return found


def _widths(encoder: Any) -> tuple[int, ...]:
    if isinstance(encoder, str) or not isinstance(encoder, Sequence):
        raise InputError(f"encoder must list the widths of its dense layers, such as (16,), not {encoder!r}")
    if len(encoder) > MOST["layers"]:
        raise InputError(f"encoder can have up to {MOST['layers']} dense layers, not {len(encoder)}")
    return tuple(_at_least_one("encoder", width, MAX_SIZE) for width in encoder)


def _at_least_one(name: str, value: Any, most: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= (most or MOST["layers"]):
        raise InputError(f"{name} must hold whole numbers from 1 to {most or MOST['layers']}, not {value!r}")
    return value


FORMS = ("return_sequences", "batch_first", "return_states", "num_layers", "bidirectional", "proj_size", "ode_unfolds")
"""Arguments of layers that are no settings of a kind: the network sets them, or has another name for them."""


def _liquid(layer: Callable[..., RecurrentLayer], *needed: str, **fixed: Any) -> Callable[..., Network]:
    """Makes a network of one layer; ``unfolds`` are its ``ode_unfolds``. The config of a file must have the ``needed``
    settings, because the layer's own defaults may differ from those of the model."""

    def make(inputs: int, units: int | AutoNCP, **options: Any) -> Network:
        for name in options.keys() & FORMS:
            raise TypeError(f"unexpected keyword argument {name!r}")
        for name in needed:
            if name not in options:
                raise TypeError(f"{name} is missing")
        options = {"ode_unfolds" if name == "unfolds" else name: value for name, value in options.items()}
        return Liquid(layer(inputs, units, **fixed, **options))

    return make


def _on_ncp(make: Callable[..., Network]) -> Callable[..., Network]:
    def made(inputs: int, units: int, motors: int, sparsity: float, wiring_seed: int, **options: Any) -> Network:
        return make(inputs, AutoNCP(units, motors, sparsity, wiring_seed), **options)

    return made


def _feedforward(inputs: int, units: int, frames: int) -> Network:
    return Encoder(inputs, units) if frames == 1 else Frames(inputs, units, _at_least_one("frames", frames))


EXPERTS: dict[str, Callable[[int, int], RecurrentLayer]] = {
    "cfc": lambda inputs, units: CfC(inputs, units, backbone_units=units),
    "ltc": lambda inputs, units: LTC(inputs, units, output_mapping=None),
    "lrcssm": lambda inputs, units: LrcSSM(inputs, units, solver="exponential", block=True),
}
"""What a mixture is made of, from its inputs and units."""


def _mixture(
    inputs: int, units: int, expert: str, experts: int, top_k: int, router_units: int, balance: float
) -> Network:
    if expert not in EXPERTS:
        raise InputError(f"there are no experts {expert!r}; {nearest(str(expert), EXPERTS)}")
    made = [EXPERTS[expert](inputs, units) for _ in range(_at_least_one("experts", experts))]
    router = CfC(inputs, router_units, backbone_layers=0)
    return Liquid(MixtureOfLiquid(made, router, top_k, balance=balance))


def _ncp_sizes(size: int, config: Config, n_outputs: int) -> Config:
    # Few motor neurons would be a bottleneck: at least eight, and one for each output.
    motors = config.get("motors", max(n_outputs, 8))
    return {"units": motors + 2 + size, "motors": motors}


def _units(size: int, config: Config, n_outputs: int) -> Config:
    return {"units": size}


def _backbone_sizes(size: int, config: Config, n_outputs: int) -> Config:
    return {"units": size, "backbone_units": config.get("backbone_units", size)}


MEMORY = {"mixed_memory": False}
CLOSED_FORM = {"backbone_layers": 1, "backbone_dropout": 0.0, "mode": "default", "activation": "lecun_tanh"}
NCP = {"sparsity": 0.5, "wiring_seed": 22222}
# Recordings have gaps, over which an Euler step overshoots.
LIQUID_CAPACITANCE = {"elastance": "plain", "solver": "exponential", "block": True}
CFC_NETWORK = _liquid(CfC, "backbone_units", *CLOSED_FORM)
LTC_NETWORK = _liquid(LTC, "unfolds", output_mapping=None)  # because the readout is linear already

KINDS: dict[str, Kind] = {
    "cfc": Kind("CfC", CFC_NETWORK, {**CLOSED_FORM, **MEMORY}, _backbone_sizes),
    "cfc_mm": Kind("CfC with mixed memory", CFC_NETWORK, {**CLOSED_FORM, "mixed_memory": True}, _backbone_sizes),
    "cfc_ncp": Kind("CfC on NCP", _on_ncp(_liquid(CfC, "mode")), {**NCP, "mode": "default", **MEMORY}, _ncp_sizes),
    "ltc": Kind("LTC", LTC_NETWORK, {"unfolds": 6, "solver": "fused", **MEMORY}, _units),
    "ltc_ncp": Kind("LTC on NCP", _on_ncp(LTC_NETWORK), {**NCP, "unfolds": 6, "solver": "fused", **MEMORY}, _ncp_sizes),
    "ctrnn": Kind("CT-RNN", _liquid(CTRNN, "unfolds"), {"unfolds": 6, "solver": "euler"}, _units),
    "neural_ode": Kind(
        "Neural ODE", _liquid(NeuralODE, "unfolds"), {"unfolds": 6, "solver": "rk4", "update": "gru"}, _units
    ),
    "ctgru": Kind("CT-GRU", _liquid(CTGRU, "scales"), {"scales": 8}, _units),
    "lrcssm": Kind("LrcSSM", _liquid(LrcSSM, *LIQUID_CAPACITANCE), LIQUID_CAPACITANCE, _units),
    "mixture": Kind(
        "Liquid experts",
        _mixture,
        {"expert": "cfc", "experts": 4, "top_k": 1, "router_units": 8, "balance": 0.01},
        _units,
    ),
    "ode_lstm": Kind("ODE-LSTM", _liquid(ODELSTM, "unfolds"), {"unfolds": 3, "solver": "rk4"}, _units),
    "lstm": Kind("LSTM", partial(Gated, "lstm"), {}, _units),
    "gru": Kind("GRU", partial(Gated, "gru"), {}, _units),
    "grud": Kind("GRU-D", MaskedGRUD, {}, _units, chained=False, masked=True),
    "state_space": Kind("State space", StateSpace, {"states": 8, "layers": 2}, _units, chained=False),
    "feedforward": Kind("Feed-forward", _feedforward, {"frames": 1}, _units),
    "transformer": Kind(
        "Transformer",
        Transformer,
        {"layers": 2, "heads": 2, "context": 64},
        lambda size, config, n_outputs: _transformer_sizes(size, config["heads"], config["context"]),
        smallest=3,
        chained=False,
    ),
}


def _transformer_sizes(size: int, heads: int, context: int) -> Config:
    """Sizes of a Transformer. Widths are multiples of the heads; the hidden layer, 1.5 to 2.5 times as wide, fills the
    steps between them. Narrow networks have fewer lags with a bias of their own than the context is long."""
    if heads < 1:
        raise InputError(f"a transformer needs 1 head or more, not {heads}")
    width = heads
    while True:
        narrowest = -(-3 * width // 2)
        next_width = width + heads
        until = (7 * next_width**2 - 4 * width**2) // (2 * width)  # from here on the next width is used
        steps = max(min(5 * width // 2, until) - narrowest + 1, 1)
        if size <= steps:
            return {"width": width, "hidden": narrowest + size - 1, "lags": min(context, LAGS_A_WIDTH * width)}
        size, width = size - steps, next_width


def build(kind: str, task: Task, preprocessing: Preprocessing, parameters: int = 2500, **hyper: Any) -> Model:
    """A model whose number of live parameters is as close to a budget as its sizes allow.

    Weights are drawn from torch's global generator. Call ``torch.manual_seed`` first for reproducible weights.

    Args:
        kind: one of :data:`KINDS`.
        task, preprocessing: fitted on the training part.
        parameters: number of parameters, with the readout's and without those that a wiring's mask switches off.
        hyper: entries of the kind's config, e.g. ``mode="pure"``. If they set its size, the budget is not used.

    Raises:
        InputError: an unknown kind or entry, or a budget that the smallest network exceeds by more than 15 %.
    """
    known = _kind(kind)
    check_fitted(task, preprocessing)
    hyper = _without_defaults(hyper) if known.chained else hyper
    config = {**known.defaults, **hyper}

    def at(size: int) -> Config:
        return {**config, **known.sizes(size, config, task.n_outputs), **hyper}

    if at(known.smallest) == at(known.smallest + 1):
        return assemble(kind, at(known.smallest), task, preprocessing)

    counts: dict[int, int] = {}

    def count(size: int) -> int:
        if size not in counts:
            with seeded():
                counts[size] = assemble(kind, at(size), task, preprocessing).live_parameters()
        return counts[size]

    low = known.smallest
    if count(low) > 1.15 * parameters:
        raise InputError(
            f"a {kind} for {preprocessing.n_inputs} inputs and {task.n_outputs} outputs needs at least {count(low)} "
            f"parameters, not {parameters}; ask for more"
        )
    high = low + 1
    while count(high) < parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < parameters else (low, middle)
    for size in (low - 1, high + 1):  # the parameters of wired networks do not grow evenly
        if size >= known.smallest:
            count(size)
    best = min(counts, key=lambda size: (abs(counts[size] - parameters), size))
    return assemble(kind, at(best), task, preprocessing)


def _without_defaults(hyper: Config) -> Config:
    """The config as plain data. Settings that stack no layers are left out, so that older versions can load the
    model."""
    plain = {name: list(value) if isinstance(value, tuple) else value for name, value in hyper.items()}
    return {name: value for name, value in plain.items() if name not in CHAINED or value != CHAINED[name]}


def assemble(kind: str, config: Config, task: Task, preprocessing: Preprocessing, at_most: int | None = None) -> Model:
    """A model of exactly this config.

    Args:
        at_most: maximum number of weights, checked before memory is allocated. For descriptions from files.

    Raises:
        InputError: an unknown kind, entries that do not fit it, or sizes beyond ``at_most`` or :data:`MAX_SIZE`.
    """
    known = _kind(kind)
    for name, value in config.items():
        most = MOST.get(name, MAX_SIZE)
        if isinstance(value, int) and name != "wiring_seed" and not 0 <= value <= most:
            raise InputError(f"a {kind} cannot have {name} = {value}; it must be from 0 to {most}")

    if known.masked and preprocessing.with_mask and PICTURES in config:
        raise InputError(f"a {kind} cannot have pictures and missing values together; choose another kind")
    told = {"masked": preprocessing.with_mask} if known.masked else {}

    def make() -> Model:
        network = known.network(preprocessing.n_inputs, {**config, **told})
        return Model(kind, dict(config), network, task, preprocessing)

    try:
        if at_most is not None:
            synapses = _synapses(kind, config, preprocessing.n_inputs)  # before they take memory
            if synapses > at_most:
                raise InputError(f"the description asks for {synapses} synapses, the file holds {at_most} weights")
            with torch.device("meta"):
                size = sum(t.numel() for t in make().state_dict().values())
            if size > at_most:
                raise InputError(f"the description asks for {size} weights, the file holds {at_most}")
        return make()
    except (TypeError, ValueError, KeyError, RuntimeError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unexpected:
            entries = {*known.defaults, *inspect.signature(known.make).parameters, *config}
            entries |= {PICTURES} | (CHAINED.keys() if known.chained else set())
            others = sorted(entries - {"inputs", "input_size", "masked", "options", unexpected[1]})
            raise InputError(f"a {kind} has no {unexpected[1]!r}; it has {', '.join(others)}") from None
        raise InputError(f"a {kind} cannot be made with {config}: {error}") from None


def _synapses(kind: str, config: Config, n_inputs: int) -> int:
    """The number of synapses that a wiring draws, each with one weight or more; 0 for kinds without a wiring."""
    mixture = kind == "mixture" and config["expert"] == "ltc"
    if not mixture and kind not in ("ltc", "ltc_ncp", "cfc_ncp"):
        return 0
    layers, _, encoder = ({**CHAINED, **config}[name] for name in CHAINED)
    above = _at_least_one("layers", layers) - 1
    for _, *shape in _pictures(config):
        n_inputs += PictureEncoder.FEATURES - math.prod(shape)
    n_inputs = (n_inputs, *_widths(encoder))[-1]
    if above:
        own = {name: value for name, value in config.items() if name not in {*CHAINED, PICTURES}}
        outputs = config["motors" if kind.endswith("_ncp") else "units"]
        return _synapses(kind, own, n_inputs) + above * _synapses(kind, own, outputs)
    if mixture or kind == "ltc":
        return int((config["experts"] if mixture else 1) * config["units"] * (config["units"] + n_inputs))
    wiring = AutoNCP(config["units"], config["motors"], config["sparsity"], config["wiring_seed"])
    return (
        n_inputs * wiring.sensory_fanout
        + wiring.inter_neurons * wiring.inter_fanout
        + wiring.recurrent_command_synapses
        + wiring.motor_neurons * wiring.motor_fanin
    )


def _kind(kind: str) -> Kind:
    if kind not in KINDS:
        raise InputError(f"there is no kind of model {kind!r}; {nearest(kind, KINDS)}")
    return KINDS[kind]
