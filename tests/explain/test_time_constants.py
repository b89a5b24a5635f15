"""Time constants and gates, against their definitions."""

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from tests.helpers.liquid import model_of
from tests.helpers.small import small_model, small_recording

from torchliquid import InputError, explain


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def decay_time(cell, x, v, neuron, push=1e-3):
    """Integrate the ODE of one neuron, all that feeds it held, with and without a push; time until it is 1/e."""
    p = {n: q.detach().double().numpy() for n, q in cell.named_parameters()}
    soft = (lambda a: np.log1p(np.exp(a))) if cell.implicit_param_constraints else (lambda a: a)
    u = x * p["input_w"] + p["input_b"]

    def slope(now):
        current = soft(p["gleak"][neuron]) * (p["vleak"][neuron] - now)
        for prefix, source, index in (("", v, cell.synapse_index), ("sensory_", u, cell.sensory_index)):
            for k, (pre, post) in enumerate(index.T.tolist()):
                if post == neuron:
                    g = soft(p[prefix + "w"][k]) * sigmoid(p[prefix + "sigma"][k] * (source[pre] - p[prefix + "mu"][k]))
                    current += g * (p[prefix + "erev"][k] - now)
        return current / soft(p["cm"][neuron])

    dt, t, pushed, alone = 1e-3, 0.0, v[neuron] + push, v[neuron]
    before = push
    while True:
        for_each = []
        for now in (pushed, alone):  # classical Runge-Kutta
            a = slope(now)
            b = slope(now + dt / 2 * a)
            c = slope(now + dt / 2 * b)
            d = slope(now + dt * c)
            for_each.append(now + dt / 6 * (a + 2 * b + 2 * c + d))
        pushed, alone = for_each
        left = pushed - alone
        if left < push / np.e:
            return t + dt * np.log(before / (push / np.e)) / np.log(before / left)
        before, t = left, t + dt


@pytest.mark.parametrize(("kind", "options"), [("ltc", {}), ("ltc_ncp", {}), ("ltc_ncp", {"mixed_memory": True})])
def test_a_time_constant_is_the_decay_of_a_push(kind, options):
    model = model_of(kind, **options)
    recording = small_recording()
    found = explain.time_constants(model, recording)
    cell = model.network.layer.rnn_cell
    for i, t, neuron in [(0, 5, 0), (2, 20, 3), (1, 6, -1)]:
        neuron %= cell.state_size
        x = model.preprocessing(recording.series[i])[0][t].astype(float)
        measured = decay_time(cell, x, found.states[i][t].astype(float), neuron)
        assert measured * model.preprocessing.time_scale == pytest.approx(found.values[i][t, neuron], rel=1e-4)
    for values in found.values:
        assert (values >= found.bounds[:, 0] * (1 - 1e-6)).all()
        assert (values <= found.bounds[:, 1] * (1 + 1e-6)).all()
    assert found.unit == "ms"
    assert found.towards is None


@pytest.mark.parametrize("kind", ["ltc", "cfc_ncp"])
def test_states_are_those_of_use_and_weights_stay(kind):
    model = model_of(kind)
    recording = small_recording()
    found = explain.time_constants(model, recording)
    assert found.weights_before == found.weights_after
    for series, states, outputs in zip(recording.series, found.states, model.outputs(recording), strict=True):
        features = model.network.layer.read(torch.from_numpy(states))
        decoded = model.task.decode(model.readout(features).detach().numpy())
        np.testing.assert_allclose(decoded, outputs, atol=1e-5)
        assert len(states) == len(series)
    with torch.no_grad():
        model.readout.weight[0, 0] += 1e-6
    assert explain.time_constants(model, recording).weights_before != found.weights_before


