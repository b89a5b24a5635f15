"""The relatives of liquid layers against their papers' equations, written once more and plainly."""

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from torchliquid import CTGRU, CTRNN, GRUD, ODELSTM, InputError, NeuralODE

T, C, H = 7, 3, 5
RNG = np.random.default_rng(0)
X, SPANS = RNG.normal(size=(T, C)), RNG.uniform(0.1, 2.0, T)
ADAPTIVE = {"rtol": 1e-9, "atol": 1e-10}


def made(layer: torch.nn.Module, scale: float = 1.0) -> tuple[torch.nn.Module, dict[str, np.ndarray]]:
    """A layer in double precision with all its parameters drawn anew, and they as arrays by their last name."""
    torch.manual_seed(0)
    layer = layer.double()
    with torch.no_grad():
        for p in layer.parameters():
            p.normal_(0, scale)
    return layer, {name.removeprefix("rnn_cell."): p.detach().numpy() for name, p in layer.named_parameters()}


def outputs(layer: torch.nn.Module, x: np.ndarray = X, **options: torch.Tensor) -> np.ndarray:
    with torch.no_grad():
        return layer(torch.tensor(x), None, torch.tensor(SPANS), **options)[0].numpy()


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def integrated(field, h: np.ndarray, span: float) -> np.ndarray:
    return solve_ivp(lambda _, v: field(v), (0, span), h, rtol=1e-10, atol=1e-12).y[:, -1]


def gru(p: dict[str, np.ndarray], x: np.ndarray, h: np.ndarray) -> np.ndarray:
    i = p["update.weight_ih"] @ x + p["update.bias_ih"]
    s = p["update.weight_hh"] @ h + p["update.bias_hh"]
    n = len(h)
    r, z = sigmoid(i[:n] + s[:n]), sigmoid(i[n : 2 * n] + s[n : 2 * n])
    return (1 - z) * np.tanh(i[2 * n :] + r * s[2 * n :]) + z * h


SOLVERS = [
    {"solver": "euler", "ode_unfolds": 20_000},
    {"solver": "rk4", "ode_unfolds": 200},
    {"solver": "dopri5", **ADAPTIVE},
    {"solver": "tsit5", **ADAPTIVE},
]


@pytest.mark.parametrize("options", SOLVERS, ids=lambda o: o["solver"])
@pytest.mark.parametrize("driven", [False, True], ids=["ctrnn", "neural ode"])
def test_a_driven_field_is_solved(driven, options):
    layer, p = made(NeuralODE(C, H, update=None, **options) if driven else CTRNN(C, H, **options))
    rate = 0 if driven else 1 / np.log1p(np.exp(p["raw_tau"]))
    h, expected = np.zeros(H), []
    x, spans = X[:3], SPANS[:3]
    for sample, span in zip(x, spans, strict=True):
        field = lambda v: np.tanh(p["weight"] @ np.concatenate([sample, v]) + p["bias"]) - rate * v  # noqa: B023, E731
        h = integrated(field, h, span)
        expected.append(h)
    with torch.no_grad():
        found = layer(torch.tensor(x), None, torch.tensor(spans))[0].numpy()
    assert np.abs(found - expected).max() < (2e-4 if options["solver"] == "euler" else 1e-6)


def test_ode_rnn():
    layer, p = made(NeuralODE(C, H, solver="rk4", ode_unfolds=100), 0.7)
    h, expected = np.zeros(H), []
    for x, span in zip(X, SPANS, strict=True):
        flow = lambda v: p["out.weight"] @ np.tanh(p["hidden.weight"] @ v + p["hidden.bias"]) + p["out.bias"]  # noqa: E731
        h = gru(p, x, integrated(flow, h, span))
        expected.append(h)
    assert np.abs(outputs(layer) - expected).max() < 1e-6


def test_ode_lstm():
    layer, p = made(ODELSTM(C, H, solver="rk4", ode_unfolds=50))
    h, c, expected = np.zeros(H), np.zeros(H), []
    for x, span in zip(X, SPANS, strict=True):
        gates = p["lstm.input_map.weight"] @ x + p["lstm.input_map.bias"] + p["lstm.recurrent_map.weight"] @ h
        new, write, forget, show = np.split(gates, 4)
        c = sigmoid(forget + 1) * c + sigmoid(write) * np.tanh(new)
        flow = lambda v: np.tanh(p["weight"] @ v + p["bias"]) - v  # noqa: E731
        h = integrated(flow, sigmoid(show) * np.tanh(c), span)
        expected.append(h)
    assert np.abs(outputs(layer) - expected).max() < 1e-6


