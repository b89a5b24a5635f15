"""The solvers of an LTC against its differential equation, solved tightly."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from torchliquid import LTC
from torchliquid.errors import InputError
from torchliquid.layers.ltc import SOLVERS
from torchliquid.solvers import ADAPTIVE
from torchliquid.wirings import AutoNCP, FullyConnected, Wiring

TIGHT = {"rtol": 1e-12, "atol": 1e-13}


def layer(wiring: Wiring, seed: int, solver: str, unfolds: int = 6, **options: object) -> LTC:
    torch.manual_seed(seed)
    made = LTC(3, wiring, ode_unfolds=unfolds, solver=solver, epsilon=0.0, **options).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made


def data(seed: int, samples: int = 3) -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(4, samples, 3, dtype=torch.float64, generator=made)
    return x, 0.1 + torch.rand(4, samples, dtype=torch.float64, generator=made)


@settings(max_examples=8, derandomize=True)
@given(st.integers(0, 10_000), st.sampled_from([FullyConnected(5, 2), AutoNCP(8, 2)]))
def test_the_error_falls_with_the_steps_as_the_theory_says(seed: int, wiring: Wiring) -> None:
    x, spans = data(seed, samples=1)
    with torch.no_grad():
        truth = layer(wiring, seed, "dopri5", **TIGHT)(x, timespans=spans)[0]
        for solver, order, steps in (("euler", 1, 120), ("fused", 1, 120), ("rk4", 4, 48)):
            counts = np.array([1, 4 / 3, 2, 8 / 3]) * steps  # further on RK4 meets what rounding leaves
            errors = [
                float((layer(wiring, seed, solver, round(n))(x, timespans=spans)[0] - truth).square().mean().sqrt())
                for n in counts
            ]
            slope = -np.polyfit(np.log(counts), np.log(errors), 1)[0]
            assert abs(slope - order) < 0.2, (solver, errors)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_the_adjoint_trains_as_backpropagation_does(solver: str) -> None:
    x, spans = data(0)
    found = []
    for adjoint in (False, True):
        one = layer(AutoNCP(8, 2), 1, solver, rtol=1e-8, atol=1e-10, adjoint=adjoint)
        inputs, gaps = x.clone().requires_grad_(), spans.clone().requires_grad_()
        output, _ = one(inputs, timespans=gaps)
        output.square().sum().backward()
        found.append([output, inputs.grad, gaps.grad, *(p.grad for p in one.parameters())])
    for by_steps, by_adjoint in zip(*found, strict=True):
        torch.testing.assert_close(by_adjoint, by_steps, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("solver", ADAPTIVE)
def test_a_batch_is_solved_as_each_of_its_samples_alone(solver: str) -> None:
    one = layer(AutoNCP(8, 2), 2, solver, rtol=1e-3, atol=1e-3)
    x, spans = data(3)
    lengths = torch.tensor([3, 1, 2, 3])
    together, last = one(x, timespans=spans, lengths=lengths)
    for i, n in enumerate(lengths.tolist()):
        alone, end = one(x[i : i + 1, :n], timespans=spans[i : i + 1, :n])
        torch.testing.assert_close(together[i : i + 1, :n], alone, rtol=0, atol=1e-12)
        torch.testing.assert_close(last[i : i + 1], end, rtol=0, atol=1e-12)


def test_mixed_memory_goes_with_every_solver() -> None:
    x, spans = data(4)
    answers = [layer(FullyConnected(5, 2), 5, s, 200, mixed_memory=True)(x, timespans=spans)[0] for s in SOLVERS]
    for answer in answers[1:]:
        torch.testing.assert_close(answer, answers[0], rtol=0, atol=0.02)


def test_solvers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="solver must be one of fused, euler, rk4, dopri5, tsit5"):
        LTC(3, 4, solver="heun")
    with pytest.raises(InputError, match="adjoint=True is for"):
        LTC(3, 4, solver="rk4", adjoint=True)
    with pytest.raises(InputError, match="greater than 0"):
        LTC(3, 4, solver="tsit5", rtol=0.0)
