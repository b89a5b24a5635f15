"""The circuit is the model's own."""

import numpy as np
import pytest
import torch
from tests.helpers.liquid import CASES, model_of
from tests.helpers.small import small_model

from torchliquid import InputError, explain


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_a_picture_has_every_neuron_once_and_in_its_place(kind, options):
    model = model_of(kind, **options)
    found = explain.wiring(model, most=50)
    inputs, units = model.preprocessing.n_inputs, model.network.layer.state_size
    assert [n.state for n in found.neurons] == [None] * inputs + list(range(units))
    assert len({n.name for n in found.neurons}) == len({(n.x, n.y) for n in found.neurons}) == inputs + units
    assert all(0 <= n.x <= 1 and 0 <= n.y <= 1 for n in found.neurons)
    strengths = [s.strength for s in found.synapses]
    assert strengths == sorted(strengths, reverse=True)
    assert len(found.synapses) <= 50
    everything = explain.wiring(model, most=10**6)
    assert everything.left_out == 0
    assert len(everything.synapses) == len(found.synapses) + found.left_out


def test_an_ltcs_synapses_are_those_of_its_wiring():
    model = small_model("ltc_ncp")
    wiring, inputs = model.network.layer.wiring, model.preprocessing.n_inputs
    matrix = np.zeros((inputs + wiring.units, wiring.units))
    for s in explain.wiring(model).synapses:
        matrix[s.source, s.target - inputs] = s.polarity
    np.testing.assert_array_equal(matrix[:inputs], wiring.sensory_adjacency_matrix)
    np.testing.assert_array_equal(matrix[inputs:], wiring.adjacency_matrix)


def test_a_cfcs_strengths_are_what_a_small_push_does():
    model = small_model("cfc").double()
    cell, inputs = model.network.layer.rnn_cell, model.preprocessing.n_inputs
    for s in explain.wiring(model).synapses[:10]:
        x, h = (torch.zeros(1, n, dtype=torch.float64) for n in (inputs, cell.state_size))
        with torch.no_grad():
            before = cell(x, h)[1]
            (x if s.source < inputs else h)[0, s.source - (0 if s.source < inputs else inputs)] = 1e-6
            moved = float((cell(x, h)[1] - before)[0, s.target - inputs]) / 1e-6
        assert s.polarity * s.strength == pytest.approx(moved, rel=1e-4)


def test_other_kinds_have_none():
    with pytest.raises(InputError, match="no liquid neurons"):
        explain.wiring(small_model("lstm"))
