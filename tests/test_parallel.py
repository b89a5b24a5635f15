"""All samples at once give what one after the other gives, or are stepped one after the other."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.recurrences import KINDS, Problem, problems
from tests.helpers.small import small_recording
from torchliquid import LTC, CfC, InputError, LrcSSM, TrainingConfig, backends, fit, parallel
from torchliquid.backends import reference
from torchliquid.wirings import AutoNCP


class AtOnce:
    """A backend for the drawn problems; those that do not converge are not looked at."""

    def run(self, cell: Any, over: Any) -> Any:
        states, _ = parallel.run(cell, over)
        return reference.run(cell, over) if states is None else states


@pytest.mark.parametrize("kind", KINDS)
def test_states_and_gradients_are_those_of_one_after_the_other(kind: str) -> None:
    @settings(deadline=None, max_examples=8, suppress_health_check=list(HealthCheck))
    @given(problems(kind, most=10))
    def check(problem: Problem) -> None:
        outputs, gradients = problem.run(AtOnce(), torch.float64)
        true_outputs, true_gradients = problem.run(reference, torch.float64)
        for one, true in zip([*outputs, *gradients], [*true_outputs, *true_gradients], strict=True):
            if true.numel():
                assert (one - true).abs().max() <= 1e-7 * max(1.0, float(true.abs().max())), problem

    check()


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 33), st.integers(0, 2**16))
def test_a_linear_recurrence_is_solved_by_halves(time: int, seed: int) -> None:
    torch.manual_seed(seed)
    matrices, drive = torch.randn(2, time, 3, 3, dtype=torch.double), torch.randn(2, time, 3, dtype=torch.double)
    y = [drive[:, 0]]
    for t in range(1, time):
        y.append((matrices[:, t] @ y[-1].unsqueeze(2)).squeeze(2) + drive[:, t])
    found = parallel.solve_linear(matrices, drive)
    assert torch.allclose(found, torch.stack(y, 1), rtol=1e-9)


@pytest.mark.parametrize("make", [lambda: LTC(4, AutoNCP(12, 2)), lambda: CfC(4, 8, mixed_memory=True)])
def test_an_untrained_layer_needs_few_iterations_and_trains_alike(make: Any) -> None:
    torch.manual_seed(0)
    layer = make().double()
    x, spans = torch.randn(3, 200, 4, dtype=torch.double), 2 * torch.rand(3, 200, dtype=torch.double)
    lengths, reset = torch.tensor([200, 150, 1]), torch.rand(3, 200) < 0.02

    def gradients() -> tuple[torch.Tensor, list[torch.Tensor]]:
        layer.zero_grad()
        output, _ = layer(x, timespans=spans, lengths=lengths, reset=reset)
        output.square().sum().backward()
        return output.detach(), [p.grad.clone() for p in layer.parameters() if p.grad is not None]

    with backends.use("reference"):
        output, true = gradients()
    layer.over_time = "parallel"
    at_once, found = gradients()
    solved = layer.rnn_cell.solved
    assert solved is not None
    assert solved.iterations <= 8
    assert solved.converged
    assert torch.allclose(at_once, output, atol=1e-9)
    for one, other in zip(found, true, strict=True):
        assert torch.allclose(one, other, atol=1e-8 * float(other.abs().max().clamp_min(1)))


def test_what_does_not_converge_is_stepped_one_after_the_other() -> None:
    torch.manual_seed(0)
    layer = CfC(2, 6, mode="no_gate")
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter *= 12.0
    x = torch.randn(2, 120, 2)
    expected, _ = layer(x)
    layer.over_time = "parallel"
    found, _ = layer(x)
    assert layer.rnn_cell.solved is not None
    assert not layer.rnn_cell.solved.converged
    assert torch.equal(found, expected)
    with pytest.raises(InputError, match="'sequential', 'parallel' or 'auto'"):
        layer.over_time = "backwards"


def test_a_diagonal_cell_and_one_of_many_units_need_no_whole_jacobian() -> None:
    torch.manual_seed(0)
    x, spans = torch.randn(2, 300, 3).double(), 2 * torch.rand(2, 300).double()
    for layer, most in ((LrcSSM(3, 80, elastance="symmetric"), 12), (LTC(3, AutoNCP(80, 4)), 60)):
        layer = layer.double()
        true, _ = layer(x, timespans=spans)
        true.square().sum().backward()
        wanted = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
        layer.zero_grad()
        layer.over_time = "parallel"
        found, _ = layer(x, timespans=spans)
        found.square().sum().backward()
        solved = layer.rnn_cell.solved
        assert solved is not None
        assert solved.converged
        assert solved.iterations <= most
        assert solved.residual < 1e-8
        assert torch.allclose(found, true, atol=1e-8)
        for one, other in zip([p.grad for p in layer.parameters() if p.grad is not None], wanted, strict=True):
            assert torch.allclose(one, other, atol=1e-7 * float(other.abs().max().clamp_min(1)))


@pytest.mark.parametrize("make", [lambda: LTC(2, 6), lambda: CfC(2, 6, mixed_memory=True), lambda: LrcSSM(2, 6)])
def test_a_long_sequence_is_solved_a_stretch_after_the_other(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer, x = make().double(), torch.randn(2, 200, 2).double()
    lengths, reset = torch.tensor([200, 90]), torch.rand(2, 200) < 0.02
    monkeypatch.setattr(parallel, "STRETCH", 1)
    results = []
    for way in ("sequential", "parallel"):
        layer.over_time = way
        layer.zero_grad()
        output, _ = layer(x, lengths=lengths, reset=reset)
        output.sin().sum().backward()
        results.append([output.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)])
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other, atol=1e-8 * float(other.abs().max().clamp_min(1)))


@pytest.mark.parametrize("memory", [False, True])
def test_the_last_states_are_a_better_start_than_zeros(memory: bool) -> None:
    torch.manual_seed(0)
    layer, x = LTC(4, AutoNCP(12, 2), mixed_memory=memory), torch.randn(3, 200, 4)
    layer.over_time, layer.rnn_cell.from_last = "parallel", True
    layer(x)
    first = layer.rnn_cell.solved
    found = layer(x + 1e-4)[0]
    second = layer.rnn_cell.solved
    layer.over_time = "sequential"
    assert torch.allclose(found, layer(x + 1e-4)[0], atol=1e-5)
    assert first is not None
    assert second is not None
    assert second.iterations < first.iterations


def test_auto_is_parallel_where_no_kernel_runs_a_long_sequence() -> None:
    torch.manual_seed(0)
    layer = LrcSSM(4, 6)
    layer.over_time = "auto"
    with backends.use("reference"):
        layer(torch.randn(1, 20, 4))
        assert layer.rnn_cell.solved is None
        layer(torch.randn(1, 400, 4))
        assert layer.rnn_cell.solved is not None
    layer.rnn_cell.solved = None
    layer(torch.randn(1, 400, 4))
    assert (layer.rnn_cell.solved is None) == backends.native.available()


def test_a_model_is_trained_in_parallel_over_time_alike() -> None:
    recording = small_recording()
    trained = []
    for way in ("sequential", "parallel"):
        config = TrainingConfig(updates=6, over_time=way)
        model = fit(recording, kind="ltc_ncp", parameters=500, config=config)
        assert model.network.layer.over_time == "sequential"
        trained.append((model, model.outputs(recording)[0]))
    assert trained[1][0].network.layer.rnn_cell.solved is not None
    assert abs(trained[0][1] - trained[1][1]).max() < 1e-3
    with pytest.raises(InputError, match="over_time must be one of sequential, parallel, auto"):
        TrainingConfig(over_time="backwards")
