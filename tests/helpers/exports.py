"""Models around every layer of the layers' table, and the baselines, for whatever a test asks of their exports."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.helpers.layers import CASES
from tests.helpers.small import small_recording

from torchliquid.data import Preprocessing, Recording
from torchliquid.edge import artifact, parity, quantize
from torchliquid.edge.calibrate import ranges
from torchliquid.edge.network import Network, describe
from torchliquid.edge.quantize import Widths
from torchliquid.edge.targets import TARGETS
from torchliquid.layers import LTC, CfC, LrcSSM, MixtureOfLiquid
from torchliquid.models import Model
from torchliquid.models.networks import Gated, Liquid
from torchliquid.tasks import Task

EXPORTED = tuple(name for name, make in CASES.items() if isinstance(make(), LTC | CfC))
NAMES = (
    *EXPORTED,
    "lstm",
    "gru",
    *(name for name, make in CASES.items() if isinstance(make(), LrcSSM | MixtureOfLiquid)),
)
FLOAT_ONLY = ("ltc euler", "ltc ncp rk4")
"""Those that there are no integers for."""
every_network = pytest.mark.parametrize("name", NAMES)

HOST = TARGETS["c99"]
KINDS = (("classification", "step"), ("regression", "step"), ("classification", "series"), ("regression", "series"))

QEMU = {name: t.emulator for name, t in TARGETS.items() if t.emulator}


def needs_zig() -> None:
    pytest.importorskip("ziglang", reason="ziglang is not installed: nothing can be compiled for other machines")
    pytest.importorskip("elftools", reason="pyelftools is not installed: programs cannot be measured")


def readings(samples: int = 400, seed: int = 0, holes: float = 0.1) -> Recording:
    """Irregular, with holes, long enough to run free on."""
    return small_recording((samples, *[30] * (samples // 60)), holes=holes, seed=seed)


def make_model(name: str, seed: int = 0, with_mask: bool | None = None) -> Model:
    """A network of the table inside a model; tasks take turns."""
    torch.manual_seed(seed)
    kind, per = KINDS[NAMES.index(name) % 4]
    recording = small_recording(per=per)
    task = Task(kind, per, "target").fit(recording)  # type: ignore[arg-type]
    rule = Preprocessing.fit(recording, with_mask=NAMES.index(name) % 3 == 0 if with_mask is None else with_mask)
    if name in ("lstm", "gru"):
        network = Gated(name, rule.n_inputs, 6)
    else:
        # The table's layers take three inputs; with the mask there are six: the rest of the layer is the same.
        from tests.helpers import layers

        before, layers.INPUTS = layers.INPUTS, rule.n_inputs
        try:
            network = Liquid(CASES[name]())
        finally:
            layers.INPUTS = before
    model = Model(name, {}, network, task, rule).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # off the symmetric start, as training would move it
            parameter += 0.1 * torch.randn_like(parameter) * parameter.abs().mean().clamp_min(0.1)
    return spread_out(model)


@torch.no_grad()
def spread_out(model: Model) -> Model:
    """An untrained readout hardly moves, and all would be rounding: its answers get the spread of trained ones."""
    inputs, spans = model.preprocessing(readings().series[0])
    features, _ = model.network(torch.from_numpy(inputs)[None], torch.from_numpy(spans)[None])
    answers = model.readout(features)[0]
    model.readout.weight /= answers.std(0).unsqueeze(1)
    model.readout.bias.copy_(-(answers.mean(0) - model.readout.bias) / answers.std(0))
    return model


def samples_of(model: Model, recording: Recording, most: int = 10_000):
    return parity.samples_of(model, recording, most)


def in_int8(model: Model, walked: parity.Walk, widths: Widths, network: Network | None = None) -> artifact.Artifact:
    """Of exactly these widths."""
    network = network or describe(model)
    formats = quantize.formats(network, ranges(model, network, walked), widths)
    files = quantize.sources_int8(network, formats, "builtin")
    return artifact.Artifact(model, network, "builtin", files, quantize.fields_int8(network, widths), walked, widths)


def spread(walked: parity.Walk) -> np.ndarray:
    return walked.outputs.std(0)
