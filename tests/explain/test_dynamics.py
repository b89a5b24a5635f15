"""Stability as figures: fixed points that stay, exponents that are known, bounds that hold."""

import numpy as np
import pytest
import torch
from tests.helpers.liquid import CASES, model_of
from tests.helpers.small import small_model, small_recording

from torchliquid import Recording, explain
from torchliquid.explain.dynamics import largest_lyapunov_exponent


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_fixed_points_stay_and_are_as_stable_as_said(kind, options):
    model, recording = model_of(kind, **options), small_recording()
    found = explain.dynamics(model, recording)
    layer = model.network.layer.double()
    rule = model.preprocessing
    assert found.fixed_points
    for point in found.fixed_points:
        assert point.residual < 1e-8
        assert point.stable == (point.spectral_radius < 1)
        if options.get("mixed_memory"):
            continue  # the memory's own state is not among the figures
        x = torch.from_numpy(np.concatenate([(point.inputs - rule.mean) / rule.std, np.ones(3)]))
        start = torch.from_numpy(point.state)
        # A small push, made small again after each step, grows or shrinks in the long run at the rate of the radius.
        push = torch.randn(start.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        logs = []
        with torch.no_grad():
            for _ in range(400):
                push *= 1e-6 / push.norm()
                (_, still), (_, end) = (layer(x[None], start + by) for by in (0, push))
                push = end - still
                logs.append(float(push.norm() / 1e-6))
        assert np.exp(np.mean(np.log(logs[100:]))) == pytest.approx(point.spectral_radius, rel=0.02)
    if found.bounds is not None:
        assert (found.seen >= found.bounds[:, :1]).all()
        assert (found.seen <= found.bounds[:, 1:]).all()
    else:
        assert options["mode"] == "pure"


@pytest.mark.parametrize("kind", ["ltc", "ltc_ncp", "cfc"])
def test_no_input_and_no_gap_leaves_the_bounds(kind):
    model = small_model(kind)
    rng = np.random.default_rng(0)
    values = rng.normal(size=(300, 3)) * 10 ** rng.uniform(-3, 6, size=(300, 3))
    times = np.cumsum(10 ** rng.uniform(-4, 6, size=300))
    found = explain.dynamics(model, Recording.from_arrays(values, times, channels=["a", "b", "c"], time_unit="ms"))
    slack = 1e-5
    assert (found.seen >= found.bounds[:, :1] - slack).all()
    assert (found.seen <= found.bounds[:, 1:] + slack).all()


def test_stretching_gaps_is_the_same_as_a_recording_with_longer_ones():
    model, recording = small_model("cfc"), small_recording(lengths=(200,))
    found = explain.dynamics(model, recording)
    for at in (0, 8, 12):
        one = recording.series[0]
        longer = Recording.from_arrays(
            one.values, one.times * found.multiples[at], channels=["a", "b", "c"], time_unit="ms"
        )
        assert largest_lyapunov_exponent(model, longer) == pytest.approx(found.lyapunov_by_gap[at], abs=0.02)


class LinearMap(torch.nn.Module):
    """A network whose state is multiplied by a matrix at each sample."""

    def __init__(self, matrix, n_inputs):
        super().__init__()
        self.matrix = torch.nn.Parameter(torch.tensor(matrix))
        self.output_size = n_inputs

    def forward(self, inputs, spans, lengths, state):
        (before,) = state or (torch.zeros(len(inputs), len(self.matrix), dtype=inputs.dtype),)
        after = before @ self.matrix.T
        return after[:, None], (after,)


@pytest.mark.parametrize("length", [8, 15, 400])
def test_a_known_exponent_is_found_in_short_series_too(length):
    """The map's largest eigenvalue is 0.9, but a random difference first grows twentyfold."""
    model = small_model("cfc")
    model.network = LinearMap([[0.9, 20.0], [0.0, 0.85]], model.preprocessing.n_inputs)
    recording = small_recording(lengths=(length,) * (1600 // length))
    assert largest_lyapunov_exponent(model, recording) == pytest.approx(np.log(0.9), abs=2e-3)