def test_ctgru():
    layer, p = made(CTGRU(C, H))
    tau = 10 ** (np.arange(8) / 2)
    traces, expected = np.zeros((H, 8)), []
    for x, span in zip(X, SPANS, strict=True):
        traces = traces * np.exp(-span / tau)
        log_tau_r, log_tau_s = np.split(p["gates.weight"] @ [*x, *traces.sum(1)] + p["gates.bias"], 2)

        def near(log_tau: np.ndarray) -> np.ndarray:
            e = np.exp(-((log_tau[:, None] - np.log(tau)) ** 2))
            return e / e.sum(1, keepdims=True)

        r, s = near(log_tau_r), near(log_tau_s)
        q = np.tanh(p["signal.weight"] @ [*x, *(r * traces).sum(1)] + p["signal.bias"])
        traces = (1 - s) * traces + s * q[:, None]
        expected.append(traces.sum(1))
    assert np.abs(outputs(layer) - expected).max() < 1e-12


def test_grud_by_mask_and_by_nan():
    layer, p = made(GRUD(C, H))
    seen = RNG.random((T, C)) < 0.5
    h, last, last_time, now, expected = np.zeros(H), np.zeros(C), np.zeros(C), 0.0, []
    for x, m, span in zip(X, seen, SPANS, strict=True):
        now += span
        since = now - last_time
        fading = np.exp(-np.maximum(0, p["input_decay"] * since + p["input_decay_bias"]))
        h = h * np.exp(-np.maximum(0, p["state_decay.weight"] @ since + p["state_decay.bias"]))
        h = gru(p, np.concatenate([np.where(m, x, fading * last), m]), h)
        last, last_time = np.where(m, x, last), np.where(m, now, last_time)
        expected.append(h)
    for x in (X, np.where(seen, X, np.nan), np.where(seen, X, 1e9)):
        assert np.abs(outputs(layer, x, mask=torch.tensor(seen)) - expected).max() < 1e-12
    assert np.abs(outputs(layer, np.where(seen, X, np.nan)) - expected).max() < 1e-12


@pytest.mark.parametrize(
    "make",
    [
        lambda **o: CTRNN(C, H, **o),
        lambda **o: NeuralODE(C, H, **o),
        lambda **o: NeuralODE(C, H, update=None, **o),
        lambda **o: ODELSTM(C, H, **o),
    ],
    ids=["ctrnn", "ode-rnn", "driven", "ode-lstm"],
)
def test_gradients_of_the_adjoint_are_those_of_fine_steps(make):
    x, spans, lengths = torch.tensor(RNG.normal(size=(3, 4, C))), torch.rand(3, 4).double(), torch.tensor([4, 2, 3])
    results = []
    for options in (
        {"solver": "rk4", "ode_unfolds": 60},
        {"solver": "dopri5", **ADAPTIVE},
        {"solver": "tsit5", "adjoint": True, **ADAPTIVE},
    ):
        layer, _ = made(make(**options), 0.5)
        leaf = x.clone().requires_grad_()
        output, _ = layer(leaf, None, spans, lengths)
        results.append([output, *torch.autograd.grad(output.square().sum(), [leaf, *layer.parameters()])])
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: CTRNN(C, H, solver="heun"), "euler, rk4, dopri5, tsit5, not 'heun'"),
        (lambda: CTRNN(C, 0), "units must be at least 1"),
        (lambda: CTRNN(C, H, ode_unfolds=0), "ode_unfolds must be at least 1"),
        (lambda: CTRNN(C, H, adjoint=True), "adjoint=True is for dopri5 and tsit5"),
        (lambda: NeuralODE(C, H, update="lstm"), "update must be 'gru' or None"),
        (lambda: CTGRU(C, H, scales=0), "scales must be at least 1"),
        (lambda: GRUD(C, H)(torch.ones(2, 3, C), mask=torch.ones(2, 3)), "mask is float32 (2, 3); bool (2, 3, 3)"),
    ],
)
def test_what_cannot_be_is_refused_by_name(call, says):
    with pytest.raises(InputError) as caught:
        call()
    assert says in str(caught.value)
