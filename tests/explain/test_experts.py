"""Which expert is called when, how evenly, and what each follows."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from tests.helpers.small import small_model, small_recording

from torchliquid import InputError, TrainingConfig, explain, fit
from torchliquid.explain.explanation import explanation
from torchliquid.explain.hold import hold
from torchliquid.explain.neurons import follow


@pytest.mark.parametrize("expert", ["cfc", "ltc", "lrcssm"])
def test_calls_are_those_of_the_layer_and_each_is_described_by_its_inputs(expert):
    model, recording = small_model("mixture", expert=expert, top_k=2, experts=3), small_recording()
    layer = model.network.layer
    with torch.no_grad():  # so that the choice changes
        layer.rnn_cell.gate.weight *= 10
        layer.rnn_cell.gate.bias.zero_()
    found = explain.experts(model, recording)
    own = [[] for _ in range(3)]
    for i, series in enumerate(recording.series):
        x, spans = (torch.from_numpy(each)[None] for each in model.preprocessing(series))
        with torch.no_grad():
            _, states, routing = layer.rnn_cell.run(x, spans, torch.zeros(1, layer.state_size))
        np.testing.assert_array_equal(found.chosen[i], routing.chosen[0])
        np.testing.assert_allclose(found.weights[i], routing.weights[0], atol=1e-6)
        for k in range(3):
            part = states.split(layer.rnn_cell.sizes, 2)[1 + k]
            outputs = layer.experts[k].around(x, layer.experts[k].read(part)).detach().numpy()[0]
            own[k].append((x[0].numpy(), outputs, (found.chosen[i] == k).any(1), series.times))
    assert sum(one.load for one in found.experts) == pytest.approx(2)
    for k, one in enumerate(found.experts):
        inputs, outputs, called = (np.concatenate([each[j] for each in own[k]]) for j in range(3))
        assert one.load == pytest.approx(called.mean())
        assert one.wait == pytest.approx(np.median(np.concatenate([np.diff(t[c]) for _, _, c, t in own[k]])))
        areas = [roc_auc_score(called, x) if 0 < called.mean() < 1 else 0.5 for x in inputs.T]
        assert one.called_by[1] == pytest.approx(max(areas, key=lambda area: abs(area - 0.5)))
        centred = outputs[called] - outputs[called].mean(0)
        values, vectors = np.linalg.eigh(centred.T @ centred)
        said = centred @ vectors[:, np.argmax(values)]
        moving = [x for x in inputs[called].T if np.ptp(x)]
        assert one.follows[1] == pytest.approx(max(abs(spearmanr(x, said).statistic) for x in moving), abs=1e-6)


def test_experts_are_called_evenly_where_an_uneven_load_costs_more():
    recording, largest = small_recording((300,), holes=0.0), []
    for balance in (0.0, 1.0):
        model = fit(recording, kind="mixture", balance=balance, parameters=600, config=TrainingConfig(updates=100))
        largest.append(max(expert.load for expert in explain.experts(model, recording).experts))
    assert largest[1] < largest[0]


@pytest.mark.parametrize(("expert", "layers"), [("cfc", 2), ("ltc", 1), ("lrcssm", 2)])
def test_an_expert_s_clock_is_no_neuron_and_a_neuron_of_any_part_can_be_held(expert, layers):
    model = small_model("mixture", expert=expert, experts=2, layers=layers, units=4)
    with torch.no_grad():
        for network in model.network.chain if layers > 1 else [model.network]:
            network.layer.rnn_cell.gate.weight *= 10
            network.layer.rnn_cell.gate.bias.zero_()
    recording = small_recording((120,))
    found = explanation(model, recording)
    names = found.time_constants.neurons
    units = model.config["units"]
    front = "layer 2 " if layers == 2 else ""
    assert len(names) == len(set(names)) == layers * (8 + 2 * units)
    assert names[-1] == f"{front}expert 2 neuron {units}"
    assert (
        len(found.roles.roles) == len(names) == found.time_constants.values[0].shape[1] == found.moments.states.shape[1]
    )
    assert [one.name for one in found.circuit.neurons[-len(names) :]] == list(names)
    assert set(found.left_out) - {"attribution"} == {
        "dynamics",
        "parallel over time",
    }  # a choice that jumps has no integral
    assert "wait" in found.left_out["dynamics"]
    path = follow(model, recording, 1000)
    places = np.flatnonzero(path.of_neurons)
    for name in ("router neuron 8", f"expert 1 neuron {units}"):
        h = names.index(f"{front}{name}")
        held = hold(model, h, 0.3)
        states = follow(held, recording, 1000).states[0][:, places[h]]
        called = np.cumsum(path.states[0][:, places[h]] != 0) > 0  # an expert has to be called once
        np.testing.assert_allclose(states[called | (states != 0)], 0.3, atol=1e-5)
        assert np.abs(held.outputs(recording)[0] - model.outputs(recording)[0]).max() > 0


def test_a_model_without_experts_is_refused():
    with pytest.raises(InputError, match="has no experts"):
        explain.experts(small_model("cfc"), small_recording())
