"""Layers of every family and mode, small, for whatever a test asks of each."""

from collections.abc import Callable

import pytest
import torch

from torchliquid import CTGRU, CTRNN, GRUD, LTC, ODELSTM, CfC, LrcSSM, MixtureOfLiquid, NeuralODE
from torchliquid.layers.recurrent import RecurrentLayer
from torchliquid.wirings import AutoNCP, FullyConnected, Random

Make = Callable[..., RecurrentLayer]
INPUTS = 3

CASES: dict[str, Make] = {
    "ltc": lambda **o: LTC(INPUTS, 4, **o),
    "ltc ncp": lambda **o: LTC(INPUTS, AutoNCP(7, 2), **o),
    "ltc sparse clamped": lambda **o: LTC(INPUTS, Random(5, 2, 0.5), implicit_param_constraints=False, **o),
    "ltc unmapped": lambda **o: LTC(INPUTS, 4, input_mapping=None, output_mapping="linear", ode_unfolds=3, **o),
    "ltc memory": lambda **o: LTC(INPUTS, AutoNCP(7, 2), mixed_memory=True, **o),
    "cfc": lambda **o: CfC(INPUTS, 4, backbone_units=5, **o),
    "cfc deep": lambda **o: CfC(INPUTS, 4, 2, activation="silu", backbone_units=5, backbone_layers=2, **o),
    "cfc bare no_gate": lambda **o: CfC(INPUTS, 4, mode="no_gate", backbone_layers=0, **o),
    "cfc pure": lambda **o: CfC(INPUTS, 4, mode="pure", activation="tanh", backbone_units=5, **o),
    "cfc memory": lambda **o: CfC(INPUTS, 4, 3, mixed_memory=True, activation="gelu", backbone_units=5, **o),
    "cfc ncp": lambda **o: CfC(INPUTS, AutoNCP(7, 2), 3, **o),
    "cfc ncp no_gate": lambda **o: CfC(INPUTS, AutoNCP(7, 2), mode="no_gate", **o),
    "cfc ncp pure memory": lambda **o: CfC(INPUTS, AutoNCP(7, 2), mode="pure", mixed_memory=True, **o),
    "ctrnn": lambda **o: CTRNN(INPUTS, 4, **o),
    "ctrnn rk4": lambda **o: CTRNN(INPUTS, 4, solver="rk4", **o),
    "neural ode": lambda **o: NeuralODE(INPUTS, 4, ode_unfolds=3, **o),
    "neural ode driven": lambda **o: NeuralODE(INPUTS, 4, update=None, **o),
    "ctgru": lambda **o: CTGRU(INPUTS, 4, scales=3, **o),
    "grud": lambda **o: GRUD(INPUTS, 4, **o),
    "ode lstm": lambda **o: ODELSTM(INPUTS, 4, **o),
    "cfc wired in one layer": lambda **o: CfC(INPUTS, FullyConnected(4, 2), **o),
    "ltc euler": lambda **o: LTC(INPUTS, 4, ode_unfolds=40, solver="euler", **o),
    "ltc ncp rk4": lambda **o: LTC(INPUTS, AutoNCP(7, 2), ode_unfolds=20, solver="rk4", **o),
    "lrcssm": lambda **o: LrcSSM(INPUTS, 4, **o),
    "lrcssm block": lambda **o: LrcSSM(INPUTS, 4, elastance="symmetric", solver="exponential", block=True, **o),
    "mixture": lambda **o: MixtureOfLiquid([CfC(INPUTS, 4, backbone_units=5) for _ in range(3)], CfC(INPUTS, 3), **o),
    "mixture of others": lambda **o: MixtureOfLiquid(
        [LTC(INPUTS, AutoNCP(7, 2)), LrcSSM(INPUTS, 2, solver="exponential", block=True), CfC(INPUTS, 4, 2)],
        LrcSSM(INPUTS, 3),
        2,
        **o,
    ),
}

MIXTURES = ("mixture", "mixture of others")
"""Made of layers that are given, and so of one layer in one direction."""

every_layer = pytest.mark.parametrize("make", CASES.values(), ids=CASES.keys())
every_stack = pytest.mark.parametrize("name", [name for name in CASES if name not in MIXTURES])


def some(make: Make, seed: int = 0, **options: bool) -> RecurrentLayer:
    torch.manual_seed(seed)
    return make(**options)


def state(layer: RecurrentLayer, batch: int | None, dtype: torch.dtype = torch.float32):
    """A random state, one tensor or two."""
    shape = (layer.state_size,) if batch is None else (batch, layer.state_size)
    h = torch.rand(shape, dtype=dtype) - 0.5
    return h if layer.lstm is None else (h, torch.rand(shape, dtype=dtype) - 0.5)


def parts(hx) -> tuple[torch.Tensor, ...]:
    return hx if isinstance(hx, tuple) else (hx,)
