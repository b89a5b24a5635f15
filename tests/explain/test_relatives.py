"""What is explained of any recurrent cell, without knowing its equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.helpers.exports import readings
from tests.helpers.small import small_model

from torchliquid import explain
from torchliquid.explain.explanation import explanation
from torchliquid.explain.hold import hold
from torchliquid.explain.neurons import follow

RECORDING = readings(60)


def test_a_step_s_time_constants_are_the_leak_s_where_there_is_nothing_else() -> None:
    model = small_model("ctrnn", parameters=300, unfolds=3)
    cell = model.network.layer.rnn_cell
    with torch.no_grad():
        cell.weight[:, cell.input_size :] = 0.0
        cell.raw_tau.copy_(torch.linspace(0.5, 3, len(cell.raw_tau)))
    found = explain.time_constants(model, RECORDING)
    path = follow(model, RECORDING, 1000)
    tau = cell.tau.detach().double().numpy()
    left = np.abs(1 - path.spans[0][:, None] / 3 / tau) ** 3  # Euler's three steps
    with np.errstate(divide="ignore"):
        expected = np.where(left < 1, -path.spans[0][:, None] / np.log(left), np.inf) * model.preprocessing.time_scale
    np.testing.assert_allclose(found.values[0], expected, rtol=1e-3)
    assert found.stepped is None
    assert found.bounds is None


@pytest.mark.parametrize("kind", ["ctrnn", "ode_lstm", "neural_ode", "lrcssm"])
def test_every_analysis_runs_and_a_neuron_can_be_held(kind: str) -> None:
    model = small_model(kind, "step", parameters=400, layers=2)
    recording = RECORDING
    found = explanation(model, recording)
    assert set(found.left_out) <= {"stability", "dynamics"}
    assert all("finite" in words for words in found.left_out.values())
    neurons = found.time_constants.neurons
    assert len(found.circuit.neurons) == model.preprocessing.n_inputs + len(neurons)
    for neuron in (0, len(neurons) - 1):
        held = follow(hold(model, neuron, 0.3), recording, 1000)
        np.testing.assert_allclose(held.states[0][:, neuron], 0.3)
        assert (held.states[0][:, neuron] != follow(model, recording, 1000).states[0][:, neuron]).any()
