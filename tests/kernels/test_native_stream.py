"""The compiled steppers against the layers and models that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.helpers.needed import NO_KERNELS
from torch import nn

from torchliquid import backends, stream
from torchliquid.backends import native
from torchliquid.data.preprocessing import Preprocessing
from torchliquid.data.recording import Recording
from torchliquid.errors import InputError
from torchliquid.layers import CTRNN, LTC, CfC, LrcSSM, MixtureOfLiquid
from torchliquid.models import build
from torchliquid.tasks import Task
from torchliquid.wirings import AutoNCP

if not native.available():
    pytest.skip(NO_KERNELS, allow_module_level=True)

LAYERS = {
    "cfc": lambda: CfC(8, 32),
    "cfc pure, projected": lambda: CfC(3, 5, mode="pure", proj_size=2),
    "cfc without gate, deep": lambda: CfC(
        3, 7, mode="no_gate", backbone_layers=2, backbone_units=17, activation="gelu"
    ),
    "cfc wired": lambda: CfC(8, AutoNCP(32, 4)),
    "cfc wired, memory": lambda: CfC(8, AutoNCP(20, 3), mixed_memory=True),
    "ltc wired": lambda: LTC(8, AutoNCP(32, 4)),
    "ltc": lambda: LTC(8, 40, input_mapping=None, output_mapping="linear"),
    "ltc memory": lambda: LTC(3, 5, mixed_memory=True),
    "ltc of one": lambda: LTC(1, 1),
    "lstm": lambda: nn.LSTM(8, 33),
    "gru": lambda: nn.GRU(2, 17, batch_first=True, bias=False),
    "ltc on ltc": lambda: LTC(3, AutoNCP(20, 3), num_layers=2),
    "cfc on cfc on cfc, memory": lambda: CfC(3, 6, num_layers=3, mixed_memory=True, proj_size=2),
    "lstm on lstm": lambda: nn.LSTM(3, 9, num_layers=2, batch_first=True),
    "gru on gru": lambda: nn.GRU(3, 9, num_layers=2),
    "mixture in a mixture": lambda: MixtureOfLiquid(
        [CfC(3, 4), MixtureOfLiquid([CfC(3, 7, 4), LrcSSM(3, 4, block=True)], LTC(3, 2))], CfC(3, 2)
    ),
}

EXPERTS = {
    "cfc": lambda: CfC(3, 4, backbone_units=5),
    "cfc pure, projected": lambda: CfC(3, 5, 4, mode="pure", backbone_layers=0),
    "cfc wired": lambda: CfC(3, AutoNCP(9, 4), mode="no_gate"),
    "ltc": lambda: LTC(3, 4, output_mapping=None),
    "ltc wired": lambda: LTC(3, AutoNCP(9, 4)),
    "lrcssm": lambda: LrcSSM(3, 4, solver="exponential"),
    "lrcssm block": lambda: LrcSSM(3, 4, elastance="symmetric", solver="exponential", block=True),
}


def both(make: Any) -> tuple[Any, Any]:
    """The compiled stream and the one through PyTorch."""
    fast = make()
    with backends.use("reference"):
        slow = make()
    assert fast._core._stepper is not None
    assert slow._core._stepper is None
    return fast, slow


@pytest.mark.parametrize("n", [1, 3, 37, 600])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_steps_as_in_pytorch(name: str, n: int) -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    layer = LAYERS[name]()
    fast, slow = both(lambda: stream(layer, n))
    for t in range(8):
        values = random.normal(size=(n, layer.input_size) if n > 1 else layer.input_size)
        elapsed = [None, 0.3, random.random(n) * 3][t % 3]
        one, other = (s.step(values.astype(np.float32) if t == 4 else values, elapsed) for s in (fast, slow))
        assert one.shape == other.shape
        assert one.dtype == other.dtype
        assert np.abs(one - other).max() <= 3e-6
    if n > 1:
        for s in (fast, slow):
            s.reset([0, 2])
    kept = fast.state
    for part, other in zip(kept, slow.state, strict=True):
        assert np.abs(part - other).max() <= 3e-6
    before = fast.step(values, 1.0)
    fast.state = kept
    assert np.array_equal(before, fast.step(values, 1.0))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(sorted(EXPERTS)), min_size=1, max_size=4),
    st.sampled_from(sorted(EXPERTS)),
    st.sampled_from([1, 4, 300]),
    st.lists(st.sampled_from([0.0, 0.01, 1.0, 30.0, None]), min_size=1, max_size=8),
    st.integers(0, 99),
    st.data(),
)
def test_a_mixture_steps_as_in_pytorch(experts, router, n, spans, seed, data) -> None:
    """Whatever it is made of: what it says, its states, and the time since each call."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    top_k = data.draw(st.integers(1, len(experts)))
    layer = MixtureOfLiquid([EXPERTS[name]() for name in experts], EXPERTS[router](), top_k)
    fast, slow = both(lambda: stream(layer, n))
    for span in spans:
        values = 3 * random.normal(size=(n, 3) if n > 1 else 3)
        one, other = fast.step(values, span), slow.step(values, span)
        inputs = torch.from_numpy(values).float().reshape(n, 3)
        with torch.no_grad():
            routing = layer.rnn_cell.routing(inputs, torch.from_numpy(slow.state[0]))
        ranked = routing.probabilities.sort(-1, descending=True).values
        if top_k < len(experts):  # far from where rounding chooses
            assume((ranked[:, top_k - 1] - ranked[:, top_k]).min() > 1e-5)
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(fast.state[0], slow.state[0], rtol=1e-5, atol=1e-5)
        if data.draw(st.booleans()):
            for s in (fast, slow):
                s.reset([0])
        elif data.draw(st.booleans()):  # to another stream and back
            other = stream(layer, n)
            other.state, fast.state = fast.state, [part + 1 for part in fast.state]
            fast = other