@pytest.mark.parametrize("mode", ["default", "no_gate", "pure"])
@pytest.mark.parametrize(("kind", "memory"), [("cfc", False), ("cfc", True), ("cfc_ncp", False), ("cfc_ncp", True)])
def test_a_gate_moves_as_its_time_scale_says(kind, memory, mode):
    """Stretch the gap of one step: the logit of the gate, read off the new state, moves by span / scale."""
    model = model_of(kind, mode=mode, mixed_memory=memory).double()
    recording = small_recording()
    found = explain.time_constants(model, recording)
    layer = model.network.layer
    x, spans = (torch.from_numpy(part).double() for part in model.preprocessing(recording.series[0]))
    t, scale = 9, model.preprocessing.time_scale
    first = getattr(layer.rnn_cell, "layer_sizes", [layer.state_size])[0]  # later layers read what the gap changes

    def after(span):
        with torch.no_grad():
            steps = torch.cat([spans[:t], torch.tensor([span], dtype=torch.float64)])
            _, hx = layer(x[: t + 1], timespans=steps)
        return (hx[0] if memory else hx)[:first].numpy()

    value = found.values[0][t, :first] / scale
    if mode == "pure":
        rate = 1 / value
        # h(t) = A - A exp(-t r) f: three equal gaps give exp(-r), without A and f
        h0, h1, h2 = after(0.0), after(0.5), after(1.0)
        np.testing.assert_allclose((h2 - h1) / (h1 - h0), np.exp(-0.5 * rate), rtol=1e-5)
        assert found.towards is None
        return
    rate = found.towards[0][t, :first] / value
    # h(t) = low + sigmoid(a t + b) * high: one ratio of differences tells b, the next one then has no freedom left
    h = np.stack([after(gap) for gap in (0.0, 0.7, 1.4, 2.1)])
    ratios = np.diff(h, axis=0)[1:] / np.diff(h, axis=0)[:-1]
    for neuron in range(first):

        def ratio(b, start, a=rate[neuron]):
            s = sigmoid(a * (start + np.array([0.0, 0.7, 1.4])) + b)
            return (s[2] - s[1]) / (s[1] - s[0])

        b = brentq(lambda b, n=neuron: ratio(b, 0.0) - ratios[0, n], -15, 15)
        assert ratio(b, 0.7) == pytest.approx(ratios[1, neuron], rel=1e-3)


def test_what_cannot_be_explained_is_said():
    recording = small_recording()
    with pytest.raises(InputError, match=r"kind 'gru' has no liquid neurons.*ltc, ltc_ncp, cfc, cfc_ncp"):
        explain.time_constants(small_model("gru"), recording)
    with pytest.raises(InputError, match="Model can be explained, not Linear"):
        explain.time_constants(torch.nn.Linear(2, 2), recording)
    with pytest.raises(InputError, match="Recording is needed"):
        explain.time_constants(small_model("ltc"), np.zeros((3, 3)))


@pytest.mark.parametrize(("tau", "known"), [(0.05, 0.114), (0.1, 0.170), (0.3, 0.377), (1.0, 1.08)])
@pytest.mark.parametrize("solver", ["fused", "rk4", "euler"])
def test_the_steps_time_constant_is_how_fast_the_network_forgets(tau, known, solver):
    """Six fused steps over a gap forget more slowly than the equation; a push measured in the layer itself."""
    model = model_of("ltc", solver=solver)
    layer = model.network.layer.double()
    cell = layer.rnn_cell
    with torch.no_grad():
        cell.w.fill_(-40.0)  # no synapse conducts
        cell.sensory_w.fill_(-40.0)
        cell.gleak.fill_(float(np.log(np.expm1(1.0))))
        cell.cm.fill_(float(np.log(np.expm1(tau))))
    recording = small_recording(lengths=(12,))
    gap = model.preprocessing.time_scale
    recording = type(recording).from_arrays(
        recording.series[0].values, np.arange(12) * gap, channels=["a", "b", "c"], time_unit="ms"
    )
    x = torch.zeros(1, 1, model.preprocessing.n_inputs, dtype=torch.float64)
    with torch.no_grad():
        ends = [layer(x, torch.full((1, 6), start, dtype=torch.float64))[1] for start in (0.0, 1e-3)]
    left = float((ends[1] - ends[0])[0, 0] / 1e-3)
    measured = -1 / np.log(abs(left)) if abs(left) < 1 else np.inf  # rk4's steps are too long for the fastest
    layer.float()
    found = explain.time_constants(model, recording)
    np.testing.assert_allclose(found.values[0] / gap, tau, rtol=1e-4)
    np.testing.assert_allclose(found.stepped[0][1:] / gap, measured, rtol=1e-3)
    if solver == "fused":
        assert measured == pytest.approx(known, rel=0.01)
