"""The liquid-resistance liquid-capacitance layer against its paper's equations (arXiv 2505.21717), written anew."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp
from tests.helpers.small import small_recording

from torchliquid import InputError, LrcSSM, Model, TrainingConfig, fit, stream


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class Neurons:
    """One layer's neurons, one sample after the other, in NumPy."""

    def __init__(self, layer: LrcSSM) -> None:
        self.p = {name.removeprefix("rnn_cell."): p.detach().numpy() for name, p in layer.named_parameters()}
        self.symmetric = layer.rnn_cell.elastance == "symmetric"

    def field(self, u: np.ndarray, h: np.ndarray) -> np.ndarray:
        a, b, e = self.liquid(u, h)
        return e * (a * h + b)

    def liquid(self, u: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        p = self.p
        sensed = sigmoid(p["sensory_sigma"] * (u - p["sensory_mu"]))
        synapse = sigmoid(p["sigma"] * (h - p["mu"]))
        a = -sigmoid(p["gleak"] + p["sensory_w"] @ sensed + p["w"] * synapse)
        b = p["vleak"] * np.tanh(p["gleak"] + p["sensory_k"] @ sensed + p["k"] * synapse)
        z = p["elastance_weight"] * h + p["elastance_bias"]
        if self.symmetric:
            return a, b, sigmoid(z + p["elastance_shift"]) - sigmoid(z - p["elastance_shift"])
        return a, b, sigmoid(z)


def drawn(seed: int, scale: float = 1.0, **options: object) -> LrcSSM:
    torch.manual_seed(seed)
    layer = LrcSSM(**options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, scale)
    return layer


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**16),
    sizes=st.tuples(*[st.integers(1, n) for n in (3, 9, 5, 20)]),
    elastance=st.sampled_from(["plain", "symmetric"]),
    solver=st.sampled_from(["euler", "exponential"]),
)
def test_each_step_is_the_paper_s(seed: int, sizes: tuple[int, ...], elastance: str, solver: str) -> None:
    batch, time, inputs, units = sizes
    layer = drawn(seed, input_size=inputs, units=units, elastance=elastance, solver=solver)
    neurons = Neurons(layer)
    x, spans = torch.randn(batch, time, inputs).double(), torch.rand(batch, time).double() * 2
    found, last = layer(x, timespans=spans)
    for one, span, states in zip(x.numpy(), spans.numpy(), found.detach().numpy(), strict=True):
        h = np.zeros(units)
        for u, dt, state in zip(one, span, states, strict=True):
            a, b, e = neurons.liquid(u, h)
            h = h + (e * dt if solver == "euler" else (np.exp(e * a * dt) - 1) / a) * (a * h + b)
            np.testing.assert_allclose(state, h, atol=1e-9 * max(1.0, abs(h).max()))
    torch.testing.assert_close(last, found[:, -1])


def test_many_short_steps_solve_the_equation() -> None:
    layer = drawn(0, input_size=2, units=4, solver="exponential")
    u, neurons, steps = np.array([0.4, -1.0]), Neurons(layer), 4000
    true = solve_ivp(lambda _, h: neurons.field(u, h), (0, 3), np.zeros(4), rtol=1e-10, atol=1e-12).y[:, -1]
    held = torch.tensor(u).expand(1, steps, 2)
    found = layer(held, timespans=3 / steps)[0][0, -1].detach().numpy()
    np.testing.assert_allclose(found, true, atol=2e-3)


def test_a_block_is_normed_skipped_and_fed_as_published() -> None:
    layer = drawn(0, input_size=3, units=5, block=True)
    p, neurons = {n: v.detach().numpy() for n, v in layer.named_parameters()}, Neurons(layer)
    x, h, expected = torch.randn(1, 6, 3).double(), np.zeros(5), []

    def norm(v: np.ndarray) -> np.ndarray:
        return (v - v.mean()) / np.sqrt(v.var() + 1e-5)

    for u in x[0].numpy():
        entered = norm(p["rnn_cell.enter.weight"] @ u + p["rnn_cell.enter.bias"])
        h = h + neurons.field(entered, h)
        y = norm(h + entered)
        hidden = np.maximum(p["feed.0.weight"] @ y + p["feed.0.bias"], 0)
        expected.append(y + p["feed.2.weight"] @ hidden + p["feed.2.bias"])
    np.testing.assert_allclose(layer(x)[0][0].detach().numpy(), expected, atol=1e-10)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 2**16), gaps=st.lists(st.floats(0, 1e6), min_size=1, max_size=30))
def test_exponential_steps_are_stable_at_any_gap(seed: int, gaps: list[float]) -> None:
    layer = drawn(seed, 0.5, input_size=2, units=6, solver="exponential")
    x = torch.randn(1, len(gaps), 2).double()
    states = layer(x, timespans=torch.tensor([gaps]).double())[0]
    rates = Neurons(layer)
    # Each step ends between its start and b / |a|.
    before = np.zeros(6)
    for u, after in zip(x[0].numpy(), states[0].detach().numpy(), strict=True):
        a, b, _ = rates.liquid(u, before)
        low, high = np.minimum(before, -b / a), np.maximum(before, -b / a)
        assert ((low - 1e-9 <= after) & (after <= high + 1e-9)).all()
        before = after


def test_long_gaps_under_euler_are_said(caplog: pytest.LogCaptureFixture) -> None:
    LrcSSM(2, 3)(torch.zeros(1, 4, 2), timespans=5.0)
    assert "exponential holds at any gap" in caplog.text
    with pytest.raises(InputError, match="elastance of an LrcSSM is 'plain' or 'symmetric'"):
        LrcSSM(2, 3, elastance="round")


def test_a_model_of_it_is_trained_saved_and_run_live(tmp_path: Path) -> None:
    recording = small_recording()
    config = TrainingConfig(epochs=2)
    model = fit(recording, kind="lrcssm", parameters=600, layers=2, elastance="symmetric", config=config)
    model.save(tmp_path / "lrc.safetensors")
    loaded = Model.load(tmp_path / "lrc.safetensors")
    assert loaded.config["elastance"] == "symmetric"
    outputs = loaded.outputs(recording)
    for ours, theirs in zip(outputs, model.outputs(recording), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    live, series = stream(loaded), recording.series[0]
    gaps = np.diff(series.times, prepend=series.times[0] - loaded.preprocessing.time_scale)
    stepped = [live.step(values, gap) for values, gap in zip(series.values, gaps, strict=True)]
    np.testing.assert_allclose(np.reshape(stepped, outputs[0].shape), outputs[0], atol=1e-4)
    assert math.isfinite(float(np.abs(outputs[0]).max()))
