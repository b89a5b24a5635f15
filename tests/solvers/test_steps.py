"""Solvers against equations whose solutions are known, and against each other."""

import pytest
import torch
from torch import Tensor

from torchliquid.errors import InputError
from torchliquid.solvers import ADAPTIVE, FIXED, adaptive

SPANS = torch.tensor([[0.0], [0.05], [0.5], [1.0], [2.0], [3.0]], dtype=torch.float64)


def turning(v: Tensor, drive: Tensor, weight: Tensor) -> Tensor:
    return torch.tanh(v @ weight.T) + drive - v


def numbers(seed: int, requires_grad: bool = False) -> list[Tensor]:
    """State, spans, drive and weight."""
    made = torch.Generator().manual_seed(seed)
    draw = [torch.randn(*shape, dtype=torch.float64, generator=made) for shape in ((6, 5), (6, 5), (5, 5))]
    return [t.clone().requires_grad_(requires_grad) for t in (draw[0], SPANS, draw[1], draw[2])]


@pytest.mark.parametrize("method", ADAPTIVE)
def test_an_adaptive_solver_finds_the_solution_within_its_tolerance(method: str) -> None:
    turn = torch.tensor([[0.0, -1.0], [1.0, 0.0]], dtype=torch.float64)
    start = torch.tensor([[1.0, 0.0]], dtype=torch.float64).expand(len(SPANS), 2)
    exact = torch.cat([SPANS.cos(), SPANS.sin()], 1)
    for tolerance in (1e-4, 1e-7, 1e-10):
        found = adaptive(lambda v: v @ turn.T, start, SPANS, method, tolerance, tolerance)
        assert (found - exact).abs().max() < 20 * tolerance
    assert torch.equal(found[0], start[0])


@pytest.mark.parametrize("method", ADAPTIVE)
def test_each_sample_has_steps_of_its_own(method: str) -> None:
    state, spans, drive, weight = numbers(0)
    together = adaptive(turning, state, spans, method, 1e-3, 1e-3, drives=[drive], weights=[weight])
    for i in range(len(state)):
        row = slice(i, i + 1)
        alone = adaptive(turning, state[row], spans[row], method, 1e-3, 1e-3, drives=[drive[row]], weights=[weight])
        torch.testing.assert_close(alone, together[row], rtol=0, atol=1e-13)


@pytest.mark.parametrize("method", ADAPTIVE)
def test_the_adjoint_gives_the_gradients_of_backpropagation(method: str) -> None:
    found = []
    for adjoint in (False, True):
        state, spans, drive, weight = given = numbers(1, requires_grad=True)
        after = adaptive(turning, state, spans, method, 1e-9, 1e-10, adjoint, [drive], [weight])
        found.append([after, *torch.autograd.grad(after.square().sum(), given)])
    for by_steps, by_adjoint in zip(*found, strict=True):
        torch.testing.assert_close(by_adjoint, by_steps, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", FIXED)
def test_a_span_of_zero_leaves_the_state(name: str) -> None:
    state, spans, drive, weight = numbers(2)
    after = FIXED[name](lambda v: turning(v, drive, weight), state, spans, 3)
    assert torch.equal(after[0], state[0])
    assert not torch.equal(after[1], state[1])


def test_what_cannot_be_solved_is_said() -> None:
    state, span = torch.full((2, 3), 5.0), torch.tensor([[0.1], [10.0]])
    with pytest.raises(InputError, match="not finite"):
        adaptive(torch.square, state, span, "dopri5")
    with pytest.raises(InputError, match="more than 10000 steps"):
        adaptive(lambda v: 1e7 * (1 - v), state, span, "dopri5")
    v = state.double().requires_grad_()
    after = adaptive(lambda v: 30 * (v.cos() - v), v, span.double(), "dopri5", 1e-4, 1e-6, True)
    with pytest.raises(InputError, match="does not find back"):
        after.sum().backward()
    with pytest.raises(InputError, match="dopri5 or tsit5"):
        adaptive(torch.square, state, span, "heun")
