"""Whether parallel over time pays for a model is found by trying."""

from __future__ import annotations

import torch
from tests.helpers.exports import readings
from tests.helpers.small import small_model

from torchliquid import explain


def test_a_network_that_forgets_is_solved_and_a_chaotic_one_is_not() -> None:
    recording = readings(300)
    model = small_model("ltc_ncp", "step", parameters=700, layers=2)
    found = explain.over_time(model, recording)
    assert found.lyapunov < 0
    assert found.samples == 300
    assert len(found.layers) == 2
    assert found.converges
    assert all(layer.solved.residual < 1e-5 for layer in found.layers)
    assert model.network.chain[0].layer.over_time == "sequential"
    chaotic = small_model("cfc", "step", parameters=700, mode="no_gate")
    with torch.no_grad():
        for parameter in chaotic.network.parameters():
            parameter *= 6
        chaotic.network.layer.rnn_cell.time_b.bias += 6  # both tanh count
    found = explain.over_time(chaotic, recording)
    assert found.lyapunov > 0
    assert not found.converges
    assert str(found).startswith("parallel over time is not faster here: no solution in")
