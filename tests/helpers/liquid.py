"""Small models of every liquid kind, also of layers that no kind builds by itself."""

import torch
from tests.helpers.small import small_model

from torchliquid import LTC, CfC, Model
from torchliquid.models.networks import Liquid
from torchliquid.wirings import AutoNCP

CASES = [
    ("ltc", {}),
    ("ltc_ncp", {}),
    ("ltc_ncp", {"mixed_memory": True}),
    ("cfc", {"mode": "default"}),
    ("cfc", {"mode": "no_gate"}),
    ("cfc", {"mode": "pure", "mixed_memory": True}),
    ("cfc_ncp", {"mode": "default", "mixed_memory": True}),
    ("cfc_ncp", {"mode": "no_gate"}),
    ("cfc_ncp", {"mode": "pure"}),
]


def model_of(kind, per="step", task="classification", **options) -> Model:
    """Untrained; with options for the layer, of 6 units or 14 on a wiring."""
    model = small_model(kind, per=per, task=task)
    if options:
        make = LTC if kind.startswith("ltc") else CfC
        layer = make(model.preprocessing.n_inputs, AutoNCP(14, 4) if kind.endswith("ncp") else 6, **options)
        model.network = Liquid(layer)
        model.readout = torch.nn.Linear(layer.output_size, model.task.n_outputs)
    return model.eval()