def test_a_mixture_of_what_is_not_compiled_is_stepped_by_pytorch() -> None:
    for experts, router in (([CTRNN(3, 4), CfC(3, 4)], CfC(3, 2)), ([CfC(3, 4)], LTC(3, 4, solver="rk4"))):
        assert stream(MixtureOfLiquid(experts, router))._core._stepper is None


def test_a_part_of_a_mixture_has_no_state_of_its_own() -> None:
    """An LSTM as an expert would write its cell state where the mixture has no room for one."""
    native = pytest.importorskip("torchliquid._native")
    zeros = lambda *shape: np.zeros(shape, np.float32)  # noqa: E731
    gates = native.Gated(zeros(12, 5), zeros(12), True)
    for h, c in ((None, zeros(1, 3)), (zeros(1, 3), zeros(1, 3))):
        parts = [native.Layer(gates, h, c, 0, 3)] * 2
        mixture = native.Mixture(parts, native.Linear(zeros(1, 3), zeros(1)), 1)
        with pytest.raises(ValueError, match="the mixture keeps their states"):
            native.Stepper([native.Layer(mixture, zeros(1, 7), None, 0, 3)])


def test_any_sequence_of_numbers_will_do_and_others_are_refused() -> None:
    layer = CfC(2, 3)
    fast, slow = both(lambda: stream(layer))
    for values, elapsed in (([1.0, 2.0], 1), (np.array([1, 2]), np.float32(0.5)), (np.ones((4, 1))[::2, 0], 2.0)):
        assert np.allclose(fast.step(values, elapsed), slow.step(values, elapsed), atol=1e-6)
    for values, elapsed in (([1.0], 1.0), ([1.0, 2.0], -1.0), ([1.0, 2.0], np.nan)):
        with pytest.raises(InputError):
            fast.step(values, elapsed)


@pytest.mark.parametrize("per", ["step", "series"])
@pytest.mark.parametrize("kind", ["cfc", "cfc_ncp", "ltc_ncp", "lstm", "gru"])
def test_a_model_answers_as_in_pytorch(kind: str, per: str) -> None:
    random = np.random.default_rng(1)
    times = [np.cumsum(random.random(30)) for _ in range(6)]
    values = [random.normal(size=(30, 3)) * [1, 100, 0.01] + [0, 1000, 5] for _ in times]
    for v in values:
        v[random.random(v.shape) < 0.2] = np.nan
    if per == "series":
        targets: Any = [np.array(label, dtype=object) for label in "abcabc"]
    else:
        targets = [random.normal(size=30) * 50 + 7 for _ in times]
    recording = Recording.from_arrays(values, times, targets)
    task = Task.infer(recording)
    assert task.per == per
    model = build(kind, task, Preprocessing.fit(recording), parameters=1500)
    for n in (1, 40):
        fast, slow = both(lambda: model.live(n))  # noqa: B023
        for t in range(10):
            sample = values[0][t] if n == 1 else np.stack([values[i % 6][t] for i in range(n)])
            elapsed = [None, 0.7, -1.0, np.nan][t % 4]
            one, other = fast.step(sample, elapsed), slow.step(sample, elapsed)
            assert one.shape == other.shape
            assert one.dtype == other.dtype
            assert np.allclose(one, other, rtol=1e-5, atol=1e-5)
        for part, other in zip(fast.state, slow.state, strict=True):
            assert np.allclose(part, other, atol=1e-5)
